"""signal: somebody tells a task something that it waits for, or will wait for.

A signal is a step of kind SIGNAL; a task that waits has one of kind WAIT with the same name.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from tasks import field_faults
from tasks.conf import conf
from tasks.db.statements import fetch
from tasks.errors import AlreadySignalled, FieldError, IllegalTransition, InvalidTask, describe
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.checkpoint import as_text
from tasks.lifecycle.journal import UNKNOWN, Author, of_tasks
from tasks.lifecycle.predicates import any_of, has_status, in_batch
from tasks.lifecycle.rows import locked, status_of
from tasks.lifecycle.steps import find
from tasks.payload import check_json
from tasks.states import FINAL, Status, StepKind

UNENDED = frozenset(Status) - FINAL

# Runs when the task's row is locked. A task that waits for this signal is due now. One whose attempt is just ending
# looks for the signal itself: see `wake`.
_SIGNAL = f"""
WITH live AS (
    SELECT task.id, task.actor, task.queue FROM callboard_task AS task
    WHERE task.id = ANY(%(ids)s::uuid[]) AND {any_of("task.status", UNENDED)}
      AND (SELECT count(*) FROM callboard_step AS step WHERE step.task_id = task.id AND step.kind = 'SIGNAL') < %(most)s
), sent AS (
    INSERT INTO callboard_step (task_id, kind, name, result)
    SELECT id, 'SIGNAL', %(name)s, %(result)s::jsonb FROM live
    ON CONFLICT (task_id, kind, name) DO NOTHING RETURNING task_id
), given AS (
    SELECT live.* FROM live JOIN sent ON sent.task_id = live.id
), noted AS (
    {of_tasks("given", verb="'signal'", detail="jsonb_build_object('name', %(name)s::text)")}
)
SELECT id FROM given
"""

# Only while it waits: a delay before a retry is not cut short.
_WAKE = f"""
UPDATE callboard_task AS task SET run_at = LEAST(task.run_at, statement_timestamp())
FROM unnest(%(ids)s::uuid[], %(names)s::text[]) AS waiting (id, name)
WHERE {in_batch("waiting")} AND {has_status(Status.PENDING)}
  AND EXISTS (SELECT FROM callboard_step AS wait
              WHERE wait.task_id = waiting.id AND wait.kind = 'WAIT' AND wait.name = waiting.name)
  AND EXISTS (SELECT FROM callboard_step AS signal
              WHERE signal.task_id = waiting.id AND signal.kind = 'SIGNAL' AND signal.name = waiting.name)
RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
"""


def wake(waiting: Sequence[tuple[UUID, str]]) -> list[Moved]:
    """Make tasks due that wait for a signal which is there; call it when their rows are locked.

    Parameters:
        waiting: task ids and names of signals.
    """
    parameters = {"ids": [str(id) for id, _ in waiting], "names": [name for _, name in waiting]}
    moves = [Moved(*row) for row in fetch(_WAKE, parameters)]
    announce("signal", moves)
    return moves


@transaction.atomic
def signal(task_id: UUID, name: str, payload: Any = None, *, by: Author = UNKNOWN) -> None:
    """Give a task a signal; it is kept if the task does not wait for it yet.

    Parameters:
        name: 1 to 100 printable characters.
        payload: JSON of at most ``MAX_SIGNAL_BYTES``; the task's ``wait_for()`` returns it.

    Raises:
        InvalidTask: an argument is something else; with the errors of all of them.
        NotFound: no such task.
        IllegalTransition: it has ended.
        AlreadySignalled: it has had this signal, or has stopped waiting for it.
    """
    if faults := [*_signal_faults(task_id, name, payload)]:
        raise InvalidTask(describe(faults), errors=faults)
    value = None if payload is None else as_text(payload)
    if locked(_SIGNAL, [task_id], name=name, result=value, most=conf.MAX_STEPS, **by.parameters):
        wake([(task_id, name)])
        return
    status = status_of(task_id)
    if find(task_id, StepKind.SIGNAL, name) is not None:
        raise AlreadySignalled(f"task {task_id} has had the signal {name}, or does not wait for it any more")
    if status not in FINAL:
        raise AlreadySignalled(f"task {task_id} has had {conf.MAX_STEPS} signals, which is the most (MAX_STEPS)")
    raise IllegalTransition("signal", status=status, allowed=[str(Status.PENDING), str(Status.RUNNING)])


def _signal_faults(task_id: Any, name: Any, payload: Any) -> Iterator[FieldError]:
    if not isinstance(task_id, UUID):
        yield FieldError("task_id", "invalid", f"expected the id of a task, a UUID, got {field_faults.shown(task_id)}")
    if fault := field_faults.signal_name(name):
        yield FieldError("signal", *fault)
    yield from check_json(payload, field="payload", max_bytes=conf.MAX_SIGNAL_BYTES, max_depth=conf.MAX_JSON_DEPTH)


_OPEN_WAIT = """
SELECT wait.name, wait.ends_at FROM callboard_step AS wait
WHERE wait.task_id = %(id)s AND wait.kind = 'WAIT'
  AND NOT EXISTS (SELECT FROM callboard_step AS signal
                  WHERE signal.task_id = wait.task_id AND signal.kind = 'SIGNAL' AND signal.name = wait.name)
ORDER BY wait.created_at DESC LIMIT 1
"""


def open_wait(task_id: UUID) -> tuple[str, datetime | None] | None:
    """Find the signal that a task waits for, and until when; None if it waits for none."""
    found = fetch(_OPEN_WAIT, {"id": task_id})
    return (found[0][0], found[0][1]) if found else None
