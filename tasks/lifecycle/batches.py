"""create, close, cancel: what people do to batches.

A batch is OPEN while it takes tasks. Once it is closed it is RUNNING until its last task has ended. Then the leader
ends it: see ``batch_steps``.

The verbs hold a batch's row while they change it, the leader skips rows that are held, and no verb on tasks waits for
a batch but the submission into it, so no circle of waits can close.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from tasks.db.statements import as_json, fetch
from tasks.errors import FieldError, IllegalTransition, InvalidTask, NotFound
from tasks.lifecycle.announcements import after_commit, batch_changed, send_safely
from tasks.lifecycle.cancel import cancel_many
from tasks.lifecycle.journal import UNKNOWN, Author, entries
from tasks.lifecycle.predicates import any_of
from tasks.lifecycle.submit import Admit, checked, checked_many, write
from tasks.lifecycle.submit_once import keep_ids, request_hash, take_key
from tasks.lifecycle.submit_unique import never_refused
from tasks.models import Batch, new_id
from tasks.models.batch import CALLBACKS, LONGEST_NAME
from tasks.states import ENDED, Door
from tasks.submission import OwnerId, Submission

#: Tasks that one statement cancels: more would hold up completions of running tasks for too long.
MOST_CANCELLED = 500
_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """A request for a batch.

    Parameters:
        tasks: its first tasks; their ``batch`` is left empty.
        callbacks: what it submits once, each by its name in ``CALLBACKS``: ``on_death`` at the first death of one of
            its tasks, ``on_complete`` when all of them have ended, ``on_success`` if all of them have succeeded.
        is_open: whether it takes further tasks; None: if it has none yet.
    """

    name: str = ""
    tasks: Sequence[Submission] = ()
    callbacks: Mapping[str, Submission] = field(default_factory=dict)
    is_open: bool | None = None
    owner_id: OwnerId | None = None
    trace_id: str = ""


class Created(NamedTuple):
    """A batch, and the ids of its first tasks in the order of the submission."""

    batch: Batch
    task_ids: list[UUID]
    is_replayed: bool = False


def create(wanted: NewBatch, *, admit: Admit | None = None) -> Created:
    """Make a batch with its first tasks, all or nothing.

    Parameters:
        admit: called with the number of tasks that will run, callbacks included.

    Raises:
        InvalidTask: with the errors of its fields.
    """
    batch, rows = _checked(wanted)
    return _created(batch, rows, wanted, admit)


def create_once(wanted: NewBatch, *, key: str, admit: Admit | None = None) -> Created:
    """Make a batch, or find the one that its owner has made under this key before.

    Raises:
        InvalidTask: as ``create``.
        NotFound: the batch of the key was removed.
        IdempotencyKeyReused: the key belongs to another submission.
    """
    batch, rows = _checked(wanted)
    hashed = request_hash([*wanted.tasks, *wanted.callbacks.values()], wanted.name, *wanted.callbacks, wanted.is_open)
    ids = [batch.pk, *(row["id"] for row in rows)]
    with transaction.atomic():
        held = take_key(wanted.owner_id, key, hashed, ids)
        if held == ids:
            created = _created(batch, [row | {"idempotency_key": key} for row in rows], wanted, admit)
            keep_ids(wanted.owner_id, key, [batch.pk, *created.task_ids])
            return created
    return Created(find(held[0]), held[1:], is_replayed=True)


def _checked(wanted: NewBatch) -> tuple[Batch, list[dict[str, Any]]]:
    batch = Batch(name=wanted.name, trace_id=wanted.trace_id or new_id().hex)
    # A project chooses the type of its users' keys.
    batch.owner_id = wanted.owner_id  # type: ignore[assignment]
    rows = checked_many(wanted.tasks)
    for row in rows:
        row["batch_id"] = batch.pk
    errors = [*_faults(wanted)]
    for name, submission in wanted.callbacks.items():
        try:
            batch.callbacks[name] = _callback(submission, batch)
        except InvalidTask as error:
            errors += [FieldError(f"{name}.{one.field}", one.code, one.message) for one in error.errors]
    if errors:
        raise InvalidTask(errors=errors)
    batch.awaits_death = "on_death" in batch.callbacks
    return batch, rows


def _faults(wanted: NewBatch) -> list[FieldError]:
    found = []
    if len(wanted.name) > LONGEST_NAME:
        message = f"expected at most {LONGEST_NAME} characters, got {len(wanted.name)}"
        found.append(FieldError("name", "too_long", message))
    message = f"expected one of {', '.join(CALLBACKS)}"
    found += [FieldError(name, "unknown_field", message) for name in wanted.callbacks if name not in CALLBACKS]
    message = "expected no batch: the task comes into the new one"
    placed = [place for place, one in enumerate(wanted.tasks) if one.batch is not None]
    return found + [FieldError(f"tasks.{place}.batch", "exclusive", message) for place in placed]


#: What would make a callback wait for something else than its batch, or keep it from being submitted.
_NOT_OF_CALLBACKS = ("batch", "depends_on", "ref")


def _callback(submission: Submission, batch: Batch) -> dict[str, Any]:
    """Check a callback now, when it can still be refused, and make the row that the leader inserts later."""
    for name in _NOT_OF_CALLBACKS:
        if getattr(submission, name):
            message = f"a callback of a batch takes no {name}; leave it out"
            raise InvalidTask(message, errors=[FieldError(name, "not_supported", message)])
    row = never_refused(checked(submission))
    row["options"] = {**row["options"], "callback_of": str(batch.pk)}
    row["trace_id"] = submission.trace_id or batch.trace_id
    kept = {name: value for name, value in row.items() if value is not None and name != "id"}
    return json.loads(as_json([kept]))[0]  # type: ignore[no-any-return]


@transaction.atomic
def _created(batch: Batch, rows: Sequence[dict[str, Any]], wanted: NewBatch, admit: Admit | None) -> Created:
    batch.save(force_insert=True)

    def admit_all(count: int) -> None:
        if admit is not None:
            admit(count + len(wanted.callbacks))

    tasks = write(rows, admit=admit_all)
    is_open = not rows if wanted.is_open is None else wanted.is_open
    if not is_open:
        fetch(_CLOSE, {"id": batch.pk})
        _wake(batch.pk)
    return Created(find(batch.pk), [task.pk for task in tasks])


def find(batch_id: UUID) -> Batch:
    """Read a batch, with all that is known of its counts.

    Raises:
        NotFound: no such batch.
    """
    batch = Batch.objects.with_news().filter(pk=batch_id).first()
    if batch is None:
        raise NotFound(f"there is no batch {batch_id}")
    return batch


# --- Verbs ---

# It waits for transactions that submit into the batch, so that their tasks are counted before the batch can end.
_LOCK = "SELECT batch.status FROM callboard_batch AS batch WHERE batch.id = %(id)s FOR UPDATE"
_CLOSE = """
UPDATE callboard_batch AS batch SET status = 'RUNNING', closed_at = statement_timestamp()
WHERE batch.id = %(id)s AND batch.status = 'OPEN'
RETURNING batch.id, batch.name
"""
_CLOSE_AND_NOTE = f"""
WITH closed AS ({_CLOSE})
{entries("closed", verb="'close'", kind="'batch'", name="name")}
RETURNING object_id
"""


@transaction.atomic
def close(batch_id: UUID, *, by: Author = UNKNOWN) -> Batch:
    """Let a batch take no further tasks, so that it can end; a batch that is closed stays as it is.

    Raises:
        NotFound: no such batch.
    """
    fetch(_LOCK, {"id": batch_id})
    if fetch(_CLOSE_AND_NOTE, {"id": batch_id, **by.parameters}):
        _wake(batch_id)
    return find(batch_id)


_CANCEL = f"""
WITH cancelled AS (
    UPDATE callboard_batch AS batch
    SET status = 'RUNNING', closed_at = COALESCE(batch.closed_at, statement_timestamp()),
        cancelled_at = statement_timestamp(), cancelled_by = %(by)s, cancel_reason = %(reason)s,
        cancel_before = %(last)s
    WHERE batch.id = %(id)s AND NOT {any_of("batch.status", ENDED)} AND batch.cancel_before IS NULL
    RETURNING batch.id, batch.name
)
{entries("cancelled", verb="'cancel'", kind="'batch'", name="name")}
RETURNING object_id
"""


def cancel(batch_id: UUID, *, by: Author = UNKNOWN) -> Batch:
    """Close a batch, and cancel its tasks: the newest at once, those beyond a number by the leader.

    Raises:
        NotFound: no such batch.
        IllegalTransition: it has ended.
    """
    with transaction.atomic():
        fetch(_LOCK, {"id": batch_id})
        done = fetch(_CANCEL, {"id": batch_id, "last": _LAST_ID, **by.parameters})
        batch = find(batch_id)
    if not done and batch.status in ENDED:
        detail = f"cannot cancel a batch that has ended: it is {batch.status}"
        raise IllegalTransition("cancel", status=batch.status, detail=detail)
    cancel_next(batch_id, door=by.door)
    _wake(batch_id)
    return find(batch_id)


# The newest come first, so that no child starts because its parent was cancelled a moment before. The batch is closed,
# so it has no tasks that this statement does not see.
_NEXT = f"""
WITH held AS MATERIALIZED (
    SELECT batch.id, batch.cancel_before FROM callboard_batch AS batch
    WHERE batch.id = %(id)s AND batch.cancel_before IS NOT NULL
    FOR NO KEY UPDATE OF batch
), part AS MATERIALIZED (
    SELECT task.id FROM held JOIN callboard_task AS task ON task.batch_id = held.id AND task.id < held.cancel_before
    ORDER BY task.id DESC LIMIT {MOST_CANCELLED}
)
UPDATE callboard_batch AS batch
SET cancel_before = CASE WHEN (SELECT count(*) FROM part) = {MOST_CANCELLED}
                         THEN (SELECT id FROM part ORDER BY id LIMIT 1) END
FROM held WHERE batch.id = held.id
RETURNING ARRAY(SELECT id FROM part), batch.cancelled_by, batch.cancel_reason
"""


@transaction.atomic
def cancel_next(batch_id: UUID, *, door: Door = Door.SCHEDULER) -> int:
    """Cancel the next part of the tasks of a cancelled batch; return how many it looked at.

    The place is kept in the batch, in the same transaction, so it does not matter who goes on.
    """
    rows = fetch(_NEXT, {"id": batch_id})
    if not rows:
        return 0
    ((ids, name, reason),) = rows
    cancel_many(ids, by=Author(name, door, reason, operation_id=batch_id))
    return len(ids)


def _wake(batch_id: UUID) -> None:
    after_commit(lambda: send_safely(batch_changed, batch_id=batch_id))
