"""Operation pages: acts on many rows, what became of their tasks, and their buttons."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from tasks.admin import operator_log
from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.display import display, display_age
from tasks.admin.filters import ChipsFilter
from tasks.admin.formatting import EMPTY, badge, code, count_text, escape_invisible, shortened, task_link
from tasks.admin.operation_progress import progress_of
from tasks.contract.access import BEGIN_OPERATION, CHANGE_OPERATION, RESTORE_DEAD_LETTER, Action, Caller
from tasks.contract.operations import FASTEST, SLOWEST, can_be_undone, find_operation, find_to_change, undo
from tasks.errors import CallboardError, NotAllowed, NotFound
from tasks.lifecycle import Author, operations
from tasks.models import Operation, OperationItem, OperationQuerySet
from tasks.states import ItemState, ObjectKind, OperationState

#: Rows of each kind on the page.
MAX_SHOWN = 10
MAX_REASON_LENGTH = 80
#: "Faster" multiplies the rate by this, and "Slower" divides it.
PACE_FACTOR = 2


class StateFilter(ChipsFilter):
    """Operations by state."""

    title = parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        """List the states."""
        return OperationState.choices

    def filtered(self, rows: OperationQuerySet, value: str) -> OperationQuerySet:
        """Keep one state."""
        return rows.in_states([OperationState(value)])


_STATE = display("state", lambda operation: badge(operation.state, operation.get_state_display()))


def _filter(operation: Operation) -> str:
    texts = [f"{name}: {value}" for name, value in operation.criteria.items()]
    return shortened(", ".join(texts), 300) or "selected rows"


def _by(operation: Operation) -> str:
    return escape_invisible(operation.by) or operation.get_door_display() or EMPTY


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    """Acts on many rows."""

    change_form_template = "callboard/operation.html"
    state_field = "state"
    empty_text = "No operations. Actions on all matches of a list, and re-drives of a failure, make them."
    list_display = (
        display("operation", lambda operation: escape_invisible(str(operation))),
        _STATE,
        display("done", lambda operation: f"{operation.moved + operation.skipped:,} of {operation.total:,}"),
        display("died again", lambda operation: count_text(operation.died) if operation.died else EMPTY),
        display("by", _by),
        display("reason", lambda operation: shortened(operation.reason, MAX_REASON_LENGTH) or EMPTY),
        display_age("created_at"),
    )
    list_filter = (StateFilter,)
    summary_fields = (
        _STATE,
        display("by", _by),
        display("reason", lambda operation: escape_invisible(operation.reason)),
        display("filter", _filter),
        display_age("created_at"),
        display_age("ended_at"),
        display("failed steps", lambda operation: count_text(operation.errors) if operation.errors else ""),
        display("ID", lambda operation: code(operation.pk)),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the buttons."""
        view = self.admin_site.admin_view(self.act_view)
        undo_view = self.admin_site.admin_view(self.undo_view)
        return [
            path("<path:object_id>/undo/", undo_view, name="callboard_operation_undo"),
            path("<path:object_id>/act/<str:name>/", view, name="callboard_operation_act"),
            *super().get_urls(),
        ]

    def act_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Start, pause, resume, cancel, slow down or speed up an operation, and go back to its page."""
        if name not in _ACTS:
            raise Http404

        def act(caller: Caller, by: Author) -> Operation:
            operation = find_to_change(caller, unquote(object_id))
            _ACTS[name](operation, by)
            return operation

        return self._act(request, object_id, CHANGE_OPERATION, act)

    def undo_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Begin the operation that undoes a discard, and go to its page."""

        def act(caller: Caller, by: Author) -> Operation:
            return undo(find_operation(caller, unquote(object_id)), caller=caller, by=by)

        return self._act(request, object_id, BEGIN_OPERATION, act)

    def _act(
        self, request: HttpRequest, object_id: str, action: Action, act: Callable[[Caller, Author], Operation]
    ) -> HttpResponse:
        """Go to the page of the operation that ``act`` returns, or back with the reason why it refuses."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(action.permission):
            raise PermissionDenied
        by = operator_log.author_of(request)
        try:
            operation = act(Caller(request.user), by)
        except NotAllowed as refusal:
            raise PermissionDenied from refusal
        except NotFound as refusal:
            raise Http404 from refusal
        except CallboardError as refusal:
            self.message_user(request, f"Nothing was done: {refusal.detail}.", messages.WARNING)
            return HttpResponseRedirect(self.address_of(unquote(object_id)))
        return HttpResponseRedirect(self.address_of(operation.pk))

    def page_context(self, request: HttpRequest, row: Operation) -> Mapping[str, Any]:
        """Add the steps, the bar, the buttons, the skipped rows, and the tasks that died again."""
        may_act = request.user.has_perm(CHANGE_OPERATION.permission)
        return {
            **progress_of(row),
            "buttons": _buttons(row) if may_act else [],
            "may_undo": can_be_undone(row)
            and request.user.has_perms([BEGIN_OPERATION.permission, RESTORE_DEAD_LETTER.permission]),
            "skips": sorted(row.skips.items(), key=lambda pair: -pair[1]),
            "died": _shown(row, ItemState.DIED),
            "failure_url": reverse("admin:dlq_failure_change", args=[row.failure]) if row.failure else "",
            "operator_log": operator_log.entries_of(request, ObjectKind.OPERATION, str(row.pk)),
        }


def _set_pace(factor: float) -> Callable[[Operation, Author], object]:
    def act(operation: Operation, by: Author) -> object:
        rate = (operation.rate_per_second or FASTEST) * factor
        change = {"rate_per_second": min(max(rate, SLOWEST), FASTEST)}
        return operations.set_pace(operation.pk, change, by=by)

    return act


_ACTS: Mapping[str, Callable[[Operation, Author], object]] = {
    "resume": lambda operation, by: operations.resume(operation.pk, by=by),
    "pause": lambda operation, by: operations.pause(operation.pk, by=by),
    "cancel": lambda operation, by: operations.cancel(operation.pk, by=by),
    "slower": _set_pace(1 / PACE_FACTOR),
    "faster": _set_pace(PACE_FACTOR),
}
_RESUME = {
    OperationState.PREVIEW: "Start",
    OperationState.CANARY: "Do not wait for the canary",
    OperationState.PAUSED: "Resume",
    OperationState.STOPPED: "Go on",
}


def _buttons(operation: Operation) -> list[dict[str, Any]]:
    """List the buttons that the operation's state allows."""
    state = OperationState(operation.state)
    found = []
    if state in _RESUME:
        found.append(("resume", _RESUME[state]))
    if operation.is_active:
        found.append(("pause", "Pause"))
        if operation.rate_per_second is not None:
            found += [("slower", "Slower"), ("faster", "Faster")]
    if not operation.is_over:
        found.append(("cancel", "Cancel"))
    return [
        {
            "label": label,
            "is_danger": name == "cancel",
            "is_main": name == "resume" and state is not OperationState.CANARY,
            "url": reverse("admin:callboard_operation_act", args=[operation.pk, name]),
        }
        for name, label in found
    ]


def _shown(operation: Operation, state: ItemState) -> list[str]:
    items = OperationItem.objects.filter(operation_id=operation.pk, state=state).order_by("-id")[:MAX_SHOWN]
    return [task_link(item.task_id) for item in items]
