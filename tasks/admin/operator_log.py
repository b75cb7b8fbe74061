"""The operator log: Django's log entries as lines of a page, and the note that an operator's action leaves."""

from collections.abc import Iterable
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from tasks.admin.formatting import relative_time, shortened

#: Entries on the overview.
MAX_RECENT = 8
#: Entries on a row's page.
MAX_OF_ROW = 10
MAX_REASON_LENGTH = 200


def recent_entries() -> list[dict[str, Any]]:
    """Return the newest entries of all models."""
    return _lines(LogEntry.objects.select_related("user", "content_type").order_by("-pk")[:MAX_RECENT])


def entries_of(model: type[Model], pk: str) -> list[dict[str, Any]]:
    """Return the newest entries of one row."""
    content_type = ContentType.objects.get_for_model(model)
    entries = LogEntry.objects.filter(content_type=content_type, object_id=pk)
    return _lines(entries.select_related("user").order_by("-pk")[:MAX_OF_ROW])


def log_many(request: HttpRequest, model: type[Model], *, counted: str, note: str) -> None:
    """Write one entry for many rows; each task's own events say what happened to it."""
    LogEntry.objects.create(
        user_id=int(request.user.pk or 0),
        content_type=ContentType.objects.get_for_model(model),
        object_repr=counted,
        action_flag=CHANGE,
        change_message=note,
    )


def note(what: str, request: HttpRequest) -> str:
    """Write what was done, and the operator's reason."""
    reason = request.POST.get("reason", "").strip()[:MAX_REASON_LENGTH]
    return f"{what}: {reason}" if reason else f"{what}."


def _lines(entries: Iterable[LogEntry]) -> list[dict[str, Any]]:
    return [
        {
            "by": entry.user.get_username(),
            "at": relative_time(entry.action_time),
            "what": entry.get_change_message() or entry.get_action_flag_display(),
            "object": shortened(entry.object_repr, 80),
            "url": entry.get_admin_url() if entry.object_id else None,
        }
        for entry in entries
    ]
