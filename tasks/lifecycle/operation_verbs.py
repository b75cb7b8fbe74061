"""What an operation does to its rows: the verb that a single row has; and why it skipped some."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from dlq.models import DeadLetter
from tasks.errors import CallboardError
from tasks.hint import Hint
from tasks.lifecycle.cancel import cancel_many
from tasks.lifecycle.discard import discard_many
from tasks.lifecycle.edit import edit
from tasks.lifecycle.journal import Author
from tasks.lifecycle.operations import author_of
from tasks.lifecycle.redrive import redrive_many
from tasks.lifecycle.requeue import requeue_many
from tasks.lifecycle.restore import restore_many, why_not
from tasks.lifecycle.retry import retry_many
from tasks.models import Operation, Task
from tasks.states import ON_DEAD_LETTERS, RETRYABLE, RUNNING_AGAIN, OperationVerb, Resolution, Status


class Item(NamedTuple):
    """A row that an operation has not come to; ``row_id`` is that of its dead letter or task."""

    id: int
    row_id: UUID
    task_id: UUID


def apply(operation: Operation, items: Sequence[Item], *, lease: str, term: int) -> dict[UUID, str]:
    """Apply the verb of an operation to rows; return why some were skipped, by ``row_id``."""
    rows, by = [item.row_id for item in items], author_of(operation)
    verb = OperationVerb(operation.verb)
    match verb:
        case OperationVerb.EDIT:
            return _edit_each(rows, operation, by)
        case OperationVerb.REQUEUE:
            done = _requeue(rows, lease=lease, term=term)
        case OperationVerb.DISCARD:
            done = set(discard_many(rows, by=by))
        case OperationVerb.RESTORE:
            done = set(restore_many(rows, by=by))
        case OperationVerb.REDRIVE:
            moved = {move.id for move in redrive_many(rows, by=by)}
            done = {item.row_id for item in items if item.task_id in moved}
        case OperationVerb.CANCEL:
            done = {move.id for move in cancel_many(rows, by=by)}
        case OperationVerb.RETRY:
            done = {move.id for move in retry_many(rows, by=by)}
    return _reasons(verb, [item for item in items if item.row_id not in done])


def _edit_each(rows: Sequence[UUID], operation: Operation, by: Author) -> dict[UUID, str]:
    notes, change = {}, dict(operation.change)
    if "run_at" in change:
        change["run_at"] = datetime.fromisoformat(change["run_at"])
    for id in rows:
        try:
            edit(id, change, by=by)
        except CallboardError as refusal:
            notes[id] = refusal.detail[:100]
    return notes


def _requeue(rows: Sequence[UUID], *, lease: str, term: int) -> set[UUID]:
    queued = Task.objects.filter(pk__in=rows, status=Status.QUEUED).order_by("pk")
    hints = [Hint(*row) for row in queued.values_list("pk", "dispatch")]
    requeue_many(hints, lease=lease, term=term)
    back = Task.objects.filter(pk__in=[hint.task_id for hint in hints], status=Status.PENDING)
    return set(back.values_list("pk", flat=True))


def _reasons(verb: OperationVerb, items: Sequence[Item]) -> dict[UUID, str]:
    if not items:
        return {}
    statuses = dict(Task.objects.filter(pk__in=[item.task_id for item in items]).values_list("pk", "status"))
    resolutions = {}
    if verb in ON_DEAD_LETTERS:
        letters = DeadLetter.objects.filter(pk__in=[item.row_id for item in items])
        resolutions = dict(letters.values_list("pk", "resolution"))
    return {item.row_id: _reason(verb, statuses.get(item.task_id), resolutions.get(item.row_id)) for item in items}


def _reason(verb: OperationVerb, status: str | None, resolution: str | None) -> str:
    if verb is OperationVerb.RESTORE:
        return why_not(resolution, status)
    if resolution:
        return f"the dead letter was {Resolution(resolution).label.lower()} before"
    if status is None:
        return "the task was removed"
    if verb in RUNNING_AGAIN and status in RETRYABLE:
        return "its arguments do not fit the actor"
    return f"the task is {status}"
