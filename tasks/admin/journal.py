"""Journal pages: who did what, through which door and why; nothing changes an entry."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from tasks.admin.base import ReadOnlyAdmin
from tasks.admin.display import display, display_json, display_time
from tasks.admin.filters import KnownValuesFilter
from tasks.admin.formatting import EMPTY, code, count_text, escape_invisible, relative_time, shortened, task_link
from tasks.admin.operator_log import object_of, page_of, who
from tasks.models import Journal, JournalQuerySet
from tasks.states import Door

#: The filters offer what occurs in so many newest entries.
MAX_LOOKED_AT = 1_000
MAX_REASON_LENGTH = 80


class _NewestValuesFilter(KnownValuesFilter):
    """Offers the values of the newest entries, and the selected one."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the values."""
        name = str(self.parameter_name)
        newest = set(Journal.objects.newest_first().values_list(name, flat=True)[:MAX_LOOKED_AT])
        chosen = request.GET.get(name, "").replace("\0", "")
        return [(one, escape_invisible(one)) for one in sorted(newest | {chosen}) if one]


class VerbFilter(_NewestValuesFilter):
    """By verb."""

    title = parameter_name = "verb"

    def filtered(self, rows: JournalQuerySet, value: str) -> QuerySet[Journal]:
        """Keep one verb."""
        return rows.of_verb(value)


class ByFilter(_NewestValuesFilter):
    """By who acted."""

    title = parameter_name = "by"

    def filtered(self, rows: JournalQuerySet, value: str) -> QuerySet[Journal]:
        """Keep the acts of one."""
        return rows.done_by(value)


class DoorFilter(KnownValuesFilter):
    """By door."""

    title = parameter_name = "door"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        """List the doors."""
        return Door.choices

    def filtered(self, rows: JournalQuerySet, value: str) -> QuerySet[Journal]:
        """Keep one door."""
        return rows.through([Door(value)])


def _object(entry: Journal) -> str:
    address = page_of(entry)
    if address is None:
        return object_of(entry)
    return format_html('<a href="{}"><bdi title="{}">{}</bdi></a>', address, entry.object_id, object_of(entry))


def _task(entry: Journal) -> str:
    return EMPTY if entry.task_id is None else task_link(entry.task_id)


_WHO = display("by", who)
_DOOR = display("door", lambda entry: entry.get_door_display() or EMPTY)
_REASON = display("reason", lambda entry: shortened(entry.reason, MAX_REASON_LENGTH) or EMPTY)


@admin.register(Journal)
class JournalAdmin(ReadOnlyAdmin):
    """The journal of all doors."""

    state_field = None
    empty_text = "No entries yet."
    no_match_text = "No entries match. Old entries are removed after KEEP_JOURNAL_SECONDS."
    list_display = (
        display("what", lambda entry: entry.verb),
        display("object", _object),
        _WHO,
        _DOOR,
        _REASON,
        display("when", lambda entry: relative_time(entry.at)),
    )
    list_filter = (VerbFilter, ByFilter, DoorFilter)
    search_fields = ("object_id",)
    search_help_text = "ID of an object, or name of a queue"
    summary_fields = (
        display("object", _object),
        _WHO,
        _DOOR,
        display("reason", lambda entry: escape_invisible(entry.reason)),
        display_time("at", label="when"),
        display("ID", lambda entry: code(escape_invisible(entry.object_id))),
        display("task", _task),
        display("queue", lambda entry: escape_invisible(entry.queue)),
        display("objects", lambda entry: EMPTY if entry.count is None else count_text(entry.count)),
        display("operation", lambda entry: code(entry.operation_id) if entry.operation_id else EMPTY),
    )
    fieldsets: ClassVar[Any] = ((None, {"fields": (display_json("detail"),)}),)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[QuerySet[Any], bool]:
        """Find what was done to an object, and to the dead letters of a task."""
        return (queryset.found_by(search_term.strip()) if search_term else queryset), False
