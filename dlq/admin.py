"""Dead letter pages: dead tasks by cause, re-drive and discard."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse

from dlq.admin_edit import edit_view, may_edit
from dlq.admin_export import export_view
from dlq.admin_failures import FailureAdmin
from dlq.models import DeadLetter, DeadLetterQuerySet, Failure
from dlq.queries import error_line
from tasks import lifecycle
from tasks.admin.display import display, display_age
from tasks.admin.filters import ActorFilter, ChipsFilter, KnownValuesFilter, QueueFilter
from tasks.admin.formatting import (
    badge,
    count_text,
    error_cell,
    escape_invisible,
    json_block,
    name_of_task,
    shortened,
    task_cell,
    task_link,
    truncated,
)
from tasks.admin.operated import OperatedAdmin
from tasks.admin.verb import Verb
from tasks.contract.access import DISCARD_DEAD_LETTER, REDRIVE_DEAD_LETTER, RESTORE_DEAD_LETTER, VIEW_TASK, Caller
from tasks.contract.dead_letters import lenses
from tasks.contract.failures import errors_of, last_seen
from tasks.contract.sight import Lens, Sees, Sight, sight_of
from tasks.models import Attempt, Task
from tasks.queries.scan import scan
from tasks.states import DeathReason, ObjectKind, OperationVerb, Resolution

__all__ = ["DeadLetterAdmin", "FailureAdmin"]

#: Counting open dead letters stops here.
MAX_COUNTED = 1_000
#: Dead letters whose errors a search reads as the user sees them.
MAX_SEARCHED = 1_000
MAX_CAUSES = 20


class ResolutionFilter(ChipsFilter):
    """By resolution; open ones by default."""

    title = parameter_name = "resolution"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the resolutions."""
        return [*((resolution.name, str(resolution.label)) for resolution in Resolution), ("all", "All")]

    def value(self) -> str:
        """Default to open dead letters."""
        return super().value() or Resolution.OPEN.name

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Leave out the link without a value, which would list the open ones too."""
        _, *others = super().choices(changelist)
        yield from others

    def counts(self) -> Mapping[str, str]:
        """Count open dead letters; the others have no index to count by."""
        count = DeadLetter.objects.open()[: MAX_COUNTED + 1].count()
        return {Resolution.OPEN.name: count_text(min(count, MAX_COUNTED), is_capped=count > MAX_COUNTED)}

    def filtered(self, rows: DeadLetterQuerySet, value: str) -> QuerySet[DeadLetter]:
        """Keep one resolution."""
        return rows if value == "all" else rows.resolved_as(Resolution[value])


class ReasonFilter(KnownValuesFilter):
    """By reason of death."""

    title = parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the reasons."""
        return DeathReason.choices

    def filtered(self, rows: DeadLetterQuerySet, value: str) -> QuerySet[DeadLetter]:
        """Keep one reason."""
        return rows.died_of(DeathReason(value))


class CauseFilter(KnownValuesFilter):
    """By cause; offers the causes of open dead letters."""

    title = parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the causes that were last seen, and the selected one."""
        failures = last_seen(Failure.objects.with_news().open(), limit=MAX_CAUSES).rows
        errors = errors_of(failures, sees=sight_of(Caller(request.user)))
        known = {one.pk: _cause(one, errors[one.pk]) for one in failures}
        chosen = request.GET.get(self.parameter_name, "")
        if re.fullmatch("[0-9a-f]{32}", chosen):
            known.setdefault(chosen, f"…{chosen[-8:]}")
        return list(known.items())

    def filtered(self, rows: DeadLetterQuerySet, value: str) -> QuerySet[DeadLetter]:
        """Keep one cause."""
        return rows.of_cause(value)


def _cause(failure: Failure, error: str) -> str:
    number = count_text(max(failure.count("open"), 0))
    return f"{number} × {shortened(failure.actor, 40)}: {shortened(error, 60) or 'no error'}"


_RESOLUTION = display(
    "resolution",
    lambda letter: badge(Resolution(letter.resolution).name, letter.get_resolution_display()),
)
_REASON = display("reason", lambda letter: letter.get_reason_display())


REDRIVE = Verb(
    name="redrive",
    label="Re-drive",
    command="Re-drive {}",
    outcome="be re-driven",
    done="re-driven",
    permission=REDRIVE_DEAD_LETTER.permission,
    effect="The dead task runs again with a fresh set of retries, as soon as its priority allows.",
    condition="Only open dead letters can be re-driven, if the task still exists and its arguments fit the actor.",
    legal=lambda rows: rows.open(),
    run=lambda ids, by: len(lifecycle.redrive_many(ids, by=by)),
    many=OperationVerb.REDRIVE,
)
DISCARD = Verb(
    name="discard",
    label="Discard",
    command="Discard {}",
    outcome="be discarded",
    done="discarded",
    permission=DISCARD_DEAD_LETTER.permission,
    effect="The dead letter is closed without another run. It can be restored until its dead task is removed.",
    condition="Only open dead letters can be discarded.",
    legal=lambda rows: rows.open(),
    run=lambda ids, by: len(lifecycle.discard_many(ids, by=by)),
    many=OperationVerb.DISCARD,
)
RESTORE = Verb(
    name="restore",
    label="Restore",
    command="Restore {}",
    outcome="be open again",
    done="restored",
    permission=RESTORE_DEAD_LETTER.permission,
    effect="The discarded dead letter is open again, so that its task can be re-driven. Nothing runs yet.",
    condition="Only discarded dead letters can be restored, while their task is dead and kept.",
    legal=lambda rows: rows.restorable(),
    run=lambda ids, by: len(lifecycle.restore_many(ids, by=by)),
    many=OperationVerb.RESTORE,
)


def _ids_saying(letters: DeadLetterQuerySet, text: str, *, sees: Sees) -> list[UUID]:
    """Find the newest dead letters in whose errors this user can read a text: a search must not tell what is hidden."""
    found = list(letters.saying(text).newest_first().only("task_id", "owner_id", "error_message")[:MAX_SEARCHED])
    seen = lenses(found, sees=sees)
    texts = ((letter.pk, seen[letter.pk].text(letter.error_message) or "") for letter in found)
    return [pk for pk, shown in texts if text.lower() in shown.lower()]


@admin.register(DeadLetter)
class DeadLetterAdmin(OperatedAdmin):
    """Dead letters: the dead task, the reason, the error and the resolution."""

    verbs = (REDRIVE, DISCARD, RESTORE)
    kind = ObjectKind.DEAD_LETTER
    state_field = "resolution"
    empty_text = "No open dead letters: no dead task needs a decision."
    no_match_text = "No dead letters match. “All” lists the resolved ones too."
    list_display = (
        display("dead letter", lambda letter: task_cell(letter.actor, letter.pk)),
        _RESOLUTION,
        _REASON,
        display("error", lambda letter: error_cell(error_line(letter.error_type, letter.error_message))),
        display("queue", lambda letter: escape_invisible(letter.queue)),
        display_age("died_at"),
    )
    list_filter = (ResolutionFilter, CauseFilter, ReasonFilter, QueueFilter, ActorFilter)
    search_fields = ("id",)
    search_help_text = "Error, actor or ID"
    change_form_template = "callboard/dead_letter.html"
    change_list_template = "callboard/dead_letters.html"
    summary_fields = (
        _RESOLUTION,
        display("resolved by", lambda letter: escape_invisible(letter.resolved_by)),
        display_age("resolved_at"),
        _REASON,
        display_age("died_at"),
        display("queue", lambda letter: escape_invisible(letter.queue)),
        display("attempt number", lambda letter: str(letter.attempt)),
        display("owner", lambda letter: escape_invisible(str(letter.owner or ""))),
        display("task", lambda letter: task_link(letter.task_id)),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the export, and of the form that edits the payload."""
        edit, export = self.admin_site.admin_view(self.edit_view), self.admin_site.admin_view(self.export_view)
        return [
            path("export/<str:form>/", export, name="dlq_deadletter_export"),
            path("<path:object_id>/edit/", edit, name="dlq_deadletter_edit"),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Send the list as CSV or JSON."""
        return export_view(self, request, form)

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Edit the payload of the dead task and re-drive it."""
        return edit_view(self, request, object_id)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Search errors, actors and IDs."""
        if not search_term:
            return queryset, False
        said = _ids_saying(queryset, search_term, sees=sight_of(Caller(request.user)))
        return queryset.searched(search_term) | queryset.filter(pk__in=said), False

    def hide_data(self, request: HttpRequest, rows: Sequence[DeadLetter]) -> None:
        """Replace the errors' messages."""
        seen = lenses(rows, sees=sight_of(Caller(request.user)))
        for letter in rows:
            letter.lens = seen[letter.pk]  # type: ignore[attr-defined]
            letter.error_message = seen[letter.pk].text(letter.error_message) or ""

    def name_of(self, row: DeadLetter) -> str:
        """Name it by its actor and the end of its ID."""
        return name_of_task(row.actor, row.pk)

    def describe(self, row: DeadLetter) -> str:
        """Add its error."""
        error = error_line(row.error_type, row.error_message)
        return f"{self.name_of(row)}: {shortened(error, 80) or row.get_reason_display()}"

    def page_context(self, request: HttpRequest, row: DeadLetter) -> Mapping[str, Any]:
        """Add the traceback, the payload, and the number of open dead letters with the same cause."""
        attempt = Attempt.objects.filter(task_id=row.task_id, number=row.attempt).first()
        task = Task.objects.filter(pk=row.task_id).only("actor", "args", "payload").first()
        lens: Lens = row.lens  # type: ignore[attr-defined]
        is_hidden = lens.sight is Sight.NOTHING
        sees_payload = not is_hidden and request.user.has_perm(VIEW_TASK.permission)
        same = DeadLetter.objects.open().of_cause(row.fingerprint).exclude(pk=row.pk)
        others = len(scan(same.values_list("pk"), wanted=MAX_COUNTED + 1).found)
        return {
            "error": truncated(error_line(row.error_type, row.error_message)),
            "traceback": truncated(lens.text(attempt.traceback) or "") if attempt else "",
            "note": escape_invisible(lens.text(attempt.note) or "") if attempt else "",
            "is_hidden": is_hidden,
            "payload": json_block(Lens(lens.sight, task).payload()) if task and sees_payload else "",
            "is_task_gone": task is None,
            "edit_url": reverse("admin:dlq_deadletter_edit", args=[row.pk]) if task and may_edit(request, row) else "",
            "others": count_text(min(others, MAX_COUNTED), is_capped=others > MAX_COUNTED) if others else "",
            "others_url": f"{reverse('admin:dlq_deadletter_changelist')}?{urlencode({'cause': row.fingerprint})}",
        }
