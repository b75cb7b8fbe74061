"""Operation pages: how far an act on many rows is and what became of them; start, pause, cancel, change the pace."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from tasks.admin import operator_log
from tasks.admin.display import display, display_age, display_json
from tasks.admin.filters import ChipsFilter
from tasks.admin.formatting import EMPTY, badge, code, count_text, duration, escape_invisible, shortened
from tasks.admin.operated import OperatedAdmin
from tasks.admin.verb import Verb, one_by_one
from tasks.contract.access import CHANGE_OPERATION, VIEW_OPERATION, VIEW_TASK, Caller
from tasks.contract.operations import FASTEST, SLOWEST, find_to_change, read_pace
from tasks.errors import CallboardError, InvalidTask, NotAllowed, NotFound
from tasks.lifecycle import operations
from tasks.models import Operation, OperationItem, OperationQuerySet
from tasks.states import OPERATION_ACTIVE, RUNNING_AGAIN, ItemState, ObjectKind, OperationState

#: Rows of each state that the page names.
MAX_SHOWN = 20
MAX_REASON_LENGTH = 80

_PAUSED = (OperationState.PREVIEW, OperationState.CANARY, OperationState.PAUSED, OperationState.STOPPED)
RESUME = Verb(
    name="resume",
    label="Start or resume",
    command="Start or resume {}",
    outcome="go on",
    done="started",
    permission=CHANGE_OPERATION.permission,
    effect="The scheduler goes on with the next rows. An operation that waits for its canary does not wait any longer.",
    condition="Only operations that rest, or wait for their canary, can be started.",
    legal=lambda rows: rows.in_states(_PAUSED),
    run=one_by_one(lambda id, by: operations.resume(id, by=by), refusals=(CallboardError,)),
)
PAUSE = Verb(
    name="pause",
    label="Pause",
    command="Pause {}",
    outcome="be paused",
    done="paused",
    permission=CHANGE_OPERATION.permission,
    effect="No further rows are changed until the operation is resumed.",
    condition="Only operations that run can be paused.",
    legal=lambda rows: rows.in_states(tuple(OPERATION_ACTIVE)),
    run=one_by_one(lambda id, by: operations.pause(id, by=by), refusals=(CallboardError,)),
)
CANCEL = Verb(
    name="cancel",
    label="Cancel",
    command="Cancel {}",
    outcome="be cancelled",
    done="cancelled",
    permission=CHANGE_OPERATION.permission,
    effect="The rows that it has not come to stay as they are. What it has done stays done.",
    condition="Only operations that are not over can be cancelled.",
    legal=lambda rows: rows.unfinished(),
    run=one_by_one(lambda id, by: operations.cancel(id, by=by), refusals=(CallboardError,)),
    is_danger=True,
)


class StateFilter(ChipsFilter):
    """By state."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the states."""
        return OperationState.choices

    def counts(self) -> Mapping[str, str]:
        """Count none: most operations are over."""
        return {}

    def filtered(self, rows: OperationQuerySet, value: str) -> OperationQuerySet:
        """Keep one state."""
        return rows.in_states([OperationState(value)])


def _progress(operation: Operation) -> str:
    return f"{operation.moved + operation.skipped:,} of {operation.total:,}"


def _rate(operation: Operation) -> str:
    rate = operation.rate_per_second
    return "as fast as it can" if rate is None else f"{rate:g} per second"


_STATE = display("state", lambda operation: badge(operation.state, operation.get_state_display()))
_REASON = display("reason", lambda operation: shortened(operation.reason, MAX_REASON_LENGTH) or EMPTY)
_BY = display("by", lambda operation: escape_invisible(operation.by) or EMPTY)


def steps(operation: Operation) -> list[dict[str, str]]:
    """Write the way of an operation: Preview, Canary, Running, Done; each with its class and what is known of it."""
    order = [OperationState.PREVIEW, OperationState.CANARY, OperationState.RUNNING, OperationState.DONE]
    if not operation.canary:
        order.remove(OperationState.CANARY)
    now = _step_now(operation)
    place = order.index(now)
    texts = {
        OperationState.PREVIEW: f"{operation.total:,} matched",
        OperationState.CANARY: _canary(operation),
        OperationState.RUNNING: f"{_progress(operation)} · {_rate(operation)}",
        OperationState.DONE: _ends_in(operation),
    }
    kinds = ("step-done", "step-now", "step-ahead")
    return [
        {
            "label": str(state.label),
            "text": texts[state],
            "kind": kinds[0 if number < place or now == OperationState.DONE else 1 + (number > place)],
        }
        for number, state in enumerate(order)
    ]


def _step_now(operation: Operation) -> OperationState:
    """Find the step at which an operation is, or at which it rests."""
    if operation.state == OperationState.DONE:
        return OperationState.DONE
    if operation.started_at is None:
        return OperationState.PREVIEW
    if operation.canary and operation.moved <= operation.canary and operation.state != OperationState.RUNNING:
        return OperationState.CANARY
    return OperationState.RUNNING


def _canary(operation: Operation) -> str:
    size = min(operation.canary, operation.total)
    if operation.moved > size:
        return f"{size:,} first"
    return f"{operation.succeeded:,} of {size:,} succeeded, {operation.died:,} died again"


def _ends_in(operation: Operation) -> str:
    """Estimate when an operation with a rate has come to its last row."""
    if operation.ended_at is not None and operation.started_at is not None:
        return f"after {duration((operation.ended_at - operation.started_at).total_seconds())}"
    if operation.state != OperationState.RUNNING or not operation.rate_per_second:
        return ""
    if not operation.left:
        return f"{operation.running:,} still run"
    return f"in about {duration(operation.left / operation.rate_per_second)}"


def bar(operation: Operation) -> list[dict[str, str]]:
    """Measure the parts of the bar, in percent of all rows."""
    if operation.verb in RUNNING_AGAIN:
        counts = {"succeeded": operation.succeeded, "died": operation.died}
        counts |= {"running": operation.running, "skipped": operation.skipped + operation.ended}
    else:
        counts = {"succeeded": operation.moved, "skipped": operation.skipped}
    parts, begin = [], 0.0
    for kind, count in counts.items():
        width = 100 * count / max(operation.total, 1)
        if width:
            parts.append({"kind": kind, "x": f"{begin:.2f}", "width": f"{width:.2f}"})
        begin += width
    return parts


def sentence(operation: Operation) -> str:
    """Say in one line what became of the rows."""
    if operation.verb not in RUNNING_AGAIN:
        known = [f"{operation.moved:,} done"]
    else:
        known = [f"{operation.succeeded:,} succeeded", f"{operation.died:,} died again"]
        known += [f"{operation.running:,} not ended"] if operation.running else []
        known += [f"{operation.ended:,} cancelled or removed"] if operation.ended else []
    known += [f"{operation.skipped:,} skipped"] if operation.skipped else []
    known.append(f"{operation.left:,} to go")
    return " · ".join(known)


def as_context(operation: Operation) -> dict[str, Any]:
    """Describe an operation for the panel with its steps, which other pages have too."""
    return {
        "verb": operation.get_verb_display(),
        "url": reverse("admin:callboard_operation_change", args=[quote(operation.pk)]),
        "by": escape_invisible(operation.by),
        "reason": escape_invisible(operation.reason),
        "state": badge(operation.state, operation.get_state_display()),
        "note": escape_invisible(operation.note),
        "steps": steps(operation),
        "bar": bar(operation),
        "sentence": sentence(operation),
        "stop_percent": operation.stop_percent,
        "skips": [(escape_invisible(reason), count_text(count)) for reason, count in operation.skips.items()],
        "is_over": operation.is_over,
    }


def _number(text: str) -> Any:
    """Read a number, nothing as None; the contract says what is wrong with anything else."""
    if not text.strip():
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _failure_link(operation: Operation) -> str:
    if not operation.failure:
        return EMPTY
    address = reverse("admin:dlq_failure_change", args=[operation.failure])
    return format_html('<a href="{}">{}</a>', address, code(operation.failure))


@admin.register(Operation)
class OperationAdmin(OperatedAdmin):
    """Acts on many rows."""

    change_form_template = "callboard/operation.html"
    verbs = (RESUME, PAUSE, CANCEL)
    kind = ObjectKind.OPERATION
    state_field = "state"
    empty_text = "No operations. An action on many dead letters of a failure becomes one."
    list_display = (
        display("operation", str),
        _STATE,
        display("progress", _progress),
        display("died again", lambda operation: count_text(operation.died)),
        _BY,
        _REASON,
        display_age("created_at"),
    )
    list_filter = (StateFilter,)
    summary_fields = (
        _STATE,
        _BY,
        display("door", lambda operation: operation.get_door_display() or EMPTY),
        display("reason", lambda operation: escape_invisible(operation.reason) or EMPTY),
        display("failure", _failure_link),
        display("failed steps", lambda operation: count_text(operation.errors) if operation.errors else EMPTY),
        display_age("created_at"),
        display_age("started_at"),
        display_age("ended_at"),
        display("ID", lambda operation: code(operation.pk)),
    )
    fieldsets: ClassVar[Any] = ((None, {"fields": (display_json("criteria", label="filter"),)}),)

    def get_urls(self) -> list[URLPattern]:
        """Add the address of the pace."""
        view = self.admin_site.admin_view(self.pace_view)
        return [path("<path:object_id>/pace/", view, name="callboard_operation_pace"), *super().get_urls()]

    def pace_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change the rate and the automatic stop."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self._changeable(request, object_id)
        body: dict[str, Any] = {"rate_per_second": _number(request.POST.get("rate", ""))}
        if row.verb in RUNNING_AGAIN:
            body["stop_percent"] = _number(request.POST.get("stop", ""))
        try:
            change, _ = read_pace(body)
            operations.set_pace(row.pk, change, by=operator_log.author_of(request))
        except InvalidTask as error:
            raise BadRequest("; ".join(f"{one.field}: {one.message}" for one in error.errors)) from error
        except CallboardError as refusal:
            self.message_user(request, f"Nothing was done: {refusal.detail}.", messages.WARNING)
        return HttpResponseRedirect(self.address_of(row.pk))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer none: each operation is looked at before it is changed."""
        return {}

    def verb_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Refuse users who may not do to a row what the operation does."""
        if request.method == "POST":
            self._changeable(request, object_id)
        return super().verb_view(request, object_id, name)

    def _changeable(self, request: HttpRequest, object_id: str) -> Operation:
        caller = Caller(request.user)
        try:
            caller.require(VIEW_OPERATION)
            caller.require(CHANGE_OPERATION)
            return find_to_change(caller, unquote(object_id))
        except NotFound as error:
            raise Http404 from error
        except NotAllowed as error:
            raise PermissionDenied from error

    def page_context(self, request: HttpRequest, row: Operation) -> Mapping[str, Any]:
        """Add the steps, and the rows that died again, were skipped, or were changed last."""
        may = request.user.has_perm(CHANGE_OPERATION.permission)
        return {
            "operation": as_context(row),
            "pace_url": reverse("admin:callboard_operation_pace", args=[quote(row.pk)]) if may else "",
            "rate": "" if row.rate_per_second is None else f"{row.rate_per_second:g}",
            "fastest": str(FASTEST),
            "slowest": str(SLOWEST),
            "runs_again": row.verb in RUNNING_AGAIN,
            "groups": _groups(row) if request.user.has_perm(VIEW_TASK.permission) else [],
        }


def _groups(operation: Operation) -> list[dict[str, Any]]:
    """Name some of the rows by what became of them, the worst first."""
    order = (ItemState.DIED, ItemState.SKIPPED, ItemState.ENDED, ItemState.MOVED, ItemState.SUCCEEDED)
    groups = []
    for state in order:
        items = OperationItem.objects.filter(operation_id=operation.pk, state=state).order_by("id")[:MAX_SHOWN]
        if rows := [{"id": str(item.task_id), "note": escape_invisible(item.note)} for item in items]:
            groups.append({"label": str(state.label), "slug": state.name.lower(), "rows": rows})
    return groups
