"""Factories: tasks in any state, made by the verbs that lead there, so that no test starts from an impossible row."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict
from uuid import UUID

from django.db import connection
from django.db.models import F

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.hint import Hint
from tasks.lifecycle import Claimed, NewBatch, Outcome, Probe, Share, Submission, batches, schedules, workers
from tasks.models import Batch, Lease, Schedule, Task, Term, Worker, new_id
from tasks.priority import HIGHEST, LOWEST, band_of
from tasks.scheduler.leadership import LEASE
from tasks.states import AttemptOutcome, DeathReason, Status

QUEUES = ("default", "other")


class Lead(TypedDict):
    """Keyword arguments of a leader's verbs."""

    lease: str
    term: int


def make_lead() -> Lead:
    """Get or create the term by which a leader's writes are fenced."""
    term, _ = Term.objects.get_or_create(name=LEASE, defaults={"term": 1})
    return {"lease": term.name, "term": term.term}


def make_leader() -> None:
    """Let a scheduler lead for an hour."""
    expires_at = database_now() + timedelta(hours=1)
    Lease.objects.update_or_create(name=LEASE, defaults={"holder": new_id(), "expires_at": expires_at})


def make_worker(*, threads: int = 4, queues: tuple[str, ...] = QUEUES, build: str = "") -> Worker:
    """Register a worker as its process would."""
    worker_id = new_id()
    workers.declare_queues()
    workers.register(worker_id, queues=queues, threads=threads, build=build)
    return Worker.objects.get(pk=worker_id)


def let_lease_run_out(worker: Worker) -> None:
    """Let the lease of a worker end."""
    Worker.objects.filter(pk=worker.pk).update(lease_expires_at=F("lease_expires_at") - timedelta(days=1))


def submit(actor: str = "act", **fields: Any) -> Task:
    """Submit a task; ``act`` returns by default."""
    if actor == "act" and "args" not in fields:
        fields.setdefault("payload", {"do": "return"})
    return lifecycle.submit(Submission(actor=actor, **fields))


def make_schedule(name: str = "hourly", *, is_declared: bool = False, **definition: Any) -> Schedule:
    """Add a schedule that fires at each full hour and whose tasks return, or as the definition says."""
    values: dict[str, Any] = {"actor": "act", "payload": {"do": "return"}, **definition}
    if "every_seconds" not in values:
        values.setdefault("cron", "0 * * * *")
    return schedules.add(name, values, declared=schedules.as_declared(values) if is_declared else None)


def make_batch(**fields: Any) -> Batch:
    """Make an open batch without tasks, or as the fields of ``NewBatch`` say."""
    return batches.create(NewBatch(**fields)).batch


def dispatch(task: Task) -> Hint:
    """Dispatch this task and no other; fail if it is not due."""
    before = UUID(int=task.pk.int - 1)
    probe = Probe(task.priority, band_of(task.priority), 1, after_run_at=task.run_at, after_id=before, lane=task.lane)
    found = lifecycle.dispatch_many([Share(task.queue, [probe], space=1)], actors=[task.actor], **make_lead())
    assert [one.hint.task_id for one in found] == [task.pk], f"{task.pk} was not due: {task.status} {task.run_at}"
    return found[0].hint


def dispatch_due(queue: str = "default", *, space: int = 100, actors: tuple[str, ...] = ("act",)) -> list[Hint]:
    """Dispatch the due tasks of a queue that have no fairness key, as the dispatcher does without cursors."""
    probes = [Probe(priority, band_of(priority), space) for priority in range(HIGHEST, LOWEST - 1, -1)]
    found = lifecycle.dispatch_many([Share(queue, probes, space)], actors=actors, **make_lead())
    return [one.hint for one in found]


def claim(hint: Hint, worker: Worker) -> Claimed:
    """Claim one task."""
    (claimed,) = lifecycle.claim_many([hint], worker_id=worker.pk)
    return claimed


def start(task: Task, worker: Worker) -> Claimed:
    """Dispatch and claim one task."""
    return claim(dispatch(task), worker)


def outcome(claimed: Claimed, worker: Worker, **fields: Any) -> Outcome:
    """Make the outcome of an attempt; by default a success."""
    values: dict[str, Any] = {
        "ended_as": AttemptOutcome.SUCCEEDED,
        "started_at": claimed.claimed_at,
        "finished_at": claimed.claimed_at + timedelta(milliseconds=5),
        "actor": claimed.actor,
    }
    return Outcome(task_id=claimed.id, attempt=claimed.attempt, worker_id=worker.pk, **{**values, **fields})


def failure(claimed: Claimed, worker: Worker, **fields: Any) -> Outcome:
    """Make a failure; with ``death`` it is the last."""
    values: dict[str, Any] = {
        "ended_as": AttemptOutcome.FAILED,
        "is_failure": True,
        "error_type": "RuntimeError",
        "error_message": "as asked",
        "traceback": "Traceback …",
    }
    return outcome(claimed, worker, **{**values, **fields})


def make_task(status: Status = Status.PENDING, *, worker: Worker | None = None, **fields: Any) -> Task:
    """Make a task in this state.

    Parameters:
        worker: the worker that claims it; by default a new one.
        fields: fields of the submission.
    """
    parent = submit() if status is Status.BLOCKED and "depends_on" not in fields else None
    if parent:
        fields["depends_on"] = [parent.pk]
    task = submit(**fields)
    if parent:
        # So that there is one task and no entry in the journal; no leader has told the child.
        parent.delete()
    bring(task, status, worker)
    task.refresh_from_db()
    return task


def bring(task: Task, status: Status, worker: Worker | None = None) -> None:
    """Move a new task into this state."""
    if status in {Status.PENDING, Status.BLOCKED}:
        return
    if status is Status.CANCELLED:
        lifecycle.cancel(task.pk)
        return
    hint = dispatch(task)
    if status is Status.QUEUED:
        return
    worker = worker or make_worker()
    claimed = claim(hint, worker)
    if status is Status.RUNNING:
        return
    ends = {
        Status.SUCCEEDED: outcome(claimed, worker, result={"answer": 42}),
        Status.RETRYING: failure(claimed, worker, retry_delay_seconds=3600),
        Status.DEAD: failure(claimed, worker, death=DeathReason.MAX_RETRIES_EXCEEDED),
    }
    (moved,) = lifecycle.complete_many([ends[status]])
    assert moved.status == status


def open_letter(task: Task) -> DeadLetter:
    """Find the one open dead letter of a task."""
    return DeadLetter.objects.open().get(task_id=task.pk)


def make_due(task: Task) -> None:
    """Make a task due."""
    Task.objects.filter(pk=task.pk).update(run_at=F("run_at") - timedelta(days=365))
    task.refresh_from_db()


def age(task: Task, **columns: timedelta) -> None:
    """Move some times of a row into the past."""
    Task.objects.filter(pk=task.pk).update(**{name: F(name) - by for name, by in columns.items()})
    task.refresh_from_db()


def database_now() -> Any:
    """Read the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def imagine_claim(actor: str = "act", **fields: Any) -> Claimed:
    """Make a claim without a row."""
    values: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Claimed)) | {
        "id": new_id(),
        "attempt": 1,
        "actor": actor,
        "queue": "default",
        "priority": 5,
        "args": [],
        "payload": {},
        "options": {},
        "failures": 0,
        "crashes": 0,
        "max_retries": 3,
        "min_backoff_seconds": 2.0,
        "max_backoff_seconds": 3600.0,
        "retry_until": None,
        "time_limit_seconds": 300.0,
        "trace_id": "0" * 32,
        "owner_id": None,
        "claimed_at": datetime(2030, 1, 1, tzinfo=UTC),
    }
    return Claimed(**{**values, **fields})
