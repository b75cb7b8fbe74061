"""Failure pages: why tasks die, what the deaths of one cause have in common, and forms to act on all of them."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from dlq.admin_compare import compare_view
from dlq.admin_edit import may_edit
from dlq.models import LONGEST_NOTE, Failure, FailureQuerySet
from dlq.queries import error_line
from tasks import lifecycle
from tasks.admin import operator_log
from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.change_list import MAX_COUNTED, CappedPaginator
from tasks.admin.charts import line
from tasks.admin.display import display, display_age
from tasks.admin.filters import ActorFilter, ChipsFilter
from tasks.admin.formatting import (
    EMPTY,
    build_code,
    count_text,
    error_cell,
    escape_invisible,
    json_block,
    relative_time,
    shortened,
    truncated,
)
from tasks.admin.operation_course import numbers_of
from tasks.admin.operation_progress import progress_of
from tasks.admin.refusals import faults_of
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
from tasks.contract.failures import NOTHING, Anatomy, anatomy, lenses_of, read_change
from tasks.contract.sight import Lens, Sight, sight_of
from tasks.errors import CallboardError, NotAllowed
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.models import Attempt, Operation
from tasks.queries.deaths import MINUTES, MOST_LOOKED_AT, Curve
from tasks.queries.scan import Scan
from tasks.states import ObjectKind

#: How long "Snooze" lasts: the label and the seconds, if it is not until a new build.
SNOOZES = {
    "hour": ("1 hour", 3600),
    "day": ("1 day", 86_400),
    "week": ("1 week", 7 * 86_400),
    "build": ("until a new build", 0),
}


class OpenFilter(ChipsFilter):
    """By whether a failure is open and not snoozed."""

    title = parameter_name = "show"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the choices."""
        return [("open", "Open"), ("snoozed", "Snoozed"), ("all", "All")]

    def value(self) -> str:
        """Default to open ones."""
        return super().value() or "open"

    def choices(self, changelist: Any) -> Any:
        """Leave out the link without a value."""
        _, *others = super().choices(changelist)
        yield from others

    def filtered(self, rows: FailureQuerySet, value: str) -> FailureQuerySet:
        """Keep those that are open, snoozed, or all."""
        now = timezone.now()
        if value == "open":
            return rows.open().awake(now=now)
        return rows.snoozed(now=now) if value == "snoozed" else rows


class InListOrder(CappedPaginator):
    """Keep the order of the list on its pages: keys of failures are hashes, so their order says nothing."""

    @cached_property
    def scan(self) -> Scan:
        """The keys of the first rows."""
        rows: Any = self.object_list
        return Scan(list(rows.values_list("pk", flat=True)[:MAX_COUNTED]))


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Causes of deaths."""

    change_form_template = "callboard/failure.html"
    ordering = ("-last_seen_at", "pk")  # type: ignore[assignment]
    paginator = InListOrder
    state_field = None
    empty_text = no_match_text = "No failures: no dead task needs a decision."
    list_display = (
        display("cause", lambda failure: error_cell(error_line(failure.error_type, failure.error_message))),
        display("actor", lambda failure: escape_invisible(failure.actor)),
        display("open", lambda failure: count_text(max(failure.count("open"), 0))),
        display("deaths", lambda failure: count_text(failure.count("total"))),
        display_age("first_seen_at", label="first seen"),
        display_age("last_seen_at", label="last seen"),
        display("assigned to", lambda failure: escape_invisible(failure.assignee) or EMPTY),
    )
    list_filter = (OpenFilter, ActorFilter)

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the forms."""
        begin = self.admin_site.admin_view(self.begin_view)
        look_after = self.admin_site.admin_view(self.look_after_view)
        compare = self.admin_site.admin_view(self.compare_view)
        return [
            path("<path:object_id>/compare/", compare, name="dlq_failure_compare"),
            path("<path:object_id>/begin/<str:verb>/", begin, name="dlq_failure_begin"),
            path("<path:object_id>/look-after/", look_after, name="dlq_failure_look_after"),
            *super().get_urls(),
        ]

    def _is_key(self, value: str) -> bool:
        return re.fullmatch("[0-9a-f]{32}", value) is not None

    def annotate(self, rows: list[Failure]) -> None:
        """Add what the leader has not counted yet."""
        found = Failure.objects.with_news().in_bulk([one.pk for one in rows])
        for one in rows:
            one.news = found[one.pk].news if one.pk in found else None  # type: ignore[attr-defined]

    def hide_data(self, request: HttpRequest, rows: Sequence[Failure]) -> None:
        """Replace the errors' messages."""
        seen = lenses_of(rows, sees=sight_of(Caller(request.user)))
        for one in rows:
            one.error_message = seen[one.pk].text(one.error_message) or ""

    def name_of(self, row: Failure) -> str:
        """Name it by its error."""
        return shortened(error_line(row.error_type, row.error_message), 200) or "No error"

    def begin_view(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """Begin a preview of a re-drive or discard of all open dead letters of a failure, and go to its page."""
        failure = self._post_to(request, object_id, BEGIN_OPERATION.permission)
        if verb not in {"redrive", "discard"}:
            raise Http404
        body: dict[str, Any] = {"verb": verb, "filter": {"failure": failure.pk}, "preview": True}
        try:
            numbers = numbers_of(request)
            by = operator_log.author_of(request)
            operation = operations.begin(body | numbers, caller=Caller(request.user), by=by)
        except NotAllowed as refusal:
            raise PermissionDenied from refusal
        except CallboardError as refusal:
            self.message_user(request, f"Nothing was done: {faults_of(refusal)}.", messages.WARNING)
            return HttpResponseRedirect(self.address_of(failure.pk))
        return HttpResponseRedirect(reverse("admin:callboard_operation_change", args=[operation.pk]))

    def compare_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the payloads of two of its dead letters beside each other."""
        failure = self.get_object(request, unquote(object_id))
        if failure is None:
            raise Http404
        if not self.has_view_permission(request, failure):
            raise PermissionDenied
        return compare_view(self, request, failure)

    def look_after_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Assign a failure, snooze it or write its note."""
        failure = self._post_to(request, object_id, CHANGE_FAILURE.permission)
        given = request.POST
        change: dict[str, Any] = {}
        if "assign" in given:
            change["assignee"] = request.user.get_username() if given["assign"] == "me" else None
        if "note" in given:
            change["note"] = given["note"].replace("\r\n", "\n") or None
        if "snooze" in given:
            seconds = SNOOZES.get(given["snooze"], ("", 0))[1]
            until = timezone.now() + timedelta(seconds=seconds)
            change["snoozed_until"] = until.isoformat() if seconds else None
            change["snoozed_until_new_build"] = given["snooze"] == "build"
        try:
            lifecycle.look_after(failure.pk, read_change(change), by=operator_log.author_of(request))
        except CallboardError as refusal:
            self.message_user(request, f"Nothing was done: {faults_of(refusal)}.", messages.WARNING)
        return HttpResponseRedirect(self.address_of(failure.pk))

    def _post_to(self, request: HttpRequest, object_id: str, permission: str) -> Failure:
        if request.method != "POST":
            raise Http404
        failure = self.get_object(request, unquote(object_id))
        if failure is None:
            raise Http404
        if not (self.has_view_permission(request, failure) and request.user.has_perm(permission)):
            raise PermissionDenied
        return failure  # type: ignore[no-any-return]

    def page_context(self, request: HttpRequest, row: Failure) -> Mapping[str, Any]:
        """Add the curve, the sample, what the deaths have in common, the last operation, and the forms."""
        user: Any = request.user
        sees = sight_of(Caller(user))
        # Tags, queues and workers come from the dead letters.
        found = anatomy(row, sees=sees) if user.has_perm(VIEW_DEAD_LETTER.permission) else NOTHING
        operation = None
        if user.has_perm(VIEW_OPERATION.permission):
            operation = Operation.objects.of_failure(row.pk).newest_first().first()
        begins = user.has_perm(BEGIN_OPERATION.permission)
        return {
            **(progress_of(operation) if operation else {}),
            "open": count_text(max(row.count("open"), 0)),
            "total": count_text(row.count("total")),
            "frame": escape_invisible(row.frame),
            "first_seen": relative_time(row.first_seen_at),
            "last_seen": relative_time(row.last_seen_at),
            **_curve(found.deaths),
            "traits": found.traits,
            "compared": len(found.sampled),
            "may_export": user.has_perm(VIEW_DEAD_LETTER.permission),
            "letters_url": f"{reverse('admin:dlq_deadletter_changelist')}?cause={row.pk}",
            "is_snoozed": row.is_snoozed(now=timezone.now()),
            "first_build": build_code(row.first_build) if row.first_build else "",
            "last_build": build_code(row.last_build) if row.last_build else "",
            "snoozes": [(key, label) for key, (label, _) in SNOOZES.items()],
            "note_text": row.note,
            "max_note_length": LONGEST_NOTE,
            "max_reason_length": LONGEST_REASON,
            "default_stop_percent": operations.DEFAULT_STOP_PERCENT,
            "may_redrive": begins and user.has_perm(REDRIVE_DEAD_LETTER.permission) and row.count("open") > 0,
            "may_discard": begins and user.has_perm(DISCARD_DEAD_LETTER.permission) and row.count("open") > 0,
            "may_look_after": user.has_perm(CHANGE_FAILURE.permission),
            "operator_log": operator_log.entries_of(request, ObjectKind.FAILURE, row.pk),
            **_sample(request, found, sees),
        }


def _sample(request: HttpRequest, found: Anatomy, sees: Any) -> dict[str, Any]:
    """Show the newest open dead letter: the traceback and the payload, as this user sees them."""
    if not found.sampled:
        return {}
    newest, user = found.sampled[0], request.user
    lens = Lens(sees(newest.letter.owner_id), newest.task)
    attempt = Attempt.objects.filter(task_id=newest.letter.task_id, number=newest.letter.attempt).first()
    sees_payload = newest.task is not None and user.has_perm(VIEW_TASK.permission)
    return {
        "sample_url": reverse("admin:dlq_deadletter_change", args=[newest.letter.pk]),
        "sample_traceback": truncated(lens.text(attempt.traceback) or "") if attempt else "",
        "sample_payload": json_block(lens.payload()) if sees_payload and lens.sight is not Sight.NOTHING else "",
        "is_hidden": lens.sight is Sight.NOTHING,
        "edit_url": (
            reverse("admin:dlq_deadletter_edit", args=[newest.letter.pk])
            if newest.task is not None and may_edit(request, newest.letter)
            else ""
        ),
        "may_compare": sees_payload and lens.sight is not Sight.NOTHING and len(found.sampled) > 1,
    }


def _curve(deaths: Curve) -> dict[str, Any]:
    """Draw the deaths per minute."""
    most = max(deaths.counts, default=0)
    label = f"Deaths in each of the last {MINUTES} minutes; at most {most}"
    return {
        "curve": line(deaths.counts, label=label, kind="bad tall") if deaths.counts else "",
        "looked_at": count_text(MOST_LOOKED_AT) if deaths.is_cut else "",
        "minutes": MINUTES,
        "most_deaths": most,
    }
