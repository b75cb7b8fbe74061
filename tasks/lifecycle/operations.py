"""operations: people begin an act on many rows, pause it, change its pace, let it go on, and cancel it.

The leader does the act, in steps: see ``operation_steps``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from tasks.db.statements import fetch
from tasks.errors import NotFound, OperationRefused
from tasks.lifecycle.journal import LONGEST_NAME, UNKNOWN, Author, record, summarise
from tasks.models import Operation
from tasks.states import (
    ON_DEAD_LETTERS,
    OPERATION_ACTIVE,
    OPERATION_OVER,
    RUNNING_AGAIN,
    Door,
    ObjectKind,
    OperationState,
    OperationVerb,
)

#: Rows of one operation: they are found and written while its caller waits.
MOST_ROWS = 100_000

_UNFINISHED = frozenset(OperationState) - OPERATION_OVER


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an operation does and how.

    Parameters:
        criteria: what chose the rows, for people to read.
        failure: the fingerprint of the dead letters, if all have one.
        change: of an edit, as ``lifecycle.edit`` takes it.
        rate_per_second: None does it as fast as it can.
        canary: do it to this many first, and wait until they have ended.
        stop_percent: stop by itself when this share of the canary, or of the last ``STOP_WINDOW``, dies again.
    """

    verb: OperationVerb
    criteria: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""
    change: Mapping[str, Any] = field(default_factory=dict)
    rate_per_second: float | None = None
    canary: int = 0
    stop_percent: int | None = None


_TASKS = """
INSERT INTO callboard_operationitem (operation_id, row_id, task_id)
SELECT %(operation)s, wanted.id, wanted.id FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS wanted (id, place)
ORDER BY wanted.place
RETURNING id
"""
_LETTERS = """
INSERT INTO callboard_operationitem (operation_id, row_id, task_id)
SELECT %(operation)s, letter.id, letter.task_id
FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS wanted (id, place)
JOIN callboard_deadletter AS letter ON letter.id = wanted.id
ORDER BY wanted.place
RETURNING id
"""


@transaction.atomic
def begin(plan: Plan, ids: Sequence[UUID], *, by: Author = UNKNOWN, starts: bool = True) -> Operation:
    """Make an operation on these rows; the leader begins with the first.

    Parameters:
        ids: of tasks or of dead letters, whichever the verb is for; only the first ``MOST_ROWS`` are taken.
        starts: otherwise it is a preview, until ``resume``.
    """
    operation = Operation(
        verb=plan.verb, state=OperationState.PREVIEW, by=by.name[:LONGEST_NAME], door=by.door, reason=by.reason,
        criteria=dict(plan.criteria), failure=plan.failure, change=dict(plan.change),
        rate_per_second=plan.rate_per_second,
        canary=plan.canary if plan.verb in RUNNING_AGAIN else 0,
        stop_percent=plan.stop_percent if plan.verb in RUNNING_AGAIN else None,
    )  # fmt: skip
    statement = _LETTERS if plan.verb in ON_DEAD_LETTERS else _TASKS
    unique = [str(id) for id in dict.fromkeys(ids)]
    operation.is_capped = len(unique) > MOST_ROWS
    operation.total = len(fetch(statement, {"operation": operation.pk, "ids": unique[:MOST_ROWS]}))
    operation.save(force_insert=True)
    detail = {"verb": str(plan.verb), "total": operation.total}
    record(by, "create", ObjectKind.OPERATION, str(operation.pk), name=str(operation), detail=detail)
    if starts:
        _start(operation)
    operation.refresh_from_db()
    return operation


def resume(operation_id: UUID, *, by: Author = UNKNOWN) -> Operation:
    """Start a preview, or let a paused or stopped operation go on.

    In its canary, or after a stop, it goes on without waiting for the canary; after a pause it still waits.

    Raises:
        NotFound: no such operation.
        OperationRefused: it runs, or is over.
    """
    with transaction.atomic():
        operation = _held(operation_id, "resume", _UNFINISHED - {OperationState.RUNNING})
        _start(operation, skips_canary=operation.state in {OperationState.CANARY, OperationState.STOPPED})
        return _recorded(operation, "resume", by)


def pause(operation_id: UUID, *, by: Author = UNKNOWN) -> Operation:
    """Let an operation rest. When this has returned, it changes nothing until ``resume``.

    Raises:
        NotFound: no such operation.
        OperationRefused: it does not run.
    """
    with transaction.atomic():
        operation = _held(operation_id, "pause", OPERATION_ACTIVE)
        operation.state = OperationState.PAUSED
        operation.save(update_fields=["state"])
        return _recorded(operation, "pause", by)


def cancel(operation_id: UUID, *, by: Author = UNKNOWN) -> Operation:
    """End an operation; what it has done stays done.

    Raises:
        NotFound: no such operation.
        OperationRefused: it is over.
    """
    with transaction.atomic():
        operation = _held(operation_id, "cancel", _UNFINISHED)
        end(operation, OperationState.CANCELLED)
        return _recorded(operation, "cancel", by)


def set_pace(operation_id: UUID, change: Mapping[str, Any], *, by: Author = UNKNOWN) -> Operation:
    """Change how fast an operation goes and when it stops by itself.

    Parameters:
        change: any of ``rate_per_second`` and ``stop_percent``.

    Raises:
        NotFound: no such operation.
        OperationRefused: it is over.
    """
    with transaction.atomic():
        operation = _held(operation_id, "change", _UNFINISHED)
        for name, value in change.items():
            setattr(operation, name, value)
        operation.save(update_fields=list(change))
        return _recorded(operation, "edit", by, detail=dict(change))


def author_of(operation: Operation) -> Author:
    """Give the author of what an operation does to its rows."""
    return Author(operation.by, Door(operation.door or Door.CODE), operation.reason, operation.pk)


def end(operation: Operation, state: OperationState) -> None:
    """End an operation that the caller holds, and sum up in the journal what it did."""
    operation.state, operation.ended_at = state, Now()
    operation.save(update_fields=["state", "ended_at"])
    kind = ObjectKind.DEAD_LETTER if operation.verb in ON_DEAD_LETTERS else ObjectKind.TASK
    summarise(author_of(operation), operation.verb, kind)


def _start(operation: Operation, *, skips_canary: bool = False) -> None:
    # A canary whose tasks all moved is open until they have ended: a pause in between must not end that wait.
    is_open = operation.moved < operation.canary or (operation.moved == operation.canary and operation.running > 0)
    has_canary = is_open and not skips_canary
    operation.state = OperationState.CANARY if has_canary else OperationState.RUNNING
    # A person who lets it go on has seen what died before.
    operation.paced_at = operation.watched_from = Now()
    operation.note = ""
    names = ["state", "paced_at", "watched_from", "note"]
    if operation.started_at is None:
        operation.started_at = Now()
        names.append("started_at")
    operation.save(update_fields=names)


def _held(operation_id: UUID, verb: str, allowed: Collection[OperationState]) -> Operation:
    operation = Operation.objects.filter(pk=operation_id).select_for_update(no_key=True).first()
    if operation is None:
        raise NotFound(f"there is no operation {operation_id}")
    if operation.state not in allowed:
        raise OperationRefused(verb, state=operation.state)
    return operation


def _recorded(operation: Operation, verb: str, by: Author, *, detail: Mapping[str, Any] | None = None) -> Operation:
    record(by, verb, ObjectKind.OPERATION, str(operation.pk), name=str(operation), detail=detail)
    operation.refresh_from_db()
    return operation
