"""The events of a task: what has happened to it, and how it stands; derived from rows that are there anyway.

What has happened are its submission, its ended attempts and the acts in the journal: each is told once, and none is
left out. How it stands are its status and its progress: they are told last, and only as they are at the moment.

The id of an event is the position behind it, in each of these. So a reader that gives the last id it has gets exactly
what it does not know, from any process, and nothing is stored for it.
"""

import heapq
import json
import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from operator import itemgetter
from typing import Any, NamedTuple

from tasks.conf import conf
from tasks.contract import fields
from tasks.contract.journal import event_as_dict
from tasks.contract.sight import Lens
from tasks.contract.values import error_as_dict, last_error_as_dict, timestamp
from tasks.errors import InvalidQuery
from tasks.models import Attempt, Journal, Task
from tasks.queries.happenings import Happenings, Since
from tasks.states import EventType, Status

#: An id as ``Position.encode`` writes it.
ID_PATTERN = r"^[0-9]{1,10}-[0-9]{1,19}-[0-9a-f]{1,16}-[0-9a-f]{1,16}$"
_NOT_TOLD = "0"
_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?', re.IGNORECASE | re.ASCII)
_LARGEST = Since(2**31 - 1, 2**63 - 1)


class Position(NamedTuple):
    """What a reader of a task's events knows.

    Parameters:
        since: its attempts and acts up to here.
        status: the digest of the status that it was told.
        progress: the digest of the progress that it was told.
    """

    since: Since = Since()
    status: str = _NOT_TOLD
    progress: str = _NOT_TOLD

    def encode(self) -> str:
        """Write the position as the id of an event."""
        return f"{self.since.attempt}-{self.since.entry}-{self.status}-{self.progress}"


def read_id(text: str) -> Position:
    """Read the id of an event.

    Raises:
        InvalidValue: no event has such an id.
    """
    # fullmatch, because $ alone takes a line break at the end.
    if re.fullmatch(ID_PATTERN, text):
        attempt, entry, status, progress = text.split("-")
        since = Since(int(attempt), int(entry))
        if since.attempt <= _LARGEST.attempt and since.entry <= _LARGEST.entry:
            return Position(since, status, progress)
    raise fields.InvalidValue("invalid", "expected the id of an event of this task, unchanged")


def known_position(text: str, task: Task) -> Position:
    """Read the id of an event of a task.

    Raises:
        InvalidValue: it is not one of this task.
    """
    position = read_id(text)
    if position.since.attempt > task.attempt:
        raise fields.InvalidValue("invalid", "expected the id of an event of this task, got one of another task")
    return position


def last_event(text: str, task: Task, *, field: str) -> Position:
    """Read the id of the last event that a client has of a task.

    Raises:
        InvalidQuery: it is not one of this task; names the field.
    """
    try:
        return known_position(text, task)
    except fields.InvalidValue as error:
        raise InvalidQuery(errors=[fields.field_error(field, error)]) from error


def wait_seconds(value: str) -> int:
    """Read how long a client is ready to wait, in whole seconds."""
    return int(fields.digits(0, int(conf.MAX_WAIT_SECONDS))(value))


def preferred_wait(header: str) -> int | None:
    """Read "wait" from a Prefer header; None if there is none, or it is not valid, which RFC 7240 says to ignore."""
    for preference in header.split(","):
        found = _WAIT.fullmatch(preference.partition(";")[0].strip())
        if found is not None:
            return min(int(found[1]), int(conf.MAX_WAIT_SECONDS))
    return None


class Told(NamedTuple):
    """An event as a reader gets it, and what the reader knows after it."""

    event: dict[str, Any]
    position: Position


def events_since(known: Position | None, found: Happenings, *, lens: Lens) -> Iterator[Told]:
    """Write what a reader does not know of a task, in the order in which it happened.

    Parameters:
        known: None: nothing.
        found: at least what is new since then; how the task stands is told if there is nothing else.
    """
    position = known or Position()
    if known is None:
        yield _told(position, EventType.SUBMITTED, {"at": timestamp(found.task.created_at)})
    for _, row in heapq.merge(_ended(position, found), _acted(position, found), key=itemgetter(0)):
        if isinstance(row, Attempt):
            position = position._replace(since=position.since._replace(attempt=row.number))
            yield _told(position, EventType.ATTEMPT, _attempt_as_dict(row, lens=lens))
        else:
            position = position._replace(since=position.since._replace(entry=row.pk))
            yield _told(position, EventType.ACT, event_as_dict(row))
    if not found.is_all:
        return
    task = found.task
    progress = _digest(task.progress, task.checkpointed_at)
    if progress != position.progress and (task.progress is not None or task.checkpointed_at is not None):
        position = position._replace(progress=progress)
        yield _told(position, EventType.PROGRESS, _progress_as_dict(task, lens=lens))
    status = _digest(task.status, task.attempt, task.finished_at, task.cancel_requested_at)
    if status != position.status:
        position = position._replace(status=status)
        yield _told(position, EventType.STATUS, _status_as_dict(task, lens=lens))


def _ended(position: Position, found: Happenings) -> Iterator[tuple[Any, Attempt | Journal]]:
    return ((one.finished_at, one) for one in found.attempts if one.number > position.since.attempt)


def _acted(position: Position, found: Happenings) -> Iterator[tuple[Any, Attempt | Journal]]:
    return ((one.at, one) for one in found.entries if one.pk > position.since.entry)


def _digest(*values: Any) -> str:
    """Tell values from others; the same values have the same digest in every process."""
    text = json.dumps(values, sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _told(position: Position, kind: EventType, values: Mapping[str, Any]) -> Told:
    return Told({"id": position.encode(), "type": str(kind), **_NOTHING, **values}, position)


def removed(position: Position | None) -> Told:
    """Write that a task was deleted, or pruned; nothing follows."""
    known = position or Position()
    return _told(known, EventType.REMOVED, {})


#: All events have the same fields.
_NOTHING: Mapping[str, Any] = dict.fromkeys(
    ("at", "status", "attempt", "outcome", "result", "error", "progress", "verb", "by", "door", "reason", "detail")
) | {"hidden": []}


def _attempt_as_dict(attempt: Attempt, *, lens: Lens) -> dict[str, Any]:
    return {
        "at": timestamp(attempt.finished_at),
        "attempt": attempt.number,
        "outcome": attempt.outcome,
        "error": error_as_dict(lens, attempt.error_type, attempt.error_message),
        "hidden": lens.hidden("error.message"),
    }


def _progress_as_dict(task: Task, *, lens: Lens) -> dict[str, Any]:
    return {
        "at": timestamp(task.checkpointed_at),
        "attempt": task.attempt,
        "progress": lens.value(task.progress),
        "hidden": lens.hidden("progress"),
    }


def _status_as_dict(task: Task, *, lens: Lens) -> dict[str, Any]:
    return {
        "at": timestamp(_since_when(task)),
        "status": str(task.status),
        "attempt": task.attempt,
        "result": lens.value(task.result),
        "error": last_error_as_dict(lens, task.error),
        "hidden": lens.hidden("result", "error.message"),
    }


def _since_when(task: Task) -> Any:
    """Tell since when a task has its status; None: its row does not tell."""
    known = {Status.QUEUED: task.queued_at, Status.RUNNING: task.started_at}
    return task.finished_at or known.get(Status(task.status))
