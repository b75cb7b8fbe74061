"""rescue: the leading scheduler takes tasks from workers that are gone, or that cannot interrupt them.

Each function reads candidates, decides, and writes with one statement that repeats the condition and is fenced by the
leader's term: a leader that was paused between the two steps, or deposed, changes nothing.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from tasks.conf import conf
from tasks.db.statements import fetch
from tasks.lifecycle.announcements import Moved
from tasks.lifecycle.complete import Outcome, completion_statement, end_many
from tasks.lifecycle.deaths import call_back
from tasks.lifecycle.predicates import NOT_GONE
from tasks.retry import after_crash, after_failure
from tasks.states import AttemptOutcome, DeathReason

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

#: Tasks in one statement; the sweeper calls again while there are more.
BATCH = 500

_OWNER_IS_GONE = f"""NOT EXISTS (
    SELECT FROM callboard_worker AS worker WHERE worker.id = task.worker_id AND {NOT_GONE}
)"""

# A run that has ended and whose outcome waits in its worker to be written is not stuck; the worker's heartbeat names
# it. A run that started before the database's clock stepped forward seems older than it is.
_IS_STUCK = f"""task.time_limit_seconds > 0 AND task.started_at + (
        task.time_limit_seconds + %(stuck_after)s
        + CASE WHEN task.started_at < %(stepped_at)s THEN %(stepped_by)s ELSE 0 END
    ) * interval '1 second' < LEAST(statement_timestamp(), %(until)s::timestamptz)
    AND NOT EXISTS (
        SELECT FROM callboard_worker AS worker
        WHERE worker.id = task.worker_id AND {NOT_GONE}
          AND (task.id || ':' || task.attempt) = ANY(worker.unwritten)
    )"""


def _candidates(condition: str) -> str:
    """Build the query for running tasks, with what supervisors reported of their workers' ends."""
    return f"""
SELECT task.id, task.attempt, task.worker_id, task.actor, task.failures, task.crashes, task.max_retries,
       task.min_backoff_seconds, task.max_backoff_seconds, task.started_at, statement_timestamp(),
       worker.crash ->> 'kind', worker.crash ->> 'detail', worker.crash -> 'started' ->> named.key,
       worker.crash -> 'stuck' ? named.key,
       COALESCE(worker.crash -> 'ended' ? named.key, named.key = ANY(worker.unwritten)),
       COALESCE((
           SELECT last.outcome = 'LOST' AND last.error_type = 'WorkerLost' FROM callboard_attempt AS last
           WHERE last.task_id = task.id ORDER BY last.number DESC LIMIT 1
       ), false), COALESCE(worker.build, '')
FROM callboard_task AS task
LEFT JOIN callboard_worker AS worker ON worker.id = task.worker_id
CROSS JOIN LATERAL (SELECT task.id || ':' || task.attempt AS key) AS named
WHERE task.status = 'RUNNING' AND {condition}
ORDER BY task.id LIMIT {BATCH}
"""


_LOST = _candidates(_OWNER_IS_GONE)
_RESCUE_LOST = completion_statement(by_leader=True, only_if=_OWNER_IS_GONE)
_STUCK = _candidates(_IS_STUCK)
_RESCUE_STUCK = completion_statement(by_leader=True, only_if=_IS_STUCK)


class _Held(NamedTuple):
    """A RUNNING task, and what a supervisor reported of its worker's end and of this attempt, if one saw it."""

    id: UUID
    attempt: int
    worker_id: UUID
    actor: str
    failures: int
    crashes: int
    max_retries: int | None
    min_backoff_seconds: float
    max_backoff_seconds: float
    started_at: datetime
    now: datetime
    end: str | None
    detail: str | None
    ran_since: str | None
    is_stuck: bool | None
    has_ended: bool | None
    #: Whether the previous attempt was lost with its worker, too.
    was_lost_before: bool
    build: str


def rescue_lost(*, lease: str, term: int) -> list[Moved]:
    """Take at most a batch of tasks from workers that are gone, and return them.

    A task counts a crash if it had *started* and a supervisor saw its worker crash. If the worker fell silent, or ended
    itself because of a fault, the task counts none the first time, and one if its next attempt ends the same way:
    otherwise a task that never releases the interpreter would be rescued for ever. A task that its worker held without
    having started it goes back without an attempt row.
    """
    held = [_Held(*row) for row in fetch(_LOST, {})]
    outcomes = [_lost(one) for one in held]
    return _end(_RESCUE_LOST, outcomes, lease=lease, term=term) if outcomes else []


def rescue_stuck(
    *, lease: str, term: int, until: datetime | None = None, stepped_at: datetime = _LONG_AGO, stepped_by: float = 0
) -> tuple[list[Moved], set[UUID]]:
    """Fail tasks that run past their time limit and the grace after it; return them and the workers to recycle.

    Parameters:
        until: a task that was not stuck at this time of the database's clock is not stuck now; the clock may have
            stepped since.
        stepped_at: when the clock last stepped forward, by ``stepped_by`` seconds.
    """
    age: dict[str, Any] = {
        "stuck_after": conf.STUCK_AFTER_SECONDS,
        "until": until,
        "stepped_at": stepped_at,
        "stepped_by": stepped_by,
    }
    held = [_Held(*row) for row in fetch(_STUCK, age)]
    if not held:
        return [], set()
    moves = _end(_RESCUE_STUCK, [_stuck(one) for one in held], lease=lease, term=term, **age)
    moved = {move.id for move in moves}
    return moves, {one.worker_id for one in held if one.id in moved}


@transaction.atomic
def _end(statement: str, outcomes: list[Outcome], **parameters: Any) -> list[Moved]:
    moves = end_many("rescue", statement, outcomes, **parameters)
    call_back(moves)
    return moves


def _lost(held: _Held) -> Outcome:
    if held.end is not None and held.ran_since is None:
        return _outcome(held, None)
    since = held.ran_since or held.started_at
    detail = held.detail or "it stopped answering"
    if held.has_ended:
        # The actor had ended, so the crash is not its fault; its outcome is lost with the process.
        message = f"its worker ended before the outcome was written: {detail}"
        return _outcome(held, AttemptOutcome.LOST, "OutcomeLost", message, started_at=since)
    if held.is_stuck:
        return _stuck(held)
    if held.end == "stopped":
        return _outcome(held, AttemptOutcome.INTERRUPTED, "WorkerStopped", detail, started_at=since)
    if held.end == "crashed":
        return _crashed(held, AttemptOutcome.CRASHED, "WorkerCrashed", detail, since)
    if held.was_lost_before:
        return _crashed(held, AttemptOutcome.LOST, "WorkerLost", f"{detail}, and so it was the time before", since)
    return _outcome(held, AttemptOutcome.LOST, "WorkerLost", detail, started_at=since)


def _crashed(held: _Held, ended_as: AttemptOutcome, error_type: str, detail: str, since: Any) -> Outcome:
    death = after_crash(held.crashes + 1, limit=conf.CRASH_LIMIT)
    return _outcome(held, ended_as, error_type, detail, started_at=since, is_crash=True, death=death)


def _stuck(held: _Held) -> Outcome:
    delay, death = after_failure(
        held.failures + 1,
        max_retries=held.max_retries,
        min_backoff_seconds=held.min_backoff_seconds,
        max_backoff_seconds=held.max_backoff_seconds,
        exhausted=DeathReason.STUCK_TASK_TIMEOUT,
    )
    message = "it could not be interrupted at its time limit and was taken from its worker"
    fields = {"is_failure": True, "death": death, "retry_delay_seconds": delay}
    return _outcome(held, AttemptOutcome.TIMED_OUT, "Stuck", message, **fields)


def _outcome(
    held: _Held,
    ended_as: AttemptOutcome | None,
    error_type: str = "",
    error_message: str = "",
    *,
    started_at: Any = None,
    **fields: Any,
) -> Outcome:
    return Outcome(
        task_id=held.id,
        attempt=held.attempt,
        worker_id=held.worker_id,
        ended_as=ended_as,
        started_at=None if ended_as is None else started_at or held.started_at,
        finished_at=held.now,
        actor=held.actor,
        build=held.build,
        error_type=error_type,
        error_message=error_message,
        **fields,
    )
