"""Batches while everybody acts on their tasks: no task is counted wrongly, no callback is submitted twice."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction

from tasks import lifecycle
from tasks.errors import BatchClosed, InvalidTask
from tasks.lifecycle import DependsOn, NewBatch, Submission, batches, workers
from tasks.models import Batch, BatchDelta, Task
from tasks.models.batch import CALLBACKS, COUNTS
from tasks.states import FINAL, BatchStatus, DeathReason, OnFailure, Status
from tests.factories import dispatch_due, failure, make_worker, outcome, submit
from tests.races.chaos import SECONDS, Repeated
from tests.workflows import INVARIANTS


def act(**fields: Any) -> Submission:
    return Submission(actor="act", payload={"do": "return"}, **fields)


def test_a_close_waits_for_a_submission_that_is_under_way(race, lead) -> None:
    batch = batches.create(NewBatch()).batch
    task, closed = race.while_open(lambda: submit(batch=batch.pk), lambda: batches.close(batch.pk))
    assert closed.count("total") == 1
    while lifecycle.settle_batches(**lead).changed:
        pass
    batch.refresh_from_db()
    assert (batch.status, batch.total, task.batch_id) == (BatchStatus.RUNNING, 1, batch.pk)


def test_a_submission_that_waits_for_the_close_is_refused(race) -> None:
    batch = batches.create(NewBatch()).batch
    _, refused = race.while_open(lambda: batches.close(batch.pk), lambda: submit(batch=batch.pk))
    assert isinstance(refused, BatchClosed)
    assert not Task.objects.exists()


def test_the_leader_counts_while_a_submission_is_under_way(race, lead) -> None:
    batch = batches.create(NewBatch(tasks=[act()], is_open=True)).batch
    _, settled = race.while_open(lambda: submit(batch=batch.pk), lambda: lifecycle.settle_batches(**lead))
    assert settled.changed == 1


def test_a_child_that_is_submitted_while_the_batch_ends_is_released(race, lead) -> None:
    batch = batches.create(NewBatch(tasks=[act()])).batch
    worker = make_worker()
    (claimed,) = lifecycle.claim_many(dispatch_due(), worker_id=worker.pk)
    lifecycle.complete_many([outcome(claimed, worker)])

    def end() -> str:
        while lifecycle.settle_batches(**lead).changed:
            pass
        return Batch.objects.get(pk=batch.pk).status

    # The end does not wait for the submission, which has read that the batch runs.
    child, ended = race.while_open(lambda: submit(depends_on=[DependsOn(batch=batch.pk)]), end)
    assert (ended, child.status) == (BatchStatus.SUCCEEDED, Status.BLOCKED)
    end()
    child.refresh_from_db()
    assert child.status == Status.PENDING


def test_a_child_does_not_hold_up_what_is_done_to_its_batch(race, lead) -> None:
    batch = batches.create(NewBatch()).batch
    child, other = race.while_open(
        lambda: submit(depends_on=[DependsOn(batch=batch.pk)]),
        lambda: (submit(batch=batch.pk), batches.close(batch.pk)),
    )
    assert (child.status, other[1].status) == (Status.BLOCKED, BatchStatus.RUNNING)


def test_two_halves_of_a_circle_are_not_submitted_side_by_side(race) -> None:
    first, second = (batches.create(NewBatch()).batch for _ in range(2))
    _, refused = race.while_open(
        lambda: submit(batch=first.pk, depends_on=[DependsOn(batch=second.pk)]),
        lambda: submit(batch=second.pk, depends_on=[DependsOn(batch=first.pk)]),
    )
    assert isinstance(refused, InvalidTask)
    assert refused.errors[0].code == "cycle"
    assert Task.objects.count() == 1


def test_a_locked_task_of_a_cancelled_batch_holds_up_no_other_batch(race, lead, monkeypatch) -> None:
    monkeypatch.setattr(batches, "_NEXT", batches._NEXT.replace("500", "1"))
    cancelled, other = batches.create(NewBatch(tasks=[act(), act()])), batches.create(NewBatch())
    # Its newest task; the other one is left to the leader.
    batches.cancel(cancelled.batch.pk)
    batches.close(other.batch.pk)
    status, _ = race.while_waiting(
        lambda: Task.objects.select_for_update().get(pk=cancelled.task_ids[0]),
        lambda: lifecycle.settle_batches(**lead),
        lambda: Batch.objects.get(pk=other.batch.pk).status,
    )
    assert status == BatchStatus.SUCCEEDED


class Chaos(Repeated):
    """Everybody who acts on batches; each acts in a thread of its own until time is over."""

    def __init__(self, lead: Any) -> None:
        super().__init__()
        self._lead = lead
        self._batches: list[Batch] = []

    def create(self, chance: random.Random) -> None:
        callbacks = {name: act(tags=[name]) for name in CALLBACKS}
        tasks = [act() for _ in range(chance.randint(0, 4))]
        self._batches.append(batches.create(NewBatch(tasks=tasks, callbacks=callbacks, is_open=True)).batch)
        for batch in self._batches[-3:]:
            submit(batch=batch.pk)

    def depend(self, chance: random.Random) -> None:
        """Submit children of batches, some into other batches, some in a slow transaction."""
        time.sleep(0.01)
        if not self._batches:
            return
        parents = {chance.choice(self._batches[-6:]).pk for _ in range(chance.randint(1, 2))}
        edges = [DependsOn(batch=pk, on_failure=chance.choice(list(OnFailure))) for pk in parents]
        into = chance.choice(self._batches[-3:]).pk if chance.random() < 0.3 else None
        with suppress(BatchClosed, InvalidTask), transaction.atomic():
            submit(depends_on=edges, batch=into)
            time.sleep(chance.choice([0, 0, 0.03]))

    def close(self, chance: random.Random) -> None:
        time.sleep(0.02)
        if self._batches:
            batches.close(chance.choice(self._batches[-5:]).pk)

    def complete(self, chance: random.Random) -> None:
        worker = self._worker(chance)
        outcomes = []
        workers.beat(worker.pk)
        for claimed in lifecycle.claim_many(dispatch_due(space=10), worker_id=worker.pk):
            dies = chance.random() < 0.2
            death = failure(claimed, worker, death=DeathReason.NOT_RETRYABLE)
            outcomes.append(death if dies else outcome(claimed, worker))
        lifecycle.complete_many(outcomes, waits=True)

    def act_on_tasks(self, chance: random.Random) -> None:
        ids = list(Task.objects.exclude(batch_id=None).order_by("-pk").values_list("pk", flat=True)[:40])
        if ids:
            verbs: list[Callable[[Any], Any]] = [lifecycle.cancel, lifecycle.retry, lifecycle.retry, lifecycle.delete]
            chance.choice(verbs)(chance.choice(ids))

    def cancel(self, chance: random.Random) -> None:
        time.sleep(0.05)
        if self._batches:
            batches.cancel(chance.choice(self._batches[-8:]).pk)

    def lead(self, _: random.Random) -> None:
        lifecycle.settle_batches(**self._lead)

    def _worker(self, chance: random.Random) -> Any:
        if not hasattr(chance, "worker"):
            chance.worker = make_worker()  # type: ignore[attr-defined]
        return chance.worker  # type: ignore[attr-defined]


@pytest.mark.slow
def test_counts_and_callbacks_are_exact_whatever_happens_at_the_same_time(race, lead) -> None:
    chaos = Chaos(lead)
    # Two leaders, which no term keeps apart here.
    steps = [chaos.create, chaos.depend, chaos.close, chaos.complete, chaos.complete, chaos.act_on_tasks, chaos.cancel]
    results = race.together(
        *(chaos.repeat(step, seed=seed) for seed, step in enumerate([*steps, chaos.lead, chaos.lead])),
        timeout=SECONDS + 30,
    )
    assert results == [None] * len(results), results
    for batch in chaos._batches:
        batches.close(batch.pk)
    run_all(lead)
    assert not BatchDelta.objects.exists()
    # A child that a failed batch blocks waits on, and a batch that counts it with it; its end lets others go on.
    while blocked := Task.objects.filter(status=Status.BLOCKED):
        for task in blocked:
            lifecycle.cancel(task.pk)
        run_all(lead)
    assert Task.objects.exclude(pending_parents=None).filter(status=Status.SUCCEEDED).exists()
    with connection.cursor() as cursor:
        for invariant, query in INVARIANTS.items():
            cursor.execute(query)
            assert cursor.fetchall() == [], invariant
    for batch in Batch.objects.all():
        check(batch)
    assert len(chaos._batches) > 5, chaos.did
    assert chaos.did["lead"] > 20, chaos.did


def run_all(lead: Any) -> None:
    """Run what can be run, and let the leader do all that is left to do."""
    worker = make_worker()
    # A claim leaves out rows that others hold, and the sweeper finds their tasks later.
    lifecycle.take_back("default")
    while True:
        while lifecycle.settle_all(**lead).changed or lifecycle.settle_batches(**lead).changed:
            pass
        claimed = lifecycle.claim_many(dispatch_due(space=100), worker_id=worker.pk)
        if not claimed:
            return
        lifecycle.complete_many([outcome(one, worker) for one in claimed])


def check(batch: Batch) -> None:
    """Compare a batch that nobody acts on any more with its tasks and its callbacks."""
    assert batch.status in (BatchStatus.SUCCEEDED, BatchStatus.FAILED, BatchStatus.CANCELLED)
    assert batch.unfinished == 0
    tasks = Counter(Task.objects.of_batch(batch.pk).values_list("status", flat=True))
    assert set(tasks) <= set(FINAL)
    # Ended tasks that were deleted stay counted.
    for status, name in ((Status.SUCCEEDED, "succeeded"), (Status.DEAD, "dead"), (Status.CANCELLED, "cancelled")):
        assert getattr(batch, name) >= tasks[status], (name, tasks, {one: getattr(batch, one) for one in COUNTS})
    submitted = Task.objects.filter(options__callback_of=str(batch.pk)).values_list("pk", "tags")
    called = Counter(tags[0] for _, tags in submitted)
    assert set(called.values()) <= {1}, called
    assert {name: str(pk) for pk, (name,) in submitted} == batch.called
    assert called["on_complete"] == 1
    assert called["on_success"] == 1 or batch.status != BatchStatus.SUCCEEDED
    assert called["on_death"] == 1 or not batch.dead
