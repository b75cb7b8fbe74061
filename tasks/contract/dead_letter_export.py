"""Exports of dead letters: all that match, with their payloads, as CSV or JSON, in bounded memory.

The rows are fixed when the export begins; each is read just before it is written.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from dlq.models import DeadLetter
from tasks.conf import conf
from tasks.contract.access import VIEW_TASK, Caller
from tasks.contract.dead_letters import FILTERS
from tasks.contract.filters import Filter, choice
from tasks.contract.sight import Lens, Sees, Sight, sight_of
from tasks.contract.values import timestamp
from tasks.db import call_timeout
from tasks.models import Task
from tasks.queries.scan import scan
from tasks.states import Resolution

#: Rows of one export: a thread of the server writes it.
MOST_EXPORTED = 10_000
#: Dead letters in memory at once, with their payloads.
CHUNK = 50
#: Characters of a cell: spreadsheets take 32,767.
LONGEST_CELL = 32_000
COLUMNS = (
    "id", "task_id", "actor", "queue", "reason", "error_type", "error_message", "attempt", "fingerprint", "died_at",
    "resolution", "resolved_by", "resolved_at", "payload",
)  # fmt: skip
#: Spreadsheets read a cell that begins so as a formula; full-width forms, too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Format(Enum):
    """The form of an export, with its media type."""

    CSV = "text/csv; charset=utf-8"
    JSON = "application/json"


#: The format is read with the filters.
EXPORT_FILTERS: Mapping[str, Filter] = {**FILTERS, "format": Filter(choice(Format), lambda rows, _: rows)}


class Export(NamedTuple):
    """The dead letters of an export, and a sentence if there are more."""

    ids: Sequence[UUID]
    note: str = ""


def find(rows: QuerySet[DeadLetter], *, most: int = MOST_EXPORTED) -> Export:
    """Fix the rows of an export: the newest ones that match, as far as a list looks for them."""
    found = scan(rows.values_list("pk", flat=True), wanted=most + 1)
    if len(found.found) > most:
        return Export(found.found[:most], f"Only the newest {most:,} are here; more match. Use narrower filters.")
    note = "" if found.is_complete else "Older ones were not looked at. Use narrower filters."
    return Export(found.found, note)


def sees_payloads_of(caller: Caller) -> Sees:
    """Decide by the owner how much of a payload a caller sees; it is part of a task, so they must see that, too."""
    sees = sight_of(caller)
    return lambda owner_id: sees(owner_id) if caller.is_permitted(VIEW_TASK, owner_id=owner_id) else Sight.NOTHING


def written(export: Export, form: Format, *, sees: Sees, sees_payloads: Sees) -> Iterator[bytes]:
    """Write an export piece by piece."""
    rows = _records(export.ids, sees=sees, sees_payloads=sees_payloads)
    return _as_csv(rows, export.note) if form is Format.CSV else _as_json(rows, export.note)


def _records(ids: Sequence[UUID], *, sees: Sees, sees_payloads: Sees) -> Iterator[dict[str, Any]]:
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        # The request is over for the middleware, which bounds its calls of the database.
        with call_timeout.bounded(conf.REQUEST_DATABASE_SECONDS):
            letters = DeadLetter.objects.in_bulk(chunk)
            tasks = Task.objects.only("actor", "args", "payload").in_bulk(one.task_id for one in letters.values())
        for id in chunk:
            # The pruner may have been faster.
            if (letter := letters.get(id)) is not None:
                task, owner = tasks.get(letter.task_id), letter.owner_id
                yield _record(letter, Lens(sees(owner), task), Lens(sees_payloads(owner), task))


def _record(letter: DeadLetter, lens: Lens, of_payload: Lens) -> dict[str, Any]:
    return {
        "id": str(letter.pk),
        "task_id": str(letter.task_id),
        "actor": letter.actor,
        "queue": letter.queue,
        "reason": letter.reason,
        "error_type": letter.error_type,
        "error_message": lens.text(letter.error_message),
        "attempt": letter.attempt,
        "fingerprint": letter.fingerprint,
        "died_at": timestamp(letter.died_at),
        "resolution": Resolution(letter.resolution).name,
        "resolved_by": letter.resolved_by or None,
        "resolved_at": timestamp(letter.resolved_at),
        "payload": of_payload.payload(),
    }


def _as_json(rows: Iterator[Mapping[str, Any]], note: str) -> Iterator[bytes]:
    yield b'{"results":['
    for place, row in enumerate(rows):
        yield (b",\n" if place else b"\n") + _json(row).encode("ascii")
    yield f'\n],"note":{_json(note or None)}}}\n'.encode("ascii")


def _as_csv(rows: Iterator[Mapping[str, Any]], note: str) -> Iterator[bytes]:
    lines = _Lines()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    yield lines.take()
    for row in rows:
        writer.writerow([cell(row[name]) for name in COLUMNS])
        yield lines.take()
    if note:
        writer.writerow([note])
        yield lines.take()


class _Lines:
    """What the writer of the csv module writes to."""

    def __init__(self) -> None:
        self._line = b""

    def write(self, text: str) -> None:
        """Keep a line."""
        self._line = text.encode("utf-8", "backslashreplace")

    def take(self) -> bytes:
        """Give the line."""
        return self._line


def cell(value: Any) -> str:
    """Write a value for a spreadsheet: one that would be read as a formula gets an apostrophe, a long one is cut.

    >>> cell("=1+1"), cell({"a": "ü"}), cell(None)
    ("'=1+1", '{"a": "ü"}', '')
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text.lstrip(" ").startswith(_FORMULA) and not isinstance(value, int | float):
        text = f"'{text}"
    rest = len(text) - LONGEST_CELL
    return text if rest <= 0 else f"{text[:LONGEST_CELL]}… {rest:,} more characters"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
