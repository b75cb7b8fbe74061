"""Batches while everybody acts on their tasks: no task is counted wrongly, no callback is submitted twice."""

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tasks import lifecycle
from tasks.errors import BatchClosed
from tasks.lifecycle import NewBatch, Submission, batches, workers
from tasks.models import Batch, BatchDelta, Task
from tasks.models.batch import CALLBACKS, COUNTS
from tasks.states import FINAL, BatchStatus, DeathReason, Status
from tests.factories import dispatch_due, failure, make_worker, outcome, submit
from tests.races.chaos import SECONDS, Repeated


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
    steps = [chaos.create, chaos.close, chaos.complete, chaos.complete, chaos.act_on_tasks, chaos.cancel]
    results = race.together(
        *(chaos.repeat(step, seed=seed) for seed, step in enumerate([*steps, chaos.lead, chaos.lead])),
        timeout=SECONDS + 30,
    )
    assert results == [None] * len(results), results
    for batch in chaos._batches:
        batches.close(batch.pk)
    worker = make_worker()
    while hints := dispatch_due(space=100):
        claimed = lifecycle.claim_many(hints, worker_id=worker.pk)
        lifecycle.complete_many([outcome(one, worker) for one in claimed])
    while lifecycle.settle_batches(**lead).changed:
        pass
    assert not BatchDelta.objects.exists()
    for batch in Batch.objects.all():
        check(batch)
    assert len(chaos._batches) > 5, chaos.did
    assert chaos.did["lead"] > 20, chaos.did


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
