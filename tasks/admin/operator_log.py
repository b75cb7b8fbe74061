"""The operator log: the newest entries of the journal as lines of a page."""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.utils import quote
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.urls import reverse

from tasks.admin.formatting import build_text, count_text, escape_invisible, relative_time, shortened
from tasks.contract import journal
from tasks.contract.access import VIEW_JOURNAL
from tasks.contract.fields import InvalidValue
from tasks.lifecycle import Author
from tasks.models import Journal, new_id
from tasks.states import Door, ObjectKind

#: Entries on the overview.
MAX_RECENT = 8
#: Entries on a row's page.
MAX_OF_ROW = 10
MAX_NAME_LENGTH = 80

_PLURALS = {"batch": "batches"}
_PAGES = {
    ObjectKind.TASK: "admin:callboard_task_change",
    ObjectKind.DEAD_LETTER: "admin:dlq_deadletter_change",
    ObjectKind.QUEUE: "admin:callboard_queue_change",
    ObjectKind.WORKER: "admin:callboard_worker_change",
    ObjectKind.SCHEDULE: "admin:callboard_schedule_change",
    ObjectKind.BATCH: "admin:callboard_batch_change",
    ObjectKind.FAILURE: "admin:dlq_failure_change",
    ObjectKind.OPERATION: "admin:callboard_operation_change",
    ObjectKind.TOKEN: "admin:callboard_apitoken_change",
}


def author_of(request: HttpRequest, *, of_many: bool = False) -> Author:
    """Name the user as the author of an act, with the reason that they gave.

    Raises:
        BadRequest: the reason is not one line of at most 200 characters.
    """
    try:
        reason = journal.reason(request.POST.get("reason", ""))
    except InvalidValue as error:
        raise BadRequest(f"reason: {error}") from error
    return Author(request.user.get_username(), Door.ADMIN, reason, operation_id=new_id() if of_many else None)


def recent_entries() -> list[dict[str, Any]]:
    """Return the newest acts on anything."""
    return _lines(Journal.objects.acts().newest_first()[:MAX_RECENT])


def entries_of(request: HttpRequest, kind: ObjectKind, pk: str) -> list[dict[str, Any]]:
    """Return the newest entries of one row; none to users who may not read the journal."""
    if not request.user.has_perm(VIEW_JOURNAL.permission):
        return []
    return _lines(Journal.objects.about(kind, pk).newest_first()[:MAX_OF_ROW])


def object_of(entry: Journal) -> str:
    """Name the object of an act, or count the objects of an act on many."""
    kind = entry.get_kind_display().lower() if entry.kind != ObjectKind.TOKEN else entry.get_kind_display()
    if entry.count is not None:
        return f"{count_text(entry.count)} {kind if entry.count == 1 else _PLURALS.get(kind, f'{kind}s')}"
    if entry.kind == ObjectKind.BUILD:
        return f"{kind} {build_text(entry.object_id)}"
    name = entry.object_name or entry.actor
    if not name:
        return shortened(f"{kind} {entry.object_id}", MAX_NAME_LENGTH)
    ends_in = f" …{entry.object_id[-8:]}" if entry.actor else ""
    return f"{kind} {shortened(name, MAX_NAME_LENGTH)}{escape_invisible(ends_in)}"


def page_of(entry: Journal) -> str | None:
    """Return the address of the object's page; None of an act on many, and of a build, which has no page."""
    page = _PAGES.get(ObjectKind(entry.kind))
    return reverse(page, args=[quote(entry.object_id)]) if page and entry.object_id else None


def who(entry: Journal) -> str:
    """Name who acted: a user, or for a repair the door."""
    return escape_invisible(entry.by) or entry.get_door_display() or "unknown"


def _lines(entries: Iterable[Journal]) -> list[dict[str, Any]]:
    return [
        {
            "by": who(entry),
            "door": entry.get_door_display() if entry.by else "",
            "at": relative_time(entry.at),
            "what": entry.verb,
            "reason": escape_invisible(entry.reason),
            "object": object_of(entry),
            "url": page_of(entry),
        }
        for entry in entries
    ]
