"""Any order of verbs, on any old hint and any old claim, moves tasks as this small model says and no other way."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.test import override_settings
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import CallboardError
from tasks.hint import Hint
from tasks.lifecycle import Claimed, workers
from tasks.models import Attempt, Task, Worker
from tasks.states import DUE, FINAL, WAITING, AttemptOutcome, DeathReason, Status
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

ENDS: dict[str, dict[str, Any]] = {
    "succeed": {"ended_as": AttemptOutcome.SUCCEEDED},
    "retry": {"ended_as": AttemptOutcome.FAILED, "is_failure": True, "error_type": "E", "retry_delay_seconds": 3600},
    "die": {
        "ended_as": AttemptOutcome.FAILED,
        "is_failure": True,
        "error_type": "E",
        "death": DeathReason.MAX_RETRIES_EXCEEDED,
    },
    "snooze": {"ended_as": AttemptOutcome.SNOOZED, "retry_delay_seconds": 3600},
    "interrupt": {"ended_as": AttemptOutcome.INTERRUPTED},
}
FATES = {
    "succeed": Status.SUCCEEDED,
    "retry": Status.RETRYING,
    "die": Status.DEAD,
    "snooze": Status.PENDING,
    "interrupt": Status.PENDING,
}


@dataclass
class Expected:
    """What a task's row should say."""

    status: Status = Status.PENDING
    dispatch: int = 0
    attempt: int = 0
    failures: int = 0
    is_due: bool = True
    worker: UUID | None = None
    is_cancel_asked: bool = False
    #: Numbers of the attempts that ended with a row.
    attempts: set[int] = field(default_factory=set)
    letters: int = 0
    is_letter_open: bool = False
    is_letter_discarded: bool = False

    def end(self, status: Status) -> None:
        """Leave RUNNING."""
        asked = self.is_cancel_asked and status is not Status.SUCCEEDED
        self.status = Status.CANCELLED if asked else status
        self.worker, self.is_cancel_asked = None, False
        if self.status is Status.DEAD:
            self.letters, self.is_letter_open, self.is_letter_discarded = self.letters + 1, True, False

    def begin_again(self) -> None:
        """Start a second life, or run a retry sooner."""
        self.is_due = True
        if self.status is not Status.RETRYING:
            self.status, self.failures = Status.PENDING, 0
            self.is_letter_open = self.is_letter_discarded = False


class Life(RuleBasedStateMachine):
    """Dispatchers, workers, a sweeper and operators, in no order at all."""

    tasks: Bundle[UUID] = Bundle("tasks")
    hints: Bundle[Hint] = Bundle("hints")
    claims: Bundle[tuple[Claimed, Worker]] = Bundle("claims")
    workers: Bundle[Worker] = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[UUID, Expected] = {}
        self.gone: set[UUID] = set()
        # A life may take longer than a lease on a busy machine; here leases end when a rule says so.
        self.settings = override_settings(WORKER_LEASE_SECONDS=3600)
        self.settings.enable()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()

    def teardown(self) -> None:
        """Leave nothing behind."""
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)
        self.settings.disable()

    @initialize(target=workers)
    def first_worker(self) -> Worker:
        return factories.make_worker()

    @rule(target=workers)
    def another_worker(self) -> Worker:
        return factories.make_worker()

    @rule(target=tasks, is_due=st.booleans())
    def submit(self, is_due: bool) -> UUID:
        task = factories.submit(delay_seconds=0 if is_due else 3600)
        self.expected[task.pk] = Expected(is_due=is_due)
        return task.pk

    # --- To a worker and back ---

    @rule(target=hints, task=tasks)
    def dispatch(self, task: UUID) -> Any:
        row, expected = Task.objects.filter(pk=task).first(), self.expected.get(task)
        found = factories.dispatch_due(space=100) if row else []
        for id, one in self.expected.items():
            if row and one.status in DUE and one.is_due:
                assert any(hint.task_id == id for hint in found)
                one.status, one.dispatch = Status.QUEUED, one.dispatch + 1
        return Hint(task, expected.dispatch if expected else 1)

    @rule(hint=hints)
    def requeue(self, hint: Hint) -> None:
        expected = self.expected.get(hint.task_id)
        is_ours = expected is not None and (expected.status, expected.dispatch) == (Status.QUEUED, hint.dispatch)
        assert lifecycle.requeue_many([hint], **factories.make_lead()) == is_ours
        if expected and is_ours:
            expected.status = Status.PENDING

    @rule(target=claims, hint=hints, worker=workers)
    def claim(self, hint: Hint, worker: Worker) -> Any:
        expected = self.expected.get(hint.task_id)
        is_ours = (
            expected is not None
            and (expected.status, expected.dispatch) == (Status.QUEUED, hint.dispatch)
            and worker.pk not in self.gone
        )
        found = lifecycle.claim_many([hint], worker_id=worker.pk)
        assert len(found) == is_ours
        if expected and is_ours:
            expected.status, expected.worker = Status.RUNNING, worker.pk
            expected.attempt += 1
            return found[0], worker
        # Whoever claimed nothing may still say something about it.
        return factories.imagine_claim(id=hint.task_id, attempt=max(1, hint.dispatch)), worker

    @rule(claim=claims, end=st.sampled_from(sorted(ENDS)))
    def complete(self, claim: tuple[Claimed, Worker], end: str) -> None:
        claimed, worker = claim
        expected = self._held(claimed, worker)
        outcome = factories.outcome(claimed, worker, **ENDS[end])
        moves = lifecycle.complete_many([outcome])
        assert len(moves) == (expected is not None)
        if expected:
            expected.attempts.add(claimed.attempt)
            expected.failures += end in ("retry", "die")
            expected.is_due = expected.is_due and end not in ("retry", "snooze")
            expected.end(FATES[end])

    @rule(claim=claims)
    def put_back(self, claim: tuple[Claimed, Worker]) -> None:
        claimed, worker = claim
        expected = self._held(claimed, worker)
        assert lifecycle.put_back_many([(claimed.id, claimed.attempt)], worker_id=worker.pk) == (expected is not None)
        if expected:
            expected.end(Status.PENDING)

    @rule(worker=consumes(workers))
    def worker_falls_silent(self, worker: Worker) -> None:
        factories.let_lease_run_out(worker)
        lead = factories.make_lead()
        workers.declare_silent_gone(**lead)
        self.gone.add(worker.pk)
        lost = [one for one in self.expected.values() if one.worker == worker.pk]
        assert len(lifecycle.rescue_lost(**lead)) == len(lost)
        for one in lost:
            one.attempts.add(one.attempt)
            one.end(Status.PENDING)

    # --- Operators ---

    @rule(task=tasks)
    def cancel(self, task: UUID) -> None:
        expected = self.expected.get(task)
        legal = expected is not None and expected.status not in FINAL
        self._try(legal, lambda: lifecycle.cancel(task))
        if expected and expected.status in WAITING:
            expected.status = Status.CANCELLED
        elif expected and expected.status is Status.RUNNING:
            expected.is_cancel_asked = True

    @rule(task=tasks)
    def retry(self, task: UUID) -> None:
        expected = self.expected.get(task)
        legal = expected is not None and expected.status in {Status.DEAD, Status.RETRYING, Status.CANCELLED}
        self._try(legal, lambda: lifecycle.retry(task))
        if expected and legal:
            expected.begin_again()

    @rule(task=tasks)
    def redrive(self, task: UUID) -> None:
        letter = DeadLetter.objects.filter(task_id=task).order_by("-id").first()
        expected = self.expected.get(task)
        if letter is not None:
            legal = expected is not None and expected.is_letter_open
            self._try(legal, lambda: lifecycle.redrive(letter.pk))
            if expected and legal:
                expected.begin_again()

    @rule(task=tasks)
    def discard(self, task: UUID) -> None:
        letter = DeadLetter.objects.filter(task_id=task).order_by("-id").first()
        expected = self.expected.get(task)
        if letter is not None:
            legal = expected is not None and expected.is_letter_open
            self._try(legal, lambda: lifecycle.discard(letter.pk))
            if expected and legal:
                expected.is_letter_open, expected.is_letter_discarded = False, True

    @rule(task=tasks)
    def restore(self, task: UUID) -> None:
        letter = DeadLetter.objects.filter(task_id=task).order_by("-id").first()
        expected = self.expected.get(task)
        if letter is not None:
            legal = expected is not None and expected.is_letter_discarded
            self._try(legal, lambda: lifecycle.restore(letter.pk))
            if expected and legal:
                expected.is_letter_open, expected.is_letter_discarded = True, False

    @rule(task=tasks, priority=st.integers(1, 10))
    def edit(self, task: UUID, priority: int) -> None:
        expected = self.expected.get(task)
        legal = expected is not None and expected.status in WAITING
        self._try(legal, lambda: lifecycle.edit(task, {"priority": priority}))
        if expected and expected.status is Status.QUEUED:
            expected.status = Status.PENDING

    @rule(task=tasks)
    def delete(self, task: UUID) -> None:
        expected = self.expected.get(task)
        legal = expected is not None and expected.status is not Status.RUNNING
        self._try(legal, lambda: lifecycle.delete(task))
        if legal:
            del self.expected[task]

    # --- Always ---

    @invariant()
    def rows_are_as_expected(self) -> None:
        rows = {row.pk: row for row in Task.objects.all()}
        assert rows.keys() == self.expected.keys()
        for id, one in self.expected.items():
            row = rows[id]
            found = (row.status, row.dispatch, row.attempt, row.failures, row.worker_id)
            assert found == (one.status, one.dispatch, one.attempt, one.failures, one.worker)
            assert (row.cancel_requested_at is not None) == one.is_cancel_asked

    @invariant()
    def every_attempt_that_began_has_its_row_and_every_death_its_letter(self) -> None:
        for id, one in self.expected.items():
            assert set(Attempt.objects.filter(task_id=id).values_list("number", flat=True)) == one.attempts
            letters = DeadLetter.objects.filter(task_id=id)
            assert (letters.count(), letters.open().count()) == (one.letters, one.is_letter_open)

    def _held(self, claimed: Claimed, worker: Worker) -> Expected | None:
        """Find the task if this worker still holds it with this attempt."""
        one = self.expected.get(claimed.id)
        held = one is not None and (one.status, one.attempt, one.worker) == (
            Status.RUNNING,
            claimed.attempt,
            worker.pk,
        )
        return one if held else None

    @staticmethod
    def _try(legal: bool, verb: Any) -> None:
        """Expect a verb to work, or to be refused by name and change nothing."""
        if legal:
            verb()
            return
        with pytest.raises(CallboardError), transaction.atomic():
            verb()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    # No shrinking: with a database it takes longer than anybody waits, and a life of forty verbs can be read.
    phases=(Phase.explicit, Phase.generate),
)
