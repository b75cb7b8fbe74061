"""Failure pages: a cause of deaths, what the dead have in common, re-drive with a canary, and who looks after it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from dlq.models import LONGEST_NOTE, Failure, FailureQuerySet
from dlq.queries import MOST_COMPARED, Sampled, error_line
from tasks import lifecycle
from tasks.admin import operator_log
from tasks.admin.change_list import MAX_COUNTED, CappedPaginator
from tasks.admin.display import display
from tasks.admin.filters import ActorFilter, ChipsFilter
from tasks.admin.formatting import (
    EMPTY,
    count_text,
    escape_invisible,
    json_block,
    relative_time,
    shortened,
    truncated,
)
from tasks.admin.operated import OperatedAdmin
from tasks.admin.operation import as_context
from tasks.contract import operations
from tasks.contract.access import (
    BEGIN_OPERATION,
    CHANGE_FAILURE,
    DISCARD_DEAD_LETTER,
    REDRIVE_DEAD_LETTER,
    VIEW_DEAD_LETTER,
    VIEW_OPERATION,
    VIEW_TASK,
    Caller,
)
from tasks.contract.dead_letter_failures import Trait, anatomy, lenses_of, read_change
from tasks.contract.sight import Lens, Sight, sight_of
from tasks.errors import CallboardError
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.models import Attempt, Operation
from tasks.queries.scan import Scan
from tasks.states import ObjectKind

MAX_ERROR_LENGTH = 120
MAX_NAME_LENGTH = 60
#: Operations that the page links to, beside the newest.
MAX_OPERATIONS = 5
#: What the form of a re-drive begins with.
CANARY, RATE, STOP_PERCENT = 5, 20, 20
SNOOZES = {"1 hour": timedelta(hours=1), "1 day": timedelta(days=1), "1 week": timedelta(weeks=1)}
_WIDTH, _HEIGHT = 760, 70


class AttentionFilter(ChipsFilter):
    """By whether somebody has to act; those by default."""

    title = parameter_name = "show"
    _CHOICES: Mapping[str, tuple[str, Callable[[FailureQuerySet], FailureQuerySet]]] = {
        "open": ("Open", lambda rows: rows.open().awake(now=timezone.now())),
        "snoozed": ("Snoozed", lambda rows: rows.open().snoozed(now=timezone.now())),
        "all": ("All", lambda rows: rows),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the choices."""
        return [(name, label) for name, (label, _) in self._CHOICES.items()]

    def value(self) -> str:
        """Default to what needs attention."""
        return super().value() or "open"

    def choices(self, changelist: Any) -> Any:
        """Leave out the link without a value, which would list the same as the first."""
        _, *others = super().choices(changelist)
        yield from others

    def filtered(self, rows: FailureQuerySet, value: str) -> QuerySet[Failure]:
        """Keep what the choice names."""
        return self._CHOICES[value][1](rows)


class InListOrder(CappedPaginator):
    """Pages in the order of the list: fingerprints are in no order."""

    @cached_property
    def scan(self) -> Scan:
        """The keys of the first rows."""
        rows: Any = self.object_list
        return Scan(list(rows.values_list("pk", flat=True)[:MAX_COUNTED]))


def _error(failure: Failure) -> str:
    return shortened(error_line(failure.error_type, failure.error_message), MAX_ERROR_LENGTH) or "no error"


def _link(failure: Failure) -> str:
    text = error_line(failure.error_type, failure.error_message)
    return format_html('<span class="error-line" title="{}">{}</span>', escape_invisible(text[:500]), _error(failure))


def _open(failure: Failure) -> int:
    return max(failure.count("open"), 0)


def curve(counts: Sequence[int]) -> str:
    """Write the points of a line through counts; the highest touches the top."""
    highest, step = max(*counts, 1), _WIDTH / max(len(counts) - 1, 1)
    heights = [_HEIGHT - 1 - (_HEIGHT - 3) * count / highest for count in counts]
    return " ".join(f"{number * step:.1f},{height:.1f}" for number, height in enumerate(heights))


@admin.register(Failure)
class FailureAdmin(OperatedAdmin):
    """Failures: a row for each cause of deaths."""

    kind = ObjectKind.FAILURE
    state_field = None
    change_form_template = "callboard/failure.html"
    empty_text = "No failures: no dead task needs a decision."
    no_match_text = "No open failures. “All” lists those without open dead letters too."
    list_display = (
        display("error", _link),
        display("actor", lambda failure: shortened(failure.actor, MAX_NAME_LENGTH)),
        display("open", lambda failure: count_text(_open(failure))),
        display("total", lambda failure: count_text(failure.count("total"))),
        display("raised at", lambda failure: shortened(failure.frame, MAX_NAME_LENGTH) or EMPTY),
        display("first seen", lambda failure: relative_time(failure.first_seen_at)),
        display("last seen", lambda failure: relative_time(failure.last_seen_at)),
        display("assigned to", lambda failure: escape_invisible(failure.assignee) or EMPTY),
    )
    list_filter = (AttentionFilter, ActorFilter)
    ordering: ClassVar[Any] = ("-last_seen_at", "fingerprint")
    paginator = InListOrder

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page's forms."""
        views = {"operate": self.operate_view, "look_after": self.look_after_view}
        return [
            *(
                path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"dlq_failure_{name}")
                for name, view in views.items()
            ),
            *super().get_urls(),
        ]

    def annotate(self, rows: list[Failure]) -> None:
        """Add what the leader has not counted yet."""
        found = Failure.objects.with_news().in_bulk([failure.pk for failure in rows])
        for failure in rows:
            failure.news = found[failure.pk].news if failure.pk in found else None  # type: ignore[attr-defined]

    def hide_data(self, request: HttpRequest, rows: Sequence[Failure]) -> None:
        """Replace the errors' messages."""
        seen = lenses_of(rows, sees=sight_of(Caller(request.user)))
        for failure in rows:
            failure.error_message = seen[failure.pk].text(failure.error_message) or ""

    def name_of(self, row: Failure) -> str:
        """Name it by its error."""
        return _error(row)

    def operate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Begin an operation on all open dead letters of the failure, and go to its page."""
        failure = self._posted(request, object_id)
        if isinstance(failure, HttpResponse):
            return failure
        caller, form = Caller(request.user), request.POST
        body: dict[str, Any] = {"verb": form.get("verb", ""), "filter": {"failure": failure.pk, "resolution": "OPEN"}}
        body |= {
            name: _number(form[field])
            for name, field in (("canary", "canary"), ("rate_per_second", "rate"), ("stop_percent", "stop"))
            if form.get(field)
        }
        body["preview"] = "preview" in form
        by = operator_log.author_of(request)
        try:
            caller.require(BEGIN_OPERATION)
            operation = operations.begin(body, caller=caller, by=by)
        except CallboardError as refusal:
            return self._refused(request, failure, refusal)
        return HttpResponseRedirect(reverse("admin:callboard_operation_change", args=[quote(operation.pk)]))

    def look_after_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Assign the failure, write its note, or snooze it."""
        failure = self._posted(request, object_id)
        if isinstance(failure, HttpResponse):
            return failure
        caller, form, body = Caller(request.user), request.POST, {}
        if "assign" in form:
            body["assignee"] = caller.name if form["assign"] == "me" else None
        if "snooze" in form:
            pause = SNOOZES.get(form["snooze"])
            body["snoozed_until"] = (timezone.now() + pause).isoformat() if pause else None
        if "note" in form:
            body["note"] = form["note"].strip()
        try:
            caller.require(CHANGE_FAILURE)
            lifecycle.look_after(failure.pk, read_change(body), by=operator_log.author_of(request))
        except CallboardError as refusal:
            return self._refused(request, failure, refusal)
        return HttpResponseRedirect(self.address_of(failure.pk))

    def page_context(self, request: HttpRequest, row: Failure) -> Mapping[str, Any]:
        """Add the curve of deaths, the newest operation, a sample, what the dead have in common, and the forms."""
        user, caller = request.user, Caller(request.user)
        is_seen = user.has_perm(VIEW_DEAD_LETTER.permission)
        found = anatomy(row, sees=sight_of(caller)) if is_seen else None
        begins = user.has_perm(BEGIN_OPERATION.permission)
        return {
            "open": count_text(_open(row)),
            "is_open": _open(row) > 0,
            "total": count_text(row.count("total")),
            "first_seen": relative_time(row.first_seen_at),
            "last_seen": relative_time(row.last_seen_at),
            "frame": escape_invisible(row.frame),
            "actor": escape_invisible(row.actor),
            "letters_url": f"{reverse('admin:dlq_deadletter_changelist')}?{urlencode({'cause': row.pk})}",
            "curve": curve(found.deaths_per_minute) if found else "",
            "in_the_hour": count_text(sum(found.deaths_per_minute)) if found else "",
            "compared": len(found.sampled) if found else 0,
            "are_more": bool(found and len(found.sampled) == MOST_COMPARED),
            "traits": _traits(found.traits) if found else [],
            "sample": _sample(request, found.sampled[0]) if found and found.sampled else None,
            "operations": _operations(row) if user.has_perm(VIEW_OPERATION.permission) else [],
            "operate_url": reverse("admin:dlq_failure_operate", args=[quote(row.pk)]),
            "may_redrive": begins and user.has_perm(REDRIVE_DEAD_LETTER.permission),
            "may_discard": begins and user.has_perm(DISCARD_DEAD_LETTER.permission),
            "canary": CANARY,
            "rate": RATE,
            "stop_percent": STOP_PERCENT,
            "max_reason_length": LONGEST_REASON,
            "may_change": user.has_perm(CHANGE_FAILURE.permission),
            "look_after_url": reverse("admin:dlq_failure_look_after", args=[quote(row.pk)]),
            "assignee": escape_invisible(row.assignee),
            "is_mine": row.assignee == caller.name,
            "note_text": row.note,
            "max_note_length": LONGEST_NOTE,
            "snoozed_until": relative_time(row.snoozed_until) if _is_snoozed(row) else "",
            "snoozes": list(SNOOZES),
        }

    def _posted(self, request: HttpRequest, object_id: str) -> Failure | HttpResponse:
        """Find the failure that a form was sent for; anything but a POST is answered."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row: Failure | None = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def _refused(self, request: HttpRequest, failure: Failure, refusal: CallboardError) -> HttpResponse:
        if refusal.code == "not_allowed":
            raise PermissionDenied
        texts = [f"{one.field}: {one.message}" for one in refusal.errors] or [refusal.detail]
        self.message_user(request, f"Nothing was done. {'; '.join(texts)}", messages.WARNING)
        return HttpResponseRedirect(self.address_of(failure.pk))


def _number(text: str) -> Any:
    """Read a number; the contract says what is wrong with anything else."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _is_snoozed(failure: Failure) -> bool:
    return failure.snoozed_until is not None and failure.snoozed_until > timezone.now()


def _traits(traits: Sequence[Trait]) -> list[dict[str, str]]:
    return [
        {
            "kind": f"payload.{shortened(one.name, 40)}" if one.kind == "payload" else one.kind,
            "value": shortened(one.value, MAX_NAME_LENGTH),
            "count": count_text(one.shared_by),
        }
        for one in traits
    ]


def _sample(request: HttpRequest, newest: Sampled) -> dict[str, Any]:
    """Show the newest open dead letter as this user sees it."""
    letter, sees = newest.letter, sight_of(Caller(request.user))
    lens = Lens(sees(letter.owner_id), newest.task)
    attempt = Attempt.objects.filter(task_id=letter.task_id, number=letter.attempt).first()
    sees_payload = newest.task is not None and request.user.has_perm(VIEW_TASK.permission)
    return {
        "url": reverse("admin:dlq_deadletter_change", args=[letter.pk]),
        "name": f"…{str(letter.pk)[-8:]}",
        "error": truncated(error_line(letter.error_type, lens.text(letter.error_message) or "")),
        "traceback": truncated(lens.text(attempt.traceback) or "") if attempt else "",
        "payload": json_block(lens.payload()) if sees_payload and lens.sight is not Sight.NOTHING else "",
        "is_hidden": lens.sight is Sight.NOTHING,
    }


def _operations(failure: Failure) -> list[dict[str, Any]]:
    newest = Operation.objects.of_failure(failure.pk).newest_first()[: MAX_OPERATIONS + 1]
    return [as_context(operation) | {"at": relative_time(operation.created_at)} for operation in newest]
