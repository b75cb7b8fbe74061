"""Every verb against every other, at random: whatever the order, no rule is broken and nobody deadlocks."""

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.db.models import F

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import AlreadyResolved, IllegalTransition, NotFound
from tasks.lifecycle import Claimed, queues, workers
from tasks.models import Attempt, Task
from tasks.states import AttemptOutcome, DeathReason, Status
from tests.factories import Lead, dispatch_due, failure, let_lease_run_out, make_worker, outcome, submit

REFUSALS = (AlreadyResolved, IllegalTransition, NotFound)
VERBS_EACH = int(os.environ.get("RACE_VERBS", "60"))


class Engine:
    """A scheduler and a worker with bad luck."""

    def __init__(self, lead: Lead, chance: random.Random) -> None:
        self._lead, self._chance = lead, chance
        self._worker = make_worker()

    def verbs(self) -> list[Callable[[], Any]]:
        lead = self._lead
        return [
            *[self._run] * 6,
            self._lose_worker,
            partial(lifecycle.rescue_lost, **lead),
            partial(lifecycle.expire_many, **lead),
            lambda: lifecycle.requeue_many(dispatch_due(space=2), **lead),
        ]

    def _run(self) -> None:
        hints = dispatch_due(space=self._chance.randint(1, 6))
        self._chance.shuffle(hints)
        claims = lifecycle.claim_many(hints, worker_id=self._worker.pk)
        self._chance.shuffle(claims)
        held = claims[: len(claims) // 4]
        lifecycle.put_back_many([(one.id, one.attempt) for one in held], worker_id=self._worker.pk)
        # With those that were put back: late, and refused.
        lifecycle.complete_many([self._end(one) for one in claims])

    def _end(self, claimed: Claimed) -> Any:
        end = self._chance.choice(["succeed", "fail", "die", "die", "snooze"])
        if end == "succeed":
            return outcome(claimed, self._worker)
        if end == "snooze":
            return outcome(claimed, self._worker, ended_as=AttemptOutcome.SNOOZED)
        return failure(claimed, self._worker, death=DeathReason.NOT_RETRYABLE if end == "die" else None)

    def _lose_worker(self) -> None:
        lifecycle.claim_many(dispatch_due(space=2), worker_id=self._worker.pk)
        let_lease_run_out(self._worker)
        workers.declare_silent_gone(**self._lead)
        self._worker = make_worker()


class Operators:
    """People who do everything to everything."""

    def __init__(self, tasks: Sequence[Task], chance: random.Random) -> None:
        self._ids, self._chance = [task.pk for task in tasks], chance

    def verbs(self) -> list[Callable[[], Any]]:
        return [
            lambda: lifecycle.cancel(self._chance.choice(self._ids)),
            lambda: lifecycle.cancel_many(self._some(self._ids)),
            lambda: lifecycle.retry(self._chance.choice(self._ids)),
            lambda: lifecycle.retry_many(self._some(self._ids)),
            lambda: lifecycle.edit(self._chance.choice(self._ids), {"priority": self._chance.randint(1, 10)}),
            lambda: lifecycle.redrive_many(self._some(self._letters())),
            lambda: lifecycle.discard_many(self._some(self._letters())),
            lambda: [lifecycle.redrive(id) for id in self._some(self._letters())[:1]],
            lambda: lifecycle.restore_many(self._some(self._letters())),
            self._discard,
            self._pause,
            self._grow_old,
            lambda: lifecycle.delete(self._chance.choice(self._ids[:2])),
        ]

    def _some(self, ids: Sequence[Any]) -> list[Any]:
        return self._chance.sample(ids, self._chance.randint(0, len(ids)))

    def _letters(self) -> list[Any]:
        return list(DeadLetter.objects.values_list("pk", flat=True).order_by("-pk")[:10])

    def _discard(self) -> None:
        for id in self._some(self._letters())[:1]:
            lifecycle.discard(id)

    def _pause(self) -> None:
        queues.pause("default")
        queues.resume("default")

    def _grow_old(self) -> None:
        id = self._chance.choice(self._ids)
        Task.objects.filter(pk=id).update(expires_at=F("created_at") - timedelta(days=1))


def act(verbs: list[Callable[[], Any]], chance: random.Random) -> None:
    for _ in range(VERBS_EACH):
        try:
            chance.choice(verbs)()
        except REFUSALS:
            continue


def test_no_order_of_verbs_breaks_a_rule_or_deadlocks(race, lead) -> None:
    seed = random.randrange(10**9)
    chances = [random.Random(f"{seed} {place}") for place in range(4)]
    tasks = [submit(max_age_seconds=1000, max_retries=1000) for _ in range(12)]
    actors: list[Engine | Operators] = [
        Engine(lead, chances[0]),
        Engine(lead, chances[1]),
        *(Operators(tasks, one) for one in chances[2:]),
    ]
    ends = race.together(
        *[partial(act, actor.verbs(), chance) for actor, chance in zip(actors, chances, strict=True)],
        timeout=max(50, VERBS_EACH),
    )
    assert ends == [None] * 4, f"seed {seed}: {ends}"
    check_rules(f"seed {seed}")


def check_rules(message: str) -> None:
    letters = list(DeadLetter.objects.values_list("task_id", "resolution"))
    ends = Counter(Attempt.objects.values_list("task_id", flat=True))
    for task in Task.objects.all():
        resolutions = [resolution for id, resolution in letters if id == task.pk]
        # A dead task that nobody discarded has exactly one open dead letter, and nothing else has any.
        wanted = {0, 1} if "DISCARDED" in resolutions else {1}
        assert resolutions.count("") in (wanted if task.status == Status.DEAD else {0}), (message, task, task.status)
        assert task.failures <= ends[task.pk] <= task.attempt, (message, task)
    assert set(ends) <= set(Task.objects.values_list("pk", flat=True)), message
