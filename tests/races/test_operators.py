"""Operators against workers, and against each other."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import AlreadyResolved, IllegalTransition
from tasks.hint import Hint
from tasks.lifecycle import Claimed, workers
from tasks.models import Journal, Task, Worker
from tasks.states import DeathReason, Resolution, Status
from tests.callers import TASKS
from tests.factories import Lead, age, dispatch, failure, make_task, make_worker, open_letter, outcome, start, submit

FAULT = "F16"

ROUNDS = 15


def test_a_cancel_and_a_completion_of_one_task_end_in_one_of_two_states(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit()
        claimed = start(task, worker)
        status, succeeded = race.together(
            lambda task=task: lifecycle.cancel(task.pk),
            lambda c=claimed: lifecycle.succeed(outcome(c, worker)),
        )
        assert succeeded is True
        assert status == Status.RUNNING or isinstance(status, IllegalTransition)
        task.refresh_from_db()
        assert (task.status, task.cancel_requested_at) == (Status.SUCCEEDED, None)


def test_a_cancel_of_what_was_read_waits_for_an_edit_and_then_leaves_the_task(race, alice) -> None:
    task = submit(owner_id=alice.user.pk)
    url = f"{TASKS}/{task.pk}"
    tag = alice.get(url)["ETag"]
    _, answer = race.while_open(
        lambda: lifecycle.edit(task.pk, {"priority": 1}),
        lambda: alice.send(f"{url}/cancel", headers={"if-match": tag}),
    )
    assert answer.status_code == 412
    task.refresh_from_db()
    assert (task.status, task.version) == (Status.PENDING, 2)


def test_a_cancel_and_a_failure_of_one_task_end_in_one_of_two_states(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit()
        claimed = start(task, worker)
        race.together(
            lambda task=task: lifecycle.cancel(task.pk),
            lambda c=claimed: lifecycle.fail(failure(c, worker, retry_delay_seconds=60)),
        )
        task.refresh_from_db()
        # Asked before the failure or after it: either way nothing runs any more.
        assert task.status == Status.CANCELLED
        assert task.attempts.count() == 1


def test_a_cancel_and_a_claim_of_one_task_never_lose_the_cancel(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit()
        hint = dispatch(task)
        status, claimed = race.together(
            lambda task=task: lifecycle.cancel(task.pk),
            lambda hint=hint: lifecycle.claim_many([hint], worker_id=worker.pk),
        )
        task.refresh_from_db()
        if claimed:
            assert (status, task.status) == (Status.RUNNING, Status.RUNNING)
            assert task.cancel_requested_at is not None
        else:
            assert (status, task.status) == (Status.CANCELLED, Status.CANCELLED)


def held(claimed: Claimed, worker: Worker, verb: str, lead: Lead) -> object:
    """Do what a worker or a leader does to a task that runs."""
    if verb == "put back":
        return lifecycle.put_back_many([(claimed.id, claimed.attempt)], worker_id=worker.pk)
    if verb == "rescue":
        workers.leave(worker.pk)
        return lifecycle.rescue_lost(**lead)
    if verb == "succeed":
        return lifecycle.succeed(outcome(claimed, worker))
    if verb == "snooze":
        return lifecycle.snooze(outcome(claimed, worker), delay_seconds=60)
    return lifecycle.fail(failure(claimed, worker, death=DeathReason.NOT_RETRYABLE if verb == "die" else None))


@pytest.mark.parametrize("verb", ["put back", "rescue", "succeed", "snooze", "fail", "die"])
def test_a_cancel_that_waited_for_another_verb_to_move_a_running_task_decides_by_where_it_is_now(
    race, lead, verb: str
) -> None:
    worker = make_worker()
    task = submit()
    claimed = start(task, worker)
    _, cancelled = race.while_open(lambda: held(claimed, worker, verb, lead), lambda: lifecycle.cancel(task.pk))
    task.refresh_from_db()
    if verb in ("succeed", "die"):
        assert isinstance(cancelled, IllegalTransition)
    else:
        assert (cancelled, task.status) == (Status.CANCELLED, Status.CANCELLED)


@pytest.mark.parametrize("verb", ["put back", "rescue", "snooze", "fail", "die", "succeed"])
def test_another_verb_that_waited_for_a_cancel_of_a_running_task_heeds_it(race, lead, verb: str) -> None:
    worker = make_worker()
    task = submit()
    claimed = start(task, worker)
    cancelled, other = race.while_open(lambda: lifecycle.cancel(task.pk), lambda: held(claimed, worker, verb, lead))
    assert cancelled == Status.RUNNING
    assert not isinstance(other, Exception), other
    if verb in {"put back", "rescue"}:
        # They wait for nobody: what is locked is left for the next heartbeat or sweep.
        assert not other
        held(claimed, worker, verb, lead)
    task.refresh_from_db()
    assert task.status == (Status.SUCCEEDED if verb == "succeed" else Status.CANCELLED)


def test_a_cancel_that_waited_for_a_claim_asks_the_worker_to_stop(race) -> None:
    worker = make_worker()
    task = submit()
    hint = dispatch(task)
    claimed, cancelled = race.while_open(
        lambda: lifecycle.claim_many([hint], worker_id=worker.pk), lambda: lifecycle.cancel(task.pk)
    )
    assert len(claimed) == 1
    assert cancelled == Status.RUNNING
    task.refresh_from_db()
    assert (task.status, task.attempt, task.worker_id) == (Status.RUNNING, 1, worker.pk)
    assert task.cancel_requested_at is not None


@pytest.mark.parametrize("verb", ["dispatch", "requeue", "edit", "expire"])
def test_a_cancel_that_waited_for_another_verb_to_move_a_waiting_task_decides_by_where_it_is_now(
    race, lead, verb: str
) -> None:
    task = submit(max_age_seconds=1000)
    verbs: dict[str, Callable[[], object]] = {
        "dispatch": lambda: dispatch(task),
        "edit": lambda: lifecycle.edit(task.pk, {"priority": 9}),
        "expire": lambda: lifecycle.expire_many(**lead),
    }
    if verb == "requeue":
        hint = dispatch(task)
        verbs["requeue"] = lambda: lifecycle.requeue_many([hint], **lead)
    if verb == "expire":
        age(task, expires_at=timedelta(days=1))
    _, cancelled = race.while_open(verbs[verb], lambda: lifecycle.cancel(task.pk))
    task.refresh_from_db()
    if verb == "expire":
        assert isinstance(cancelled, IllegalTransition)
        assert task.status == Status.DEAD
    else:
        assert (cancelled, task.status) == (Status.CANCELLED, Status.CANCELLED)


def test_a_retry_that_waited_for_an_expiry_gives_a_second_life(race, lead) -> None:
    task = make_task(Status.RETRYING, max_age_seconds=1000)
    age(task, expires_at=timedelta(days=1))
    expired, retried = race.while_open(lambda: lifecycle.expire_many(**lead), lambda: lifecycle.retry(task.pk))
    assert len(expired) == 1
    assert retried == Status.PENDING
    task.refresh_from_db()
    assert (task.status, task.failures) == (Status.PENDING, 0)
    assert not DeadLetter.objects.open().exists()


@pytest.mark.parametrize("verb", ["claim", "dispatch", "requeue", "cancel"])
def test_an_edit_that_waited_for_another_verb_decides_by_where_the_task_is_now(race, lead, verb: str) -> None:
    worker = make_worker()
    task = submit()
    hint = dispatch(task) if verb in ("claim", "requeue") else Hint(task.pk, 1)
    verbs: dict[str, Callable[[], object]] = {
        "claim": lambda: lifecycle.claim_many([hint], worker_id=worker.pk),
        "dispatch": lambda: dispatch(task),
        "requeue": lambda: lifecycle.requeue_many([hint], **lead),
        "cancel": lambda: lifecycle.cancel(task.pk),
    }
    _, edited = race.while_open(verbs[verb], lambda: lifecycle.edit(task.pk, {"priority": 9}))
    task.refresh_from_db()
    if verb in ("claim", "cancel"):
        assert isinstance(edited, IllegalTransition)
        assert task.priority == 5
    else:
        assert (edited, task.status, task.priority) == (Status.PENDING, Status.PENDING, 9)
        assert lifecycle.claim_many([hint], worker_id=worker.pk) == []


def test_of_two_cancels_of_a_running_task_one_is_noted(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit()
        start(task, worker)
        assert race.together(*[lambda task=task: lifecycle.cancel(task.pk)] * 2) == [Status.RUNNING] * 2
        assert Journal.objects.filter(task_id=task.pk).count() == 1


def test_a_redrive_racing_a_discard_one_wins(race) -> None:
    for _ in range(ROUNDS):
        task = make_task(Status.DEAD)
        letter = open_letter(task)
        redriven, discarded = race.together(
            lambda letter=letter: lifecycle.redrive(letter.pk), lambda letter=letter: lifecycle.discard(letter.pk)
        )
        assert isinstance(redriven, AlreadyResolved) != isinstance(discarded, AlreadyResolved)
        task.refresh_from_db()
        letter.refresh_from_db()
        assert (task.status, letter.resolution) in {
            (Status.PENDING, Resolution.REDRIVEN),
            (Status.DEAD, Resolution.DISCARDED),
        }
        assert Journal.objects.filter(task_id=task.pk).count() == 1


def test_a_redrive_that_waited_for_a_discard_changes_nothing(race) -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    discarded, redriven = race.while_open(lambda: lifecycle.discard(letter.pk), lambda: lifecycle.redrive(letter.pk))
    assert discarded is None
    assert isinstance(redriven, AlreadyResolved)
    task.refresh_from_db()
    assert (task.status, task.failures) == (Status.DEAD, 1)


def test_a_redrive_with_another_payload_that_waited_for_a_discard_leaves_the_payload(race) -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    _, redriven = race.while_open(
        lambda: lifecycle.discard(letter.pk), lambda: lifecycle.redrive(letter.pk, payload={"do": "fail"})
    )
    assert isinstance(redriven, AlreadyResolved)
    payload, version = task.payload, task.version
    task.refresh_from_db()
    assert (task.payload, task.version, task.status) == (payload, version, Status.DEAD)


def test_of_two_restores_of_one_letter_one_wins(race) -> None:
    letter = open_letter(make_task(Status.DEAD))
    lifecycle.discard(letter.pk)
    first, second = race.while_open(lambda: lifecycle.restore(letter.pk), lambda: lifecycle.restore(letter.pk))
    assert first is None
    assert isinstance(second, IllegalTransition)
    assert Journal.objects.filter(verb="restore").count() == 1


def test_a_restore_that_waited_for_a_retry_leaves_the_dead_letter(race) -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    lifecycle.discard(letter.pk)
    retried, restored = race.while_open(lambda: lifecycle.retry(task.pk), lambda: lifecycle.restore(letter.pk))
    assert retried == Status.PENDING
    assert isinstance(restored, IllegalTransition)
    assert not DeadLetter.objects.open().exists()


def test_a_retry_that_waited_for_a_restore_resolves_the_dead_letter(race) -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    lifecycle.discard(letter.pk)
    restored, retried = race.while_open(lambda: lifecycle.restore(letter.pk), lambda: lifecycle.retry(task.pk))
    assert (restored, retried) == (None, Status.PENDING)
    letter.refresh_from_db()
    assert letter.resolution == Resolution.REDRIVEN


def test_a_discard_that_waited_for_a_redrive_changes_nothing(race) -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    redriven, discarded = race.while_open(lambda: lifecycle.redrive(letter.pk), lambda: lifecycle.discard(letter.pk))
    assert redriven == Status.PENDING
    assert isinstance(discarded, AlreadyResolved)
    letter.refresh_from_db()
    assert letter.resolution == Resolution.REDRIVEN


def test_of_two_redrives_of_one_letter_one_wins(race) -> None:
    for _ in range(ROUNDS):
        task = make_task(Status.DEAD)
        letter = open_letter(task)
        results = race.together(*[lambda letter=letter: lifecycle.redrive(letter.pk)] * 2)
        assert sum(isinstance(one, AlreadyResolved) for one in results) == 1
        assert Journal.objects.filter(task_id=task.pk).count() == 1


def test_a_retry_racing_a_redrive_gives_one_second_life(race) -> None:
    for _ in range(ROUNDS):
        task = make_task(Status.DEAD)
        letter = open_letter(task)
        results = race.together(
            lambda task=task: lifecycle.retry(task.pk), lambda letter=letter: lifecycle.redrive(letter.pk)
        )
        assert sum(isinstance(one, Exception) for one in results) == 1
        task.refresh_from_db()
        assert (task.status, task.version) == (Status.PENDING, 2)


def test_of_two_edits_of_one_version_one_wins(race) -> None:
    for _ in range(ROUNDS):
        task = submit()
        results = race.together(
            *[lambda task=task, p=p: lifecycle.edit(task.pk, {"priority": p}, version=1) for p in (2, 9)]
        )
        assert sum(isinstance(one, IllegalTransition) for one in results) == 1
        task.refresh_from_db()
        assert task.version == 2


def test_a_bulk_cancel_against_a_completion_batch_does_not_deadlock(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        claims = [start(submit(), worker) for _ in range(25)]
        ends = [
            outcome(one, worker) if place % 2 else failure(one, worker, death=DeathReason.NOT_RETRYABLE)
            for place, one in enumerate(claims)
        ]
        ids = [one.id for one in claims]
        moves, cancelled, again = race.together(
            lambda ends=ends: lifecycle.complete_many(ends[::-1], waits=True),
            lambda ids=ids: lifecycle.cancel_many(ids),
            lambda ids=ids: lifecycle.cancel_many(ids[::-1]),
        )
        for result in (moves, cancelled, again):
            assert not isinstance(result, Exception), result
        assert len(moves) == 25
        final = {Status.SUCCEEDED, Status.DEAD, Status.CANCELLED}
        assert set(Task.objects.filter(pk__in=ids).values_list("status", flat=True)) <= final


def test_a_completion_batch_that_waits_in_the_middle_holds_only_lower_ids(race) -> None:
    # The order of locks is what keeps batches from deadlocking; random timing alone would rarely show its absence.
    worker = make_worker()
    claims = [start(submit(), worker) for _ in range(6)]
    ends = [outcome(one, worker) for one in claims]
    middle, last = claims[3].id, claims[5].id

    def cancel_both() -> int:
        return len(lifecycle.cancel_many([middle])) + len(lifecycle.cancel_many([last]))

    cancelled, moves = race.while_open(cancel_both, lambda: lifecycle.complete_many(ends[::-1], waits=True))
    assert cancelled == 2
    assert len(moves) == 6
