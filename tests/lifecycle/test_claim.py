"""claim: a worker takes the tasks that its hints name, if they are current."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tasks import lifecycle
from tasks.hint import Hint
from tasks.lifecycle import workers
from tasks.models import Task
from tasks.states import Status
from tests.factories import age, claim, dispatch, let_lease_run_out, make_task, make_worker, submit

pytestmark = pytest.mark.django_db


def test_a_claim_raises_the_attempt_and_names_the_worker(worker) -> None:
    task = submit(payload={"do": "return", "value": {"a": [1]}}, priority=7, trace_id="t")
    claimed = claim(dispatch(task), worker)
    task.refresh_from_db()
    assert (task.status, task.attempt, task.dispatch) == (Status.RUNNING, 1, 1)
    assert (task.worker_id, task.started_at) == (worker.pk, claimed.claimed_at)
    assert (claimed.payload, claimed.args, claimed.options) == ({"do": "return", "value": {"a": [1]}}, [], {})
    assert (claimed.priority, claimed.trace_id, claimed.actor, claimed.attempt) == (7, "t", "act", 1)


def test_a_hint_claims_once(worker) -> None:
    hint = dispatch(submit())
    claim(hint, worker)
    assert lifecycle.claim_many([hint], worker_id=worker.pk) == []
    assert Task.objects.get().attempt == 1


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_hint_of_another_hand_over_claims_nothing(worker, offset: int) -> None:
    hint = dispatch(submit())
    assert lifecycle.claim_many([Hint(hint.task_id, hint.dispatch + offset)], worker_id=worker.pk) == []


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
def test_only_a_queued_task_is_claimed(worker, status: Status) -> None:
    task = make_task(status)
    attempt = task.attempt
    assert lifecycle.claim_many([Hint(task.pk, task.dispatch)], worker_id=worker.pk) == []
    task.refresh_from_db()
    assert (task.status, task.attempt) == (status, attempt)


def test_a_forged_hint_claims_nothing(worker) -> None:
    assert lifecycle.claim_many([Hint(uuid4(), 1)], worker_id=worker.pk) == []
    assert lifecycle.claim_many([], worker_id=worker.pk) == []


def test_a_worker_whose_lease_is_over_claims_nothing(worker) -> None:
    hint = dispatch(submit())
    let_lease_run_out(worker)
    with pytest.raises(lifecycle.NotEntitled):
        lifecycle.claim_many([hint], worker_id=worker.pk)
    assert Task.objects.get().status == Status.QUEUED


def test_a_worker_that_is_gone_draining_or_unknown_claims_nothing(worker) -> None:
    hint = dispatch(submit())
    with pytest.raises(lifecycle.NotEntitled):
        lifecycle.claim_many([hint], worker_id=uuid4())
    for end in (lambda: workers.ask_to_drain([worker.pk]), lambda: workers.leave(worker.pk)):
        end()
        with pytest.raises(lifecycle.NotEntitled):
            lifecycle.claim_many([hint], worker_id=worker.pk)
    assert len(lifecycle.claim_many([hint], worker_id=make_worker().pk)) == 1


def test_a_task_past_its_age_limit_is_not_started(worker) -> None:
    task = submit(max_age_seconds=60)
    hint = dispatch(task)
    age(task, expires_at=timedelta(minutes=2))
    assert lifecycle.claim_many([hint], worker_id=worker.pk) == []


def test_a_batch_comes_highest_priority_first_and_skips_what_is_stale(worker, announcements) -> None:
    tasks = [submit(priority=priority) for priority in (2, 9, 5)]
    hints = [dispatch(task) for task in tasks]
    lifecycle.cancel(tasks[2].pk)
    with announcements() as heard:
        claimed = lifecycle.claim_many([*hints, Hint(uuid4(), 1)], worker_id=worker.pk)
    assert [one.id for one in claimed] == [tasks[1].pk, tasks[0].pk]
    assert [(one.verb, len(one.moves)) for one in heard] == [("claim", 2)]
