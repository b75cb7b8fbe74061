"""cancel, edit, retry, redrive, discard: what a person does to a task; each leaves a TaskEvent naming who."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from dlq.models import DeadLetter
from tasks import registry
from tasks.db.statements import as_json, fetch
from tasks.errors import (
    AlreadyResolved,
    FieldError,
    IllegalTransition,
    InvalidTask,
    NotFound,
    UnknownActor,
    VersionMismatch,
)
from tasks.lifecycle.signals import Moved, announce
from tasks.lifecycle.submit import FOR_EVER, queue_exists, row_faults
from tasks.models import Task
from tasks.states import WAITING, Status

# What waits is cancelled at once, what runs is asked to stop: its worker confirms, or a success that was first wins.
_CANCEL = """
WITH wanted AS MATERIALIZED (
    SELECT task.id, task.status FROM callboard_task AS task
    WHERE task.id = ANY(%(ids)s::uuid[])
      AND (task.status IN ('BLOCKED', 'PENDING', 'QUEUED', 'RETRYING')
           OR (task.status = 'RUNNING' AND task.cancel_requested_at IS NULL))
    ORDER BY task.id FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'RUNNING' THEN 'RUNNING' ELSE 'CANCELLED' END,
        finished_at = CASE WHEN wanted.status = 'RUNNING' THEN NULL ELSE statement_timestamp() END,
        cancel_requested_at = CASE WHEN wanted.status = 'RUNNING' THEN statement_timestamp() END,
        queued_at = CASE WHEN wanted.status = 'RUNNING' THEN task.queued_at END
    FROM wanted WHERE task.id = wanted.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
), noted AS (
    INSERT INTO callboard_taskevent (task_id, verb, by, detail)
    SELECT id, 'cancel', %(by)s, jsonb_build_object('status', status) FROM moved
)
SELECT id, status, actor, queue, trace_id FROM moved
"""

# A second life: failures and crashes from zero, the age limit anew, while dispatch and attempt go on. Its open dead
# letter is resolved in the same statement. RETRYING only runs sooner. Letters are locked in id order, as a discard of
# many does it: their order is that of the deaths, not of the tasks.
_RETRY = """
WITH wanted AS MATERIALIZED (
    SELECT task.id, task.status FROM callboard_task AS task
    WHERE task.id = ANY(%(ids)s::uuid[]) AND task.status = ANY(%(from)s)
    ORDER BY task.id FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'RETRYING' THEN 'RETRYING' ELSE 'PENDING' END,
        run_at = LEAST(task.run_at, statement_timestamp()),
        failures = CASE WHEN wanted.status = 'RETRYING' THEN task.failures ELSE 0 END,
        crashes = CASE WHEN wanted.status = 'RETRYING' THEN task.crashes ELSE 0 END,
        retry_until = CASE WHEN wanted.status = 'RETRYING' THEN task.retry_until END,
        expires_at = CASE WHEN wanted.status = 'RETRYING' THEN task.expires_at
                          ELSE statement_timestamp() + task.max_age_seconds * interval '1 second' END,
        finished_at = NULL, started_at = NULL, queued_at = NULL, result = NULL,
        version = task.version + 1
    FROM wanted WHERE task.id = wanted.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
), answered AS MATERIALIZED (
    SELECT letter.id FROM callboard_deadletter AS letter JOIN wanted ON wanted.id = letter.task_id
    WHERE letter.resolution = ''
    ORDER BY letter.id FOR UPDATE OF letter
), resolved AS (
    UPDATE callboard_deadletter AS letter
    SET resolution = 'REDRIVEN', resolved_by = %(by)s, resolved_at = statement_timestamp()
    FROM answered WHERE letter.id = answered.id
    RETURNING letter.id, letter.task_id
), noted AS (
    INSERT INTO callboard_taskevent (task_id, verb, by, detail)
    SELECT moved.id, CASE WHEN wanted.status = 'DEAD' THEN 'redrive' ELSE 'retry' END, %(by)s,
           jsonb_build_object('status', wanted.status)
    FROM moved JOIN wanted ON wanted.id = moved.id
)
SELECT moved.id, moved.status, moved.actor, moved.queue, moved.trace_id, resolved.id
FROM moved LEFT JOIN resolved ON resolved.task_id = moved.id
"""

RETRYABLE = (Status.DEAD, Status.RETRYING, Status.CANCELLED)


def cancel(task_id: UUID, *, by: str = "") -> Status:
    """Cancel one task and return where it stands: CANCELLED, or RUNNING until its worker has confirmed.

    Raises:
        NotFound: no such task.
        IllegalTransition: it has ended.
    """
    moves = cancel_many([task_id], by=by)
    if moves:
        return Status(moves[0].status)
    status = _status(task_id)
    if status is Status.RUNNING:
        return status
    raise IllegalTransition("cancel", status=status)


def cancel_many(task_ids: Sequence[UUID], *, by: str = "") -> list[Moved]:
    """Cancel what can be cancelled, and return it."""
    return _run("cancel", _CANCEL, task_ids, by=by)


def retry(task_id: UUID, *, by: str = "") -> Status:
    """Run one task again: DEAD is re-driven, RETRYING runs now, CANCELLED starts anew.

    Raises:
        NotFound: no such task.
        InvalidTask: its arguments do not fit the actor any more; another run could only die of it.
        IllegalTransition: it is none of these.
    """
    _check_stored(task_id)
    moves = _run("retry", _RETRY, [task_id], by=by, **{"from": list(RETRYABLE)})
    if not moves:
        raise IllegalTransition("retry", status=_status(task_id), allowed=RETRYABLE)
    return Status(moves[0].status)


def retry_many(task_ids: Sequence[UUID], *, by: str = "") -> list[Moved]:
    """Run again what can be, and return it; what does not fit its actor any more is left as it is."""
    unfit = _unfit(task_ids)
    ids = [id for id in task_ids if id not in unfit]
    return _run("retry", _RETRY, ids, by=by, **{"from": list(RETRYABLE)})


#: How many payloads are in memory at once.
_MOST_PAYLOADS = 100


def _unfit(task_ids: Sequence[UUID]) -> set[UUID]:
    """Find the tasks whose stored call does not fit their actor; what they were called with does not change."""
    found: set[UUID] = set()
    for start in range(0, len(task_ids), _MOST_PAYLOADS):
        tasks = Task.objects.filter(pk__in=task_ids[start : start + _MOST_PAYLOADS]).retryable()
        found.update(id for id, *call in tasks.values_list("pk", *_CALL) if _fault(*call) is not None)
    return found


_CALL = ("actor", "args", "payload")


def _check_stored(task_id: UUID) -> None:
    for call in Task.objects.filter(pk=task_id).retryable().values_list(*_CALL):
        fault = _fault(*call)
        if fault is not None:
            raise fault


def _fault(actor: str, args: Sequence[Any], payload: Mapping[str, Any]) -> InvalidTask | None:
    try:
        registry.check_stored(registry.get(actor), payload, args=args)
    except UnknownActor:
        # Not to this process; a worker may know it.
        return None
    except InvalidTask as error:
        return error
    return None


def redrive(letter_id: UUID, *, by: str = "") -> Status:
    """Give the task of an open dead letter a second life.

    Raises:
        NotFound: no such dead letter, or its task was removed.
        InvalidTask: the task's arguments do not fit the actor any more.
        AlreadyResolved: it was re-driven or discarded before.
    """
    letter = _open_letter(letter_id)
    if not Task.objects.filter(pk=letter.task_id).exists():
        raise NotFound("the task of this dead letter was removed; submit a new one")
    _check_stored(letter.task_id)
    with transaction.atomic():
        rows = _locked(_RETRY, [letter.task_id], by=by, **{"from": [Status.DEAD]})
        if [row[-1] for row in rows] != [letter.pk]:
            # A discard or another re-drive got there between our look and our lock; roll back.
            raise AlreadyResolved()
        announce("redrive", [Moved(*rows[0][:5])])
    return Status(rows[0][1])


def discard(letter_id: UUID, *, by: str = "") -> None:
    """Resolve an open dead letter without running its task again.

    Raises:
        NotFound: no such dead letter.
        AlreadyResolved: it was re-driven or discarded before.
    """
    if not fetch(_DISCARD, {"id": _open_letter(letter_id).pk, "by": by}):
        # A re-drive or another discard got there between our look and our write.
        raise AlreadyResolved()


_DISCARD = """
WITH resolved AS (
    UPDATE callboard_deadletter
    SET resolution = 'DISCARDED', resolved_by = %(by)s, resolved_at = statement_timestamp()
    WHERE id = %(id)s AND resolution = ''
    RETURNING task_id
)
INSERT INTO callboard_taskevent (task_id, verb, by, detail)
SELECT task_id, 'discard', %(by)s, '{}' FROM resolved
RETURNING task_id
"""

# An edit of what is in the broker takes it back: the old hint would start it in the old place.
_EDIT = """
WITH change AS (
    SELECT * FROM json_to_record(%(change)s) AS change (
        priority smallint, queue text, run_at timestamptz, payload jsonb, max_retries integer, tags text[]
    )
), wanted AS MATERIALIZED (
    SELECT task.id, task.status FROM callboard_task AS task
    WHERE task.id = %(id)s AND task.status IN ('BLOCKED', 'PENDING', 'QUEUED', 'RETRYING')
      AND task.version = COALESCE(%(version)s, task.version)
    FOR UPDATE OF task
), moved AS (
    UPDATE callboard_task AS task
    SET status = CASE WHEN wanted.status = 'QUEUED' THEN 'PENDING' ELSE wanted.status END,
        queued_at = NULL,
        priority = COALESCE(change.priority, task.priority), queue = COALESCE(change.queue, task.queue),
        run_at = CASE WHEN change.run_at IS NULL THEN task.run_at
                      ELSE GREATEST(change.run_at, statement_timestamp()) END,
        payload = COALESCE(change.payload, task.payload),
        -- -1 is FOR_EVER
        max_retries = CASE WHEN change.max_retries = -1 THEN NULL
                           ELSE COALESCE(change.max_retries, task.max_retries) END,
        tags = COALESCE(change.tags, task.tags),
        version = task.version + 1
    FROM wanted, change WHERE task.id = wanted.id
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id
), noted AS (
    INSERT INTO callboard_taskevent (task_id, verb, by, detail)
    SELECT id, 'edit', %(by)s, jsonb_build_object('fields', %(fields)s::jsonb) FROM moved
)
SELECT id, status, actor, queue, trace_id FROM moved
"""


def edit(task_id: UUID, change: Mapping[str, Any], *, by: str = "", version: int | None = None) -> Status:
    """Change a waiting task: any of priority, queue, run_at, payload, max_retries, tags.

    Parameters:
        version: change only this version of it.

    Raises:
        NotFound: no such task.
        InvalidTask: the payload does not fit the actor.
        IllegalTransition: it does not wait any more.
        VersionMismatch: it is another version by now.
    """
    _check_change(task_id, change)
    parameters = {
        "id": task_id,
        "change": as_json([change])[1:-1],
        "version": version,
        "by": by,
        "fields": as_json(sorted(change)),  # type: ignore[arg-type]
    }
    with transaction.atomic():
        moves = [Moved(*row) for row in _locked(_EDIT, [task_id], **parameters)]
        announce("edit", moves)
    if not moves:
        raise _refused_edit(task_id, version)
    return Status(moves[0].status)


def _check_change(task_id: UUID, change: Mapping[str, Any]) -> None:
    given = {name: value for name, value in change.items() if (name, value) != ("max_retries", FOR_EVER)}
    errors = [*row_faults(given)]
    if "queue" in change and not queue_exists(change["queue"]):
        errors.append(FieldError("queue", "unknown_queue", f"no queue is called {change['queue']!r:.100}"))
    if errors:
        raise InvalidTask(errors=errors)
    if "payload" in change:
        # The whole call: what send() was given by position stays with the task and cannot be edited.
        actor, args = _columns(task_id, "actor", "args")
        registry.check_payload(registry.get(actor), change["payload"], args=args)


def _refused_edit(task_id: UUID, version: int | None) -> IllegalTransition:
    status, current = _columns(task_id, "status", "version")
    if version is None or current == version:
        return IllegalTransition("edit", status=status, allowed=sorted(WAITING))
    return VersionMismatch(version, current=current, status=status)


def _run(verb: str, statement: str, task_ids: Sequence[UUID], **parameters: Any) -> list[Moved]:
    with transaction.atomic():
        moves = [Moved(*row[:5]) for row in _locked(statement, task_ids, **parameters)]
        announce(verb, moves)
    return moves


# In id order, as everywhere, or two batches would deadlock.
_LOCK = "SELECT id FROM callboard_task WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE"


def _locked(statement: str, task_ids: Sequence[UUID], **parameters: Any) -> list[tuple[Any, ...]]:
    """Lock the tasks, then run the statement: it sees them, and their dead letters, as they are once we have the locks.

    A statement that waits for a lock itself goes on with the rows as they are then and everything else as it was when
    the statement began. Call it in a transaction.
    """
    ids = [str(id) for id in task_ids]
    fetch(_LOCK, {"ids": ids})
    return fetch(statement, {"ids": ids, **parameters})


def _status(task_id: UUID) -> Status:
    return Status(_columns(task_id, "status")[0])


def _columns(task_id: UUID, *names: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] | None = Task.objects.filter(pk=task_id).values_list(*names).first()
    if found is None:
        raise NotFound(f"there is no task {task_id}")
    return found


def _open_letter(letter_id: UUID) -> DeadLetter:
    letter = DeadLetter.objects.filter(pk=letter_id).first()
    if letter is None:
        raise NotFound(f"there is no dead letter {letter_id}")
    if not letter.is_open:
        raise AlreadyResolved(f"the dead letter was {letter.get_resolution_display().lower()} before")
    return letter
