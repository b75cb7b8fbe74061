"""succeed, fail, snooze, interrupt: a worker ends its attempts, one or a batch of them in one statement.

The worker decides what follows from a failure, by the actor's options, and hands the decision over as an ``Outcome``;
the statement here only fences and writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from dlq.fingerprint import fingerprint, own_frame
from tasks.db.statements import as_json, fetch
from tasks.lifecycle import barriers, failures
from tasks.lifecycle.announcements import Moved, announce
from tasks.lifecycle.predicates import IS_LEADING, LEAD, any_of, in_batch, is_held
from tasks.lifecycle.signal import wake
from tasks.lifecycle.submit import submit_many
from tasks.lifecycle.tally import tallied
from tasks.models import new_id
from tasks.states import FINAL, AttemptOutcome, DeathReason, Status
from tasks.submission import Submission


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attempt ended and what follows.

    After a failure the task dies if there is a ``death``, else it runs again after ``retry_delay_seconds``.
    ``started_at`` and ``finished_at`` are those of the actor's function, on the database's clock. An ``ended_as`` of
    None means that the attempt was not started, and leaves no attempt row. ``followups`` are submitted if and only if
    the outcome is accepted. ``note`` tells people what else happened, such as a dropped result; it decides nothing.
    """

    task_id: UUID
    attempt: int
    worker_id: UUID
    ended_as: AttemptOutcome | None
    started_at: datetime | None
    finished_at: datetime
    actor: str
    result: Any = None
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    note: str = ""
    is_failure: bool = False
    is_crash: bool = False
    retry_delay_seconds: float = 0
    #: Of the code that ran it, which its failure keeps if the task dies; "" is unknown.
    build: str = ""
    #: Where and how it runs again; None leaves them as they are.
    retry_queue: str | None = None
    retry_priority: int | None = None
    death: DeathReason | None = None
    followups: Sequence[Submission] = ()
    #: Submitted with them if the task died of it; a cancel that was requested may have come first.
    at_death: Sequence[Submission] = ()
    #: The barrier of its group, which its success counts down, and what is submitted if it was the last.
    barrier: str = ""
    at_the_end_of_group: Sequence[Submission] = ()
    #: The last progress, and the log, if the actor told any.
    progress: Any = None
    log: Any = None
    #: The name of the signal that the task waits for.
    waits_for: str = ""

    @property
    def status(self) -> Status:
        """The task's next status, unless a cancel was requested."""
        if self.ended_as is AttemptOutcome.SUCCEEDED:
            return Status.SUCCEEDED
        if self.ended_as is AttemptOutcome.CANCELLED:
            return Status.CANCELLED
        if self.death is not None:
            return Status.DEAD
        return Status.RETRYING if self.is_failure else Status.PENDING

    def as_row(self) -> dict[str, Any]:
        """Turn the outcome into the row that the statement reads; fields that are None are left out."""
        row = {
            "id": self.task_id,
            "attempt": self.attempt,
            "worker": self.worker_id,
            "status": self.status,
            "outcome": self.ended_as,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "result": self.result,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "traceback": self.traceback,
            "note": self.note,
            "progress": self.progress,
            "log": self.log,
            "failed": int(self.is_failure),
            "crashed": int(self.is_crash),
            "delay": self.retry_delay_seconds,
            "retry_queue": self.retry_queue,
            "retry_priority": self.retry_priority,
            "reason": self.death,
            **(self._cause() if self.death is not None else {}),
        }
        return {name: value for name, value in row.items() if value is not None}

    def _cause(self) -> dict[str, Any]:
        frame = own_frame(self.traceback)
        cause = fingerprint(self.actor, self.error_type, self.error_message, frame=frame)
        return {"letter": new_id(), "fingerprint": cause, "frame": frame, "build": self.build}


# The parts of the one statement that ends a whole batch of attempts. Nothing is joined with `ended`: without an index,
# and by nested loops, that would take the square of the batch.
_OUTCOMES = """
outcome AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(outcomes)s) AS outcome (
        id uuid, attempt integer, worker uuid, status text, outcome text, started_at timestamptz,
        finished_at timestamptz, result jsonb, error_type text, error_message text, traceback text, note text,
        progress jsonb, log jsonb,
        failed integer, crashed integer, delay double precision, retry_queue text, retry_priority smallint,
        reason text, letter uuid, fingerprint text, frame text, build text
    )
)"""


def _held(condition: str, *, waits: bool) -> str:
    """Build the fence, which leaves only attempts that their worker still holds, and locks their tasks.

    It locks them in the order of their ids, or two batches would deadlock. A cancel that was requested while the actor
    ran turns every outcome but a success into CANCELLED.
    """
    return f"""
held AS MATERIALIZED (
    SELECT outcome.*,
           CASE WHEN task.cancel_requested_at IS NOT NULL AND outcome.status <> 'SUCCEEDED' THEN 'CANCELLED'
                ELSE outcome.status END AS fate,
           task.run_at AS due_at,
           -- What a worker that was killed had reported of this attempt.
           COALESCE(outcome.log, CASE WHEN task.log ->> 'attempt' = task.attempt::text THEN task.log END) AS told
    FROM outcome JOIN callboard_task AS task ON {in_batch("outcome")}
    WHERE {is_held("outcome", by="outcome.worker")} AND {condition}
    ORDER BY outcome.id FOR UPDATE OF task {"" if waits else "SKIP LOCKED"}
)"""


_IS_FINAL = any_of("held.fate", FINAL)
_ENDED = f"""
ended AS (
    UPDATE callboard_task AS task
    SET status = held.fate,
        worker_id = NULL,
        cancel_requested_at = NULL,
        queued_at = CASE WHEN {_IS_FINAL} THEN task.queued_at END,
        started_at = held.started_at,
        finished_at = CASE WHEN {_IS_FINAL} THEN held.finished_at END,
        run_at = CASE WHEN {_IS_FINAL} THEN task.run_at
                      ELSE GREATEST(task.run_at, statement_timestamp() + held.delay * interval '1 second') END,
        queue = CASE WHEN held.fate = 'RETRYING' THEN COALESCE(held.retry_queue, task.queue) ELSE task.queue END,
        priority = CASE WHEN held.fate = 'RETRYING' THEN COALESCE(held.retry_priority, task.priority)
                        ELSE task.priority END,
        failures = task.failures + held.failed,
        crashes = task.crashes + held.crashed,
        retry_until = CASE WHEN held.failed = 1 THEN COALESCE(
                          task.retry_until, held.finished_at + task.retry_for_seconds * interval '1 second')
                      ELSE task.retry_until END,
        unique_key = CASE WHEN {_IS_FINAL} THEN NULL ELSE task.unique_key END,
        result = held.result,
        progress = COALESCE(held.progress, task.progress),
        error = CASE WHEN held.error_type = '' THEN task.error
                     ELSE held.error_type || ': ' || held.error_message END
    FROM held
    WHERE {in_batch("held")}
    RETURNING task.id, task.status, task.actor, task.queue, task.trace_id, task.owner_id, held.attempt, held.letter,
              held.reason, held.error_type, held.error_message, held.fingerprint, held.frame, held.build,
              task.settled_as IS NOT NULL AS has_children, task.batch_id,
              EXTRACT(EPOCH FROM held.finished_at - held.started_at)::double precision AS seconds,
              EXTRACT(EPOCH FROM held.started_at - held.due_at)::double precision AS waited
)"""

# An attempt that was not started has no outcome and leaves no row.
_RECORDED_ATTEMPTS = """
recorded AS (
    INSERT INTO callboard_attempt (
        task_id, number, outcome, worker_id, started_at, finished_at, error_type, error_message, traceback, note, log
    )
    SELECT id, attempt, outcome, worker, started_at, finished_at, error_type, error_message, traceback, note, told
    FROM held WHERE outcome IS NOT NULL
)"""

_DEAD_LETTERS = """
died AS (
    INSERT INTO callboard_deadletter (
        id, task_id, attempt, actor, queue, owner_id, reason, error_type, error_message, fingerprint
    )
    SELECT letter, id, attempt, actor, queue, owner_id, reason, error_type, error_message, fingerprint
    FROM ended WHERE status = 'DEAD'
)"""

_COUNTED = f"""
counted AS (
    {failures.died("ended WHERE status = 'DEAD'", build="build")}
)"""

_TALLIED = f"""
tallied AS (
    {tallied("ended", before="'RUNNING'")}
)"""


def completion_statement(*, by_leader: bool = False, only_if: str = "true", waits: bool = False) -> str:
    """Put together the statement that ends attempts, for the worker that holds them or for a leader.

    Parameters:
        by_leader: also fence it by the leader's term.
        only_if: what must still be true of ``task``; a predicate as those of ``tasks.lifecycle.predicates``.
        waits: wait for rows that another transaction holds. By default they are left for the next round, since one
            row must not keep all others waiting.
    """
    condition = f"{IS_LEADING} AND {only_if}" if by_leader else only_if
    parts = [_OUTCOMES, _held(condition, waits=waits), _ENDED, _RECORDED_ATTEMPTS, _DEAD_LETTERS, _COUNTED, _TALLIED]
    return f"""
WITH {",".join([LEAD, *parts] if by_leader else parts)}
SELECT id, status, actor, queue, trace_id, attempt, seconds, has_children, batch_id IS NOT NULL, waited FROM ended
"""


_COMPLETE = completion_statement()
_COMPLETE_WAITING = completion_statement(waits=True)


def complete_many(outcomes: Sequence[Outcome], *, waits: bool = False) -> list[Moved]:
    """Write the outcomes of one worker's attempts with their attempt rows, dead letters and follow-ups: all or none.

    The answer leaves out attempts that the worker no longer holds, and tasks whose rows another transaction has locked:
    see ``still_held``. After a lost reply the same call can be made again: see ``recorded``.

    Parameters:
        waits: wait for locked rows.

    Raises:
        django.db.DataError, django.db.IntegrityError: one of them cannot be stored, so none was.
    """
    if not outcomes:
        return []
    if not any(outcome.followups or outcome.at_death or outcome.barrier or outcome.waits_for for outcome in outcomes):
        return _complete(outcomes, waits)
    with transaction.atomic():
        moves = _complete(outcomes, waits)
        moved = {(move.id, move.attempt) for move in moves}
        accepted = [outcome for outcome in outcomes if (outcome.task_id, outcome.attempt) in moved]
        if waiting := [(outcome.task_id, outcome.waits_for) for outcome in accepted if outcome.waits_for]:
            # A signal that came after the actor looked has not made it due: it was still running.
            wake(waiting)
        died = {(move.id, move.attempt) for move in moves if move.status == Status.DEAD}
        at_death = [
            one for outcome in accepted if (outcome.task_id, outcome.attempt) in died for one in outcome.at_death
        ]
        followups = [followup for outcome in accepted for followup in outcome.followups]
        submit_many([*followups, *at_death, *_of_groups(accepted)])
    return moves


def _of_groups(accepted: Sequence[Outcome]) -> list[Submission]:
    """Count successes at the barriers of their groups, and return what follows the last."""
    in_groups = {outcome.barrier: outcome for outcome in accepted if outcome.barrier}
    if not in_groups:
        return []
    opened = barriers.arrive([outcome.barrier for outcome in accepted if outcome.barrier])
    return [one for key in sorted(opened) for one in in_groups[key].at_the_end_of_group]


def _complete(outcomes: Sequence[Outcome], waits: bool) -> list[Moved]:
    if waits:
        return end_many("complete", _COMPLETE_WAITING, outcomes)
    return end_many("complete", _COMPLETE, outcomes, prepared="callboard_complete")


def end_many(
    verb: str, statement: str, outcomes: Sequence[Outcome], *, prepared: str = "", **parameters: Any
) -> list[Moved]:
    """Run a ``completion_statement`` and announce what moved."""
    rows = as_json([outcome.as_row() for outcome in outcomes])
    moves = [Moved(*row) for row in fetch(statement, {"outcomes": rows, **parameters}, prepared=prepared)]
    announce(verb, moves)
    return moves


_RECORDED = """
SELECT attempt.task_id, attempt.number
FROM callboard_attempt AS attempt
JOIN json_to_recordset(%(outcomes)s) AS outcome (id uuid, attempt integer)
  ON outcome.id = attempt.task_id AND outcome.attempt = attempt.number
WHERE attempt.worker_id = %(worker)s
"""


def recorded(outcomes: Sequence[Outcome]) -> set[tuple[UUID, int]]:
    """Find which of one worker's outcomes are already stored, because the commit succeeded and its reply was lost."""
    if not outcomes:
        return set()
    rows = as_json([{"id": outcome.task_id, "attempt": outcome.attempt} for outcome in outcomes])
    return set(fetch(_RECORDED, {"outcomes": rows, "worker": outcomes[0].worker_id}))


_STILL_HELD = f"""
SELECT task.id, task.attempt
FROM json_to_recordset(%(outcomes)s) AS outcome (id uuid, attempt integer)
JOIN callboard_task AS task ON {in_batch("outcome")}
WHERE {is_held("outcome", by="%(worker)s")}
"""


def still_held(outcomes: Sequence[Outcome]) -> set[tuple[UUID, int]]:
    """Find which of one worker's unaccepted outcomes must be written later, because their rows were locked."""
    if not outcomes:
        return set()
    rows = as_json([{"id": outcome.task_id, "attempt": outcome.attempt} for outcome in outcomes])
    return set(fetch(_STILL_HELD, {"outcomes": rows, "worker": outcomes[0].worker_id}))


def succeed(outcome: Outcome) -> bool:
    """Write one success; False if the worker no longer holds the attempt."""
    return bool(complete_many([replace(outcome, ended_as=AttemptOutcome.SUCCEEDED)], waits=True))


def fail(outcome: Outcome) -> bool:
    """Write one failure; False if the worker no longer holds the attempt."""
    return bool(complete_many([replace(outcome, ended_as=AttemptOutcome.FAILED, is_failure=True)], waits=True))


def snooze(outcome: Outcome, *, delay_seconds: float) -> bool:
    """Postpone one task without counting a failure; False if the worker no longer holds the attempt."""
    snoozed = replace(outcome, ended_as=AttemptOutcome.SNOOZED, retry_delay_seconds=delay_seconds)
    return bool(complete_many([snoozed], waits=True))


def interrupt(outcome: Outcome) -> bool:
    """Write that a shutdown stopped one attempt, without counting a failure; False if the worker no longer holds it."""
    return bool(complete_many([replace(outcome, ended_as=AttemptOutcome.INTERRUPTED)], waits=True))
