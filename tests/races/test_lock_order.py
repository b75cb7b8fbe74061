"""Verbs for many lock in one order, so that no two of them deadlock; verbs of the engine wait for no lock.

Random timing would rarely show a wrong order. Here the rows lie in the table in the opposite order of their ids, a verb
for all of them is made to wait in the middle, and then the one it waits for takes a later row as well: it gets it at
once, or the two deadlock.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import workers
from tasks.lifecycle.prune import FIRST_ID, prune_many
from tasks.models import Task
from tasks.states import DeathReason, Status
from tests.factories import age, dispatch, dispatch_due, failure, make_worker, outcome, start, submit
from tests.scheduler.stage import born_earlier

Verb = Callable[[Sequence[Task]], Any]


def take_task(task: Task) -> None:
    Task.objects.select_for_update().get(pk=task.pk)


def take_letter(letter: DeadLetter) -> None:
    DeadLetter.objects.select_for_update().get(pk=letter.pk)


def queued() -> tuple[list[Task], dict[str, Verb]]:
    tasks = [submit() for _ in range(4)]
    for task in reversed(tasks):
        dispatch(task)
    return tasks, {"take back": lambda tasks: lifecycle.take_back("default")}


def running() -> tuple[list[Task], dict[str, Verb]]:
    tasks, worker = [submit() for _ in range(4)], make_worker()
    claims = [start(task, worker) for task in reversed(tasks)]
    ends = [outcome(one, worker) for one in claims]
    return tasks, {
        "complete": lambda tasks: len(lifecycle.complete_many(ends, waits=True)),
        "cancel": lambda tasks: len(lifecycle.cancel_many([task.pk for task in reversed(tasks)])),
    }


def dead() -> list[Task]:
    """Let tasks die in one batch, the youngest first: their dead letters have the opposite order."""
    tasks, worker = [submit() for _ in range(4)], make_worker()
    claims = [start(task, worker) for task in reversed(tasks)]
    lifecycle.complete_many([failure(one, worker, death=DeathReason.NOT_RETRYABLE) for one in claims])
    return tasks


@pytest.mark.parametrize("verb", ["take back", "complete", "cancel"])
def test_a_verb_for_many_tasks_that_waits_in_the_middle_holds_only_lower_ids(race, verb: str) -> None:
    tasks, verbs = (queued if verb == "take back" else running)()
    taken, count = race.while_waiting(
        partial(take_task, tasks[1]), partial(verbs[verb], tasks), partial(take_task, tasks[3])
    )
    assert (taken, count) == (None, 4)


@pytest.mark.parametrize("verb", [lifecycle.retry_many, lifecycle.redrive_many])
def test_a_second_life_for_many_that_waits_for_a_task_in_the_middle_holds_only_lower_ids(race, verb: Any) -> None:
    tasks = dead()
    ids = [task.pk for task in reversed(tasks)]
    if verb is lifecycle.redrive_many:
        ids = list(DeadLetter.objects.values_list("pk", flat=True))
    taken, moves = race.while_waiting(partial(take_task, tasks[1]), partial(verb, ids), partial(take_task, tasks[3]))
    assert (taken, len(moves)) == (None, 4)


def test_a_redrive_with_another_payload_that_waits_for_the_task_holds_no_dead_letter(race) -> None:
    task = dead()[0]
    letter = DeadLetter.objects.get(task_id=task.pk)
    redrive = partial(lifecycle.redrive, letter.pk, payload={"do": "return"})
    taken, status = race.while_waiting(partial(take_task, task), redrive, partial(take_letter, letter))
    assert (taken, status) == (None, "PENDING")


def test_a_restore_of_many_that_waits_for_a_task_in_the_middle_holds_only_lower_ids(race) -> None:
    tasks = dead()
    ids = list(DeadLetter.objects.values_list("pk", flat=True))
    lifecycle.discard_many(ids)
    restore = partial(lifecycle.restore_many, ids)
    taken, restored = race.while_waiting(partial(take_task, tasks[1]), restore, partial(take_task, tasks[3]))
    assert (taken, len(restored)) == (None, 4)


@pytest.mark.parametrize("verb", [lifecycle.retry_many, lifecycle.redrive_many, lifecycle.discard_many])
def test_a_verb_for_many_dead_letters_that_waits_in_the_middle_holds_only_lower_ids(race, verb: Any) -> None:
    tasks = dead()
    letters = list(DeadLetter.objects.order_by("pk"))
    assert [letter.task_id for letter in letters] == [task.pk for task in reversed(tasks)]
    ids = [task.pk for task in tasks] if verb is lifecycle.retry_many else [letter.pk for letter in reversed(letters)]
    discarded, moved = race.while_waiting(
        partial(lifecycle.discard, letters[1].pk), partial(verb, ids), partial(lifecycle.discard, letters[3].pk)
    )
    assert discarded is None, discarded
    # A retry needs no open letter.
    assert len(moved) == (4 if verb is lifecycle.retry_many else 2)
    assert not DeadLetter.objects.open().exists()


# --- Verbs that wait for nobody ---


@pytest.mark.parametrize(
    "verb", ["dispatch", "claim", "put back", "complete", "requeue", "rescue lost", "rescue stuck", "expire"]
)
def test_a_verb_of_the_engine_skips_a_locked_row_and_moves_the_rest(race, lead, verb: str) -> None:
    worker = make_worker()
    held, free = (submit(max_age_seconds=1000, time_limit_seconds=1) for _ in range(2))
    hints = [] if verb == "dispatch" else [dispatch(task) for task in (held, free)]
    claims = []
    if verb.startswith("rescue") or verb in {"put back", "complete"}:
        claims = lifecycle.claim_many(hints, worker_id=worker.pk)
    for task in (held, free):
        if verb == "rescue stuck":
            age(task, started_at=timedelta(days=1))
        if verb == "expire":
            age(task, expires_at=timedelta(days=1))
    if verb == "rescue lost":
        workers.leave(worker.pk)
    verbs: dict[str, Callable[[], Any]] = {
        "dispatch": dispatch_due,
        "claim": lambda: lifecycle.claim_many(hints, worker_id=worker.pk),
        "put back": lambda: lifecycle.put_back_many([(one.id, one.attempt) for one in claims], worker_id=worker.pk),
        "complete": lambda: lifecycle.complete_many([outcome(one, worker) for one in claims]),
        "requeue": lambda: lifecycle.requeue_many(hints, **lead),
        "rescue lost": lambda: lifecycle.rescue_lost(**lead),
        "rescue stuck": lambda: lifecycle.rescue_stuck(**lead)[0],
        "expire": lambda: lifecycle.expire_many(**lead),
    }
    statuses = dict(Task.objects.values_list("pk", "status"))
    race.while_open(partial(take_task, held), verbs[verb])
    after = dict(Task.objects.values_list("pk", "status"))
    assert after[held.pk] == statuses[held.pk]
    assert after[free.pk] != statuses[free.pk]


def test_the_pruner_skips_a_locked_row_and_removes_the_rest(race, lead) -> None:
    held, free = (born_earlier(submit(), timedelta(days=1)) for _ in range(2))
    lifecycle.cancel_many([held.pk, free.pk])
    keep = {str(Status.CANCELLED): 0.0}
    _, pruned = race.while_open(
        partial(take_task, held), lambda: prune_many(FIRST_ID, keep_seconds=keep, batch=10, **lead)
    )
    assert pruned.removed == 1
    assert list(Task.objects.values_list("pk", flat=True)) == [held.pk]
