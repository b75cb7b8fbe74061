"""Dependencies while everybody acts on their tasks: no child is left behind, released twice, or miscounted."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from tasks import lifecycle
from tasks.lifecycle import DependsOn, Submission, transitioned
from tasks.models import Dependency, Task
from tasks.scheduler.settler import POLL_SECONDS, Settler
from tasks.states import DeathReason, OnFailure, Status
from tests.factories import dispatch_due, failure, make_worker, outcome
from tests.races.chaos import SECONDS, Repeated
from tests.workflows import INVARIANTS


class Chaos(Repeated):
    """Everybody who acts on workflows; each acts in a thread of its own until time is over."""

    def __init__(self, lead: Any, seed: int) -> None:
        super().__init__()
        self._lead, self._chance = lead, random.Random(seed)
        self._recent: list[UUID] = []

    def submit(self, chance: random.Random) -> None:
        """Submit a few tasks that depend on one another and on recent ones, some in a slow transaction."""
        recent = self._recent[-30:]
        batch = []
        for place in range(chance.randint(1, 6)):
            names = {str(chance.randrange(place)) for _ in range(chance.randint(0, 2))} if place else set()
            outside = set(chance.sample(recent, min(len(recent), chance.randint(0, 2))))
            parents: list[UUID | str] = [*names, *outside]
            edges = [DependsOn(one, chance.choice(list(OnFailure))) for one in parents]
            unique = {"key": str(chance.randrange(40))} if chance.random() < 0.2 else None
            batch.append(
                Submission(actor="act", payload={"do": "return"}, ref=str(place), depends_on=edges, unique=unique)
            )
        with transaction.atomic():
            tasks = lifecycle.submit_many(batch)
            time.sleep(chance.choice([0, 0, 0.03]))
        self._recent += [task.pk for task in tasks]
        time.sleep(0.005)

    def run(self, chance: random.Random) -> None:
        """Run what is due; a fifth of it dies."""
        worker = self._worker
        claims = lifecycle.claim_many(dispatch_due(space=chance.randint(1, 16)), worker_id=worker.pk)
        ends = [
            failure(one, worker, death=DeathReason.NOT_RETRYABLE) if chance.random() < 0.2 else outcome(one, worker)
            for one in claims
        ]
        lifecycle.complete_many(ends, waits=True)

    def act(self, chance: random.Random) -> None:
        """Do what operators do."""
        ids = chance.sample(self._recent[-200:], min(len(self._recent[-200:]), chance.randint(1, 5)))
        verb = chance.choice(["cancel", "retry", "retry", "retry workflow", "delete"])
        if verb == "cancel":
            lifecycle.cancel_many(ids)
        elif verb == "retry":
            lifecycle.retry_many(ids)
        elif verb == "retry workflow":
            lifecycle.retry_workflow(ids)
        elif ids:
            lifecycle.delete(ids[0])
        time.sleep(0.01)

    def settle(self, chance: random.Random) -> None:
        """Do one round of the leader's work."""
        lifecycle.settle_all(**self._lead)
        time.sleep(chance.choice([0, 0.005, 0.03]))

    def parts(self) -> list[Callable[[], None]]:
        self._worker = make_worker(threads=64)
        steps = (self.submit, self.submit, self.run, self.run, self.act, self.act, self.settle)
        return [self.repeat(step, seed=self._chance.random()) for step in steps]


def broken() -> dict[str, Sequence[Any]]:
    found = {}
    with connection.cursor() as cursor:
        for name, query in INVARIANTS.items():
            cursor.execute(query)
            found[name] = cursor.fetchall()
    return {name: rows for name, rows in found.items() if rows}


def test_whatever_happens_to_a_workflow_every_child_learns_of_it(race, lead) -> None:
    chaos, released = Chaos(lead, seed=random.randrange(10**6)), Counter[UUID]()
    twice: list[UUID] = []
    lock = threading.Lock()

    def hear(*, verb: str, moves: Any, **_: Any) -> None:
        with lock:
            for move in moves:
                if verb == "release":
                    released[move.id] += 1
                    if released[move.id] > 1:
                        twice.append(move.id)
                elif move.status == Status.BLOCKED:
                    # It may be released again.
                    released[move.id] = 0

    transitioned.connect(hear)
    try:
        results = race.together(*chaos.parts(), timeout=SECONDS + 30)
        assert results == [None] * len(results)
        lifecycle.settle_all(**lead)
    finally:
        transitioned.disconnect(hear)
    assert broken() == {}
    assert twice == []
    assert chaos.did["submit"] > 10, chaos.did
    assert Task.objects.filter(cause_id__isnull=False).exists(), chaos.did
    assert sum(released.values()) > 10


@pytest.mark.parametrize("verb", ["release", "link"])
def test_the_leader_passes_by_a_task_that_somebody_holds_and_finds_it_later(race, lead, verb: str) -> None:
    parent = lifecycle.submit(Submission(actor="act", payload={"do": "return"}))
    children = [
        lifecycle.submit(Submission(actor="act", payload={"do": "return"}, depends_on=[parent.pk])) for _ in range(2)
    ]
    held = parent if verb == "link" else children[0]
    if verb == "release":
        lifecycle.settle_all(**lead)
        lifecycle.cancel(parent.pk)
    leadership: Any = SimpleNamespace(term=lead["term"])
    loop = Settler(leadership, lambda: None)
    settle = partial(loop._settle_dependencies, lead["term"])
    _, rests = race.while_open(
        lambda: Task.objects.select_for_update().get(pk=held.pk),
        lambda: [settle() for _ in range(20)],
    )
    # Soon, then ever less often.
    assert rests[0] < 0.05
    assert rests == sorted(rests)
    assert rests[-1] == POLL_SECONDS
    states = set(Dependency.objects.values_list("state", flat=True))
    assert states == ({"NEW"} if verb == "link" else {"OPEN", "FAILED"})
    if verb == "link":
        lifecycle.cancel(parent.pk)
    assert settle() == POLL_SECONDS
    assert {task.status for task in Task.objects.all()} == {Status.CANCELLED}
    lifecycle.retry(parent.pk)
    assert settle() == POLL_SECONDS
    assert broken() == {}
