"""The journal: the reason of an act, how an entry is written, and what a list of entries can be filtered by."""

import re
from collections.abc import Mapping
from typing import Any

from tasks.contract import fields
from tasks.contract.filters import Filter, choice, moment
from tasks.contract.pages import Order
from tasks.contract.values import timestamp
from tasks.errors import InvalidTask
from tasks.lifecycle.journal import LONGEST_REASON
from tasks.masking import masked
from tasks.models import Journal, JournalQuerySet
from tasks.states import Door, ObjectKind

# Line breaks too: a reason is one line of the operator log.
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")


def reason(value: Any) -> str:
    """Read the reason of an act: one line of text, or "" for none."""
    if value == "":
        return ""
    read = str(fields.text(LONGEST_REASON)(value)).strip()
    if _CONTROL.search(read):
        raise fields.InvalidValue("bad_text", "expected one line of text without control characters")
    return read


def take_reason(body: dict[str, Any]) -> str:
    """Take the reason out of a body that has other fields, which do not know it.

    Raises:
        InvalidTask: the reason is not valid.
    """
    given = body.pop("reason", None)
    try:
        return "" if given is None else reason(given)
    except fields.InvalidValue as error:
        raise InvalidTask(errors=[fields.field_error("reason", error)]) from error


#: Entries have numbers, not UUIDs.
NEWEST_FIRST = Order("id", True, lambda entry: entry.pk, int)

FILTERS: Mapping[str, Filter] = {
    "verb": Filter(fields.text(20), JournalQuerySet.of_verb),
    "by": Filter(fields.text(150), JournalQuerySet.done_by),
    "door": Filter(choice(Door), JournalQuerySet.through, is_repeatable=True),
    "kind": Filter(choice(ObjectKind), JournalQuerySet.of_kind, is_repeatable=True),
    "object": Filter(fields.text(100), JournalQuerySet.found_by),
    "operation": Filter(fields.identifier, JournalQuerySet.of_operation),
    "after": Filter(moment, JournalQuerySet.done_after),
    "before": Filter(moment, JournalQuerySet.done_before),
}


def event_as_dict(entry: Journal) -> dict[str, Any]:
    """Write an entry in the history of its task."""
    return {
        "verb": entry.verb,
        "by": entry.by or None,
        "door": entry.door or None,
        "reason": entry.reason or None,
        "at": timestamp(entry.at),
        "detail": masked(entry.detail),
    }


def entry_as_dict(entry: Journal) -> dict[str, Any]:
    """Write an entry with the object of the act."""
    return {
        "id": entry.pk,
        **event_as_dict(entry),
        "kind": entry.kind,
        "object": entry.object_id or None,
        "name": entry.object_name or None,
        "task_id": str(entry.task_id) if entry.task_id else None,
        "actor": entry.actor or None,
        "queue": entry.queue or None,
        "operation_id": str(entry.operation_id) if entry.operation_id else None,
        "count": entry.count,
    }
