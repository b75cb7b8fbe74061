"""Dispatchers and workers that want the same tasks."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from tasks import lifecycle
from tasks.hint import Hint
from tasks.lifecycle import workers
from tasks.lifecycle.prune import FIRST_ID
from tasks.models import IdempotencyKey, Task, Term, Worker
from tasks.states import Status
from tests.factories import (
    Lead,
    age,
    claim,
    dispatch,
    dispatch_due,
    let_lease_run_out,
    make_worker,
    outcome,
    start,
    submit,
)
from tests.scheduler.stage import born_earlier

FAULT = "F16"

ROUNDS = 15


def test_of_two_claims_of_one_hint_one_wins(race) -> None:
    workers = [make_worker(), make_worker()]
    for _ in range(ROUNDS):
        hint = dispatch(submit())
        claims = race.together(*[partial(lifecycle.claim_many, [hint], worker_id=one.pk) for one in workers])
        assert sorted(len(claimed) for claimed in claims) == [0, 1]
        task = Task.objects.get(pk=hint.task_id)
        assert (task.attempt, task.status) == (1, Status.RUNNING)


def test_a_claim_that_waited_for_another_finds_nothing(race) -> None:
    first, second = make_worker(), make_worker()
    hint = dispatch(submit())
    won, lost = race.while_open(
        lambda: lifecycle.claim_many([hint], worker_id=first.pk),
        lambda: lifecycle.claim_many([hint], worker_id=second.pk),
    )
    assert (len(won), lost) == (1, [])
    assert Task.objects.get().worker_id == first.pk


def test_claims_of_the_same_batch_in_opposite_order_do_not_deadlock(race) -> None:
    workers = [make_worker(), make_worker()]
    for _ in range(ROUNDS):
        hints = [dispatch(submit()) for _ in range(8)]
        claims = race.together(
            partial(lifecycle.claim_many, hints, worker_id=workers[0].pk),
            partial(lifecycle.claim_many, hints[::-1], worker_id=workers[1].pk),
        )
        assert sum(len(claimed) for claimed in claims) == 8


def test_two_dispatchers_never_hand_over_one_task_twice(race, lead) -> None:
    for _ in range(ROUNDS):
        tasks = [submit() for _ in range(30)]
        found = race.together(*[lambda: dispatch_due(space=20)] * 3)
        handed_over = Counter(hint.task_id for hints in found for hint in hints)
        assert set(handed_over.values()) == {1}
        assert {hint.dispatch for hints in found for hint in hints} == {1}
        lifecycle.cancel_many([task.pk for task in tasks])


def test_a_dispatcher_skips_rows_that_another_one_holds_and_does_not_wait(race, lead) -> None:
    tasks = [submit() for _ in range(4)]
    held, rest = race.while_open(lambda: dispatch_due(space=2), lambda: dispatch_due(space=4))
    assert [hint.task_id for hint in held] == [task.pk for task in tasks[:2]]
    assert [hint.task_id for hint in rest] == [task.pk for task in tasks[2:]]


def test_a_dispatch_and_a_cancel_of_one_task_leave_no_claimable_hint_behind(race, lead) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit()
        hints, status = race.together(dispatch_due, lambda task=task: lifecycle.cancel(task.pk))
        assert status == Status.CANCELLED
        assert lifecycle.claim_many(hints, worker_id=worker.pk) == []
        task.refresh_from_db()
        assert task.status == Status.CANCELLED


def test_a_claim_and_a_requeue_of_one_hint_end_in_one_of_two_states(race, lead) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        hint = dispatch(submit())
        claimed, requeued = race.together(
            lambda hint=hint: lifecycle.claim_many([hint], worker_id=worker.pk),
            lambda hint=hint: lifecycle.requeue_many([hint], **lead),
        )
        assert len(claimed) + requeued == 1
        task = Task.objects.get(pk=hint.task_id)
        assert task.status == (Status.RUNNING if claimed else Status.PENDING)


def test_a_claim_and_an_edit_of_one_task_never_run_the_old_version_in_the_new_place(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit(priority=2)
        hint = dispatch(task)
        claimed, edited = race.together(
            lambda hint=hint: lifecycle.claim_many([hint], worker_id=worker.pk),
            lambda task=task: lifecycle.edit(task.pk, {"priority": 9}),
        )
        task.refresh_from_db()
        if claimed:
            assert isinstance(edited, Exception)
            assert (task.status, task.priority, claimed[0].priority) == (Status.RUNNING, 2, 2)
        else:
            assert (task.status, task.priority) == (Status.PENDING, 9)


def test_a_put_back_and_a_completion_of_one_attempt_one_wins(race) -> None:
    worker = make_worker()
    for _ in range(ROUNDS):
        task = submit()
        claimed = start(task, worker)
        put_back, succeeded = race.together(
            lambda c=claimed: lifecycle.put_back_many([(c.id, c.attempt)], worker_id=worker.pk),
            lambda c=claimed: lifecycle.succeed(outcome(c, worker)),
        )
        assert (put_back, succeeded) in {(1, False), (0, True)}
        task.refresh_from_db()
        assert task.status == (Status.SUCCEEDED if succeeded else Status.PENDING)


def fall_silent(worker: Worker, lead: Lead) -> None:
    let_lease_run_out(worker)
    workers.declare_silent_gone(**lead)


def test_a_claim_by_a_worker_that_is_declared_gone_at_that_moment_is_rescued(race, lead) -> None:
    for _ in range(ROUNDS):
        worker = make_worker()
        task = submit()
        hint = dispatch(task)
        race.together(
            partial(lifecycle.claim_many, [hint], worker_id=worker.pk),
            partial(fall_silent, worker, lead),
        )
        lifecycle.rescue_lost(**lead)
        task.refresh_from_db()
        assert task.status in (Status.QUEUED, Status.PENDING)


def test_a_deposed_leaders_sweep_changes_nothing(race, lead) -> None:
    def depose() -> int:
        return Term.objects.filter(name=lead["lease"]).update(term=lead["term"] + 1)

    worker = make_worker()
    lost, waiting, queued, old = submit(), submit(), submit(), submit(max_age_seconds=1000)
    start(lost, worker)
    workers.leave(worker.pk)
    hint = dispatch(queued)
    Task.objects.filter(pk=old.pk).update(expires_at=old.created_at)

    def sweep() -> list[object]:
        return [
            lifecycle.rescue_lost(**lead),
            lifecycle.expire_many(**lead),
            lifecycle.requeue_many([hint], **lead),
            lifecycle.dispatch_many(
                [lifecycle.Share("default", [lifecycle.Probe(5, "medium", 9)], 9)], actors=["act"], **lead
            ),
        ]  # fmt: skip

    # The take-over is not yet committed when the sweep begins, so the sweep waits for the term's row and sees the new.
    deposed, swept = race.while_open(depose, sweep)
    assert deposed == 1
    assert swept == [[], [], 0, []]
    statuses = dict(Task.objects.values_list("pk", "status"))
    assert statuses == {
        lost.pk: Status.RUNNING, waiting.pk: Status.PENDING, queued.pk: Status.QUEUED, old.pk: Status.PENDING,
    }  # fmt: skip


LEADERS_VERBS = ["dispatch", "requeue", "rescue lost", "rescue stuck", "expire", "prune", "prune keys", "declare gone"]


def leaders_work(verb: str, lead: Lead) -> Callable[[], object]:
    """Make one thing to do for a leader, and return what does it."""
    worker, task = make_worker(), submit(max_age_seconds=1000, time_limit_seconds=1)
    hint = Hint(task.pk, 1)
    if verb in ("requeue", "rescue lost", "rescue stuck"):
        hint = dispatch(task)
    if verb.startswith("rescue"):
        claim(hint, worker)
    if verb == "rescue lost":
        workers.leave(worker.pk)
    if verb == "prune":
        lifecycle.cancel(task.pk)
        born_earlier(task, timedelta(days=1))
    past = {"rescue stuck": "started_at", "expire": "expires_at"}.get(verb)
    if past:
        age(task, **{past: timedelta(days=1)})
    if verb == "declare gone":
        let_lease_run_out(worker)
    if verb == "prune keys":
        IdempotencyKey.objects.create(
            owner_id=0, key="k", request_hash="", task_ids=[], expires_at=task.created_at - timedelta(days=1)
        )
    verbs: dict[str, Callable[[], object]] = {
        "dispatch": dispatch_due,
        "requeue": lambda: lifecycle.requeue_many([hint], **lead),
        "rescue lost": lambda: lifecycle.rescue_lost(**lead),
        "rescue stuck": lambda: lifecycle.rescue_stuck(**lead)[0],
        "expire": lambda: lifecycle.expire_many(**lead),
        "prune": lambda: lifecycle.prune_many(FIRST_ID, keep_seconds={"CANCELLED": 0.0}, batch=9, **lead).removed,
        "prune keys": lambda: lifecycle.prune_keys(batch=9, **lead),
        "declare gone": lambda: workers.declare_silent_gone(**lead),
    }
    return verbs[verb]


@pytest.mark.parametrize("verb", LEADERS_VERBS)
def test_a_take_over_waits_for_the_old_leaders_statement(race, lead, verb: str) -> None:
    def take_over() -> int:
        return Term.objects.update(term=lead["term"] + 1)

    work = leaders_work(verb, lead)
    # The statement's transaction looks at the term once more, when the take-over waits for it.
    seen, taken = race.while_waiting(work, take_over, lambda: Term.objects.get().term)
    assert (seen, taken) == (lead["term"], 1)


@pytest.mark.parametrize("verb", LEADERS_VERBS)
def test_a_statement_that_waited_for_a_take_over_changes_nothing(race, lead, verb: str) -> None:
    def depose() -> int:
        return Term.objects.update(term=lead["term"] + 1)

    deposed, done = race.while_open(depose, leaders_work(verb, lead))
    assert deposed == 1
    assert not done
    assert not isinstance(done, Exception)


def test_two_leaders_statements_do_not_wait_for_each_other(race, lead) -> None:
    submit("elsewhere", payload={})
    submit()
    results = race.while_open(
        lambda: dispatch_due("other", actors=("elsewhere",)),
        lambda: dispatch_due("default"),
    )
    assert [len(hints) for hints in results] == [1, 1]


@pytest.mark.parametrize("kind", ["rescue", "completion"])
def test_a_rescue_and_a_late_completion_one_wins(race, lead, kind: str) -> None:
    for _ in range(ROUNDS):
        worker = make_worker()
        task = submit()
        claimed = claim(dispatch(task), worker)
        workers.leave(worker.pk)
        rescue, succeed = partial(lifecycle.rescue_lost, **lead), partial(lifecycle.succeed, outcome(claimed, worker))
        results = race.together(*((rescue, succeed) if kind == "rescue" else (succeed, rescue)))
        assert sorted(map(bool, results)) == [False, True]
        task.refresh_from_db()
        assert task.attempts.count() == 1
        assert task.status in (Status.PENDING, Status.SUCCEEDED)
