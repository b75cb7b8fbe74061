"""Verbs on a whole workflow: they act on its tasks in parts, and the journal sums them up as one act on many."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import UUID

from tasks.lifecycle.announcements import Moved
from tasks.lifecycle.cancel import cancel_many
from tasks.lifecycle.journal import UNKNOWN, Author, summarise
from tasks.lifecycle.retry import retry_many
from tasks.lifecycle.submit import Admit
from tasks.models import new_id
from tasks.states import ObjectKind

#: Tasks in one transaction: more would hold up completions of running tasks for too long.
BATCH = 500


def cancel_workflow(task_ids: Sequence[UUID], *, by: Author = UNKNOWN) -> list[Moved]:
    """Cancel those tasks of a workflow that can be cancelled, and return them.

    The newest come first, so that no child starts because its parent was cancelled a moment before.
    """
    by = replace(by, operation_id=new_id())
    moves = [move for part in _parts(sorted(task_ids, reverse=True)) for move in cancel_many(part, by=by)]
    summarise(by, "cancel", ObjectKind.TASK)
    return moves


def retry_workflow(task_ids: Sequence[UUID], *, by: Author = UNKNOWN, admit: Admit | None = None) -> list[Moved]:
    """Run the failed part of a workflow again, and return its tasks: those that died or that a person cancelled.

    A task whose parents have not all succeeded waits for them again. What was cancelled because a parent failed is
    left out: the second life of that parent brings it back.

    Parameters:
        admit: called for each part; what it raises leaves that part and all after it as they were.
    """
    by = replace(by, operation_id=new_id())
    parts = _parts(sorted(task_ids))
    moves = [move for part in parts for move in retry_many(part, by=by, admit=admit, of_workflow=True)]
    summarise(by, "retry", ObjectKind.TASK)
    return moves


def _parts(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
