"""What has happened to tasks: which of many have changed, in one statement, and what is new of those."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import fetch
from tasks.models import Attempt, Journal, Task
from tasks.states import Status

#: How many attempts, and how many entries of the journal, are read of a task at once.
MOST_AT_ONCE = 100

# PostgreSQL keeps of each row which transaction wrote it and where it lies, so no column, index or trigger has to say
# that a row has changed. An act on the dead letter of a task leaves the task's row alone.
_VERSIONS = """
SELECT task.id::text, task.xmin::text || task.ctid::text || COALESCE(
    (SELECT max(entry.id) FROM callboard_journal AS entry WHERE entry.task_id = task.id), 0)
FROM callboard_task AS task WHERE task.id = ANY(%(ids)s::uuid[])
"""
_SINCE = "unnest(%(ids)s::uuid[], %(numbers)s::bigint[]) AS since (id, number)"
_COLUMNS = ("task_id", "number", "outcome", "worker_id", "started_at", "finished_at", "error_type", "error_message")
_ATTEMPTS = f"""
SELECT {", ".join(f"attempt.{name}" for name in _COLUMNS)} FROM {_SINCE} CROSS JOIN LATERAL (
    SELECT * FROM callboard_attempt AS attempt WHERE attempt.task_id = since.id AND attempt.number > since.number
    ORDER BY attempt.number LIMIT %(most)s) AS attempt ORDER BY attempt.number
"""
_ENTRIES = f"""
SELECT entry.* FROM {_SINCE} CROSS JOIN LATERAL (
    SELECT * FROM callboard_journal AS entry WHERE entry.task_id = since.id AND entry.id > since.number
    ORDER BY entry.id LIMIT %(most)s) AS entry ORDER BY entry.id
"""


class Since(NamedTuple):
    """What is known of a task: its attempts up to a number, and its journal up to an id."""

    attempt: int = 0
    entry: int = 0


@dataclass
class Happenings:
    """A task, and what is new of it.

    Parameters:
        attempts: that have ended, by number.
        entries: of the journal, by id.
        is_all: whether there is nothing else.
    """

    task: Task
    attempts: list[Attempt]
    entries: list[Journal]
    is_all: bool = True


def versions(ids: Collection[str]) -> dict[str, str]:
    """Tell the version of each task: it is another one after each change. A task that is gone has none.

    Ids are text here: to make UUIDs of a thousand of them takes longer than the rest.
    """
    return dict(fetch(_VERSIONS, {"ids": list(ids)}))


def happenings(known: Mapping[UUID, Since]) -> dict[UUID, Happenings]:
    """Read tasks and what is new of them; tasks that are gone are left out.

    Parameters:
        known: what is known of each.
    """
    # The row first: what ended it, or was done to it, is then there.
    rows = Task.objects.defer("options", "checkpoint", "log").filter(pk__in=known)
    found = {task.pk: Happenings(task, [], []) for task in rows}
    # Most tasks are watched in their first attempt.
    tried = [id for id, one in found.items() if one.task.attempt > known[id].attempt]
    if tried:
        for row in fetch(_ATTEMPTS, _since(tried, [known[id].attempt for id in tried])):
            attempt = Attempt(**dict(zip(_COLUMNS, row, strict=True)))
            one = found[attempt.task_id]
            # What came after the row was read is left for the next time.
            if attempt.number < one.task.attempt or one.task.status != Status.RUNNING:
                one.attempts.append(attempt)
    for entry in Journal.objects.raw(_ENTRIES, _since(found, [known[id].entry for id in found])):
        assert entry.task_id is not None
        found[entry.task_id].entries.append(entry)
    for one in found.values():
        one.is_all = max(len(one.attempts), len(one.entries)) < MOST_AT_ONCE
    return found


def _since(ids: Collection[UUID], numbers: Collection[int]) -> dict[str, object]:
    return {"ids": list(map(str, ids)), "numbers": list(numbers), "most": MOST_AT_ONCE}
