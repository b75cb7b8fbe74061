"""The lives of the shop's tasks: the rows of tasks, attempts and dead letters that they leave."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from dlq.fingerprint import fingerprint, own_frame
from dlq.models import DeadLetter
from examples.shop.work import BUG, DEPLOYED, FIXED, PAUSED, RESUMED, Cause, Work
from tasks.models import Attempt, Task, Worker
from tasks.models.ids import first_id_at
from tasks.states import AttemptOutcome, DeathReason, Resolution, Status

#: Of every made-up task.
TAG = "demo"


def id_at(at: datetime, rng: Random) -> UUID:
    """Make the id that a task would have got at that time."""
    return UUID(int=first_id_at(at).int | 7 << 76 | rng.getrandbits(12) << 64 | 2 << 62 | rng.getrandbits(62))


@dataclass
class Life:
    """A task with its attempts, how long it waited for each, and its dead letter if it died."""

    task: Task
    attempts: list[Attempt] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    letter: DeadLetter | None = None


@dataclass
class Shop:
    """The shop at one moment: its workers, and the chances by which its tasks fail."""

    now: datetime
    rng: Random
    workers: list[Worker]

    def live(self, work: Work, at: datetime) -> Life | None:
        """Live through a task that became due then; return None if it would still be running."""
        life = Life(self._submitted(work, at))
        due = at
        while life.task.status in {Status.PENDING, Status.RETRYING} and due < self.now:
            if not self._try(life, work, due):
                return None
            due = life.task.run_at
        return life

    def succeed(self, life: Life, *, start: datetime, due: datetime, seconds: float) -> None:
        """End the next attempt of a task as a success."""
        self._end(life, start=start, due=due, seconds=seconds, outcome=AttemptOutcome.SUCCEEDED)
        task = life.task
        task.status, task.finished_at, task.error = Status.SUCCEEDED, life.attempts[-1].finished_at, ""

    def _submitted(self, work: Work, at: datetime) -> Task:
        created = at - work.delay
        return Task(
            id=id_at(created, self.rng), actor=work.actor, queue=work.queue, priority=work.priority,
            status=Status.PENDING, payload=work.payload(self.rng), run_at=at, created_at=created, tags=[TAG],
            max_retries=work.max_retries, min_backoff_seconds=work.backoff_seconds, max_backoff_seconds=3600,
            time_limit_seconds=600, trace_id=f"{self.rng.getrandbits(128):032x}", dispatch=0, attempt=0, failures=0,
            error="",
        )  # fmt: skip

    def _try(self, life: Life, work: Work, due: datetime) -> bool:
        """Make the next attempt; return whether it has ended by now."""
        start = self._open_from(work, due + timedelta(seconds=self.rng.expovariate(5.0)))
        seconds = work.seconds * self.rng.lognormvariate(0, 0.5)
        if start + timedelta(seconds=seconds) > self.now:
            return False
        cause = self._cause(life.task, work, start)
        if cause is None:
            self.succeed(life, start=start, due=due, seconds=seconds)
        else:
            self._fail(life, work, cause, start=start, due=due, seconds=min(seconds, 0.3) if cause is BUG else seconds)
        return True

    def _open_from(self, work: Work, start: datetime) -> datetime:
        """Move a start to the end of the pause if its queue was paused then."""
        is_paused = work.queue == "payments" and self.now - PAUSED < start < self.now - RESUMED
        return self.now - RESUMED + timedelta(seconds=self.rng.uniform(0, 40)) if is_paused else start

    def _cause(self, task: Task, work: Work, start: datetime) -> Cause | None:
        is_bad = self.now - DEPLOYED < start < self.now - FIXED
        if is_bad and task.payload.get("currency") == "CHF":
            return BUG
        # A task that has failed by chance is likely to fail again.
        share = work.failing if not task.failures else max(work.failing, 0.3)
        return work.cause if work.failing and self.rng.random() < share else None

    def _fail(self, life: Life, work: Work, cause: Cause, *, start: datetime, due: datetime, seconds: float) -> None:
        self._end(life, start=start, due=due, seconds=seconds, outcome=AttemptOutcome.FAILED)
        task, attempt = life.task, life.attempts[-1]
        attempt.error_type, attempt.error_message = cause.error_type, cause.message
        attempt.traceback = cause.traceback
        task.failures += 1
        task.error = f"{cause.error_type}: {cause.message}"
        if task.failures <= work.max_retries:
            task.status = Status.RETRYING
            task.run_at = attempt.finished_at + timedelta(seconds=work.backoff_seconds * 2 ** (task.failures - 1))
        else:
            task.status, task.finished_at = Status.DEAD, attempt.finished_at
            life.letter = self._letter(task, attempt, cause)

    def _end(self, life: Life, *, start: datetime, due: datetime, seconds: float, outcome: AttemptOutcome) -> None:
        task = life.task
        task.attempt += 1
        task.dispatch += 1
        task.queued_at = task.started_at = start
        life.waits.append(max(0.0, (start - due).total_seconds()))
        life.attempts.append(
            Attempt(
                task_id=task.pk, number=task.attempt, outcome=outcome, worker_id=self._worker_at(start).pk,
                started_at=start, finished_at=start + timedelta(seconds=seconds),
            )
        )  # fmt: skip

    def _letter(self, task: Task, attempt: Attempt, cause: Cause) -> DeadLetter:
        frame = own_frame(cause.traceback)
        return DeadLetter(
            id=id_at(attempt.finished_at, self.rng), task_id=task.pk, attempt=attempt.number, actor=task.actor,
            queue=task.queue, reason=DeathReason.MAX_RETRIES_EXCEEDED, error_type=cause.error_type,
            error_message=cause.message, died_at=attempt.finished_at, resolution=Resolution.OPEN,
            fingerprint=fingerprint(task.actor, cause.error_type, cause.message, frame=frame),
        )  # fmt: skip

    def _worker_at(self, at: datetime) -> Worker:
        there = [one for one in self.workers if one.started_at <= at and (one.stopped_at or self.now) >= at]
        return self.rng.choice(there or self.workers)
