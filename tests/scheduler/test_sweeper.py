"""The sweeper: which tasks it moves on, and which it leaves alone."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from tasks import lifecycle
from tasks.conf import conf
from tasks.hint import Hint
from tasks.lifecycle import workers
from tasks.models import Attempt, Task, Term, Worker
from tasks.scheduler import sweeper as module
from tasks.scheduler.sweeper import Sweeper
from tasks.states import Status, WorkerStatus
from tests.factories import (
    age,
    dispatch,
    dispatch_due,
    let_lease_run_out,
    make_task,
    make_worker,
    start,
    submit,
)
from tests.scheduler.stage import Broker, Leading

pytestmark = pytest.mark.django_db


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sweeper(db, broker) -> Any:
    return Sweeper(Leading(), broker)  # type: ignore[arg-type]


def status(task: Task) -> str:
    task.refresh_from_db()
    return task.status


def queued(seconds_ago: float, **fields: Any) -> Task:
    """Make a QUEUED task; its hint is lost unless the test keeps it."""
    task = make_task(Status.QUEUED, **fields)
    age(task, queued_at=timedelta(seconds=seconds_ago))
    return task


def everything_to_do() -> list[Task]:
    """Make one case for each duty."""
    gone, stuck_worker = make_worker(), make_worker()
    lost, stuck, old = submit(), submit(time_limit_seconds=1), submit(max_age_seconds=1000)
    start(lost, gone)
    let_lease_run_out(gone)
    start(stuck, stuck_worker)
    age(stuck, started_at=timedelta(days=1))
    age(old, expires_at=timedelta(days=1))
    return [lost, stuck, old, queued(60)]


DONE = [Status.PENDING, Status.RETRYING, Status.DEAD, Status.PENDING]
UNDONE = [Status.RUNNING, Status.RUNNING, Status.PENDING, Status.QUEUED]


def test_one_sweep_does_it_all(sweeper) -> None:
    tasks = everything_to_do()
    sweeper.step()
    assert [status(task) for task in tasks] == DONE


def test_a_follower_does_nothing(sweeper, broker, django_assert_num_queries) -> None:
    tasks = everything_to_do()
    sweeper._leadership.term = None
    with django_assert_num_queries(0):
        assert sweeper.step() == conf.SWEEP_INTERVAL_SECONDS
    assert [status(task) for task in tasks] == UNDONE


def test_a_deposed_leader_that_does_not_know_it_changes_nothing(sweeper) -> None:
    tasks = everything_to_do()
    Term.objects.update(term=sweeper._leadership.term + 1)
    sweeper.step()
    assert [status(task) for task in tasks] == UNDONE
    assert set(Worker.objects.values_list("status", flat=True)) == {WorkerStatus.ALIVE}


# --- Workers and their tasks ---


def test_the_heartbeat_decides_and_never_age_alone(sweeper) -> None:
    task, worker = submit(time_limit_seconds=0), make_worker()
    start(task, worker)
    age(task, started_at=timedelta(days=30))
    sweeper.step()
    assert status(task) == Status.RUNNING
    let_lease_run_out(worker)
    sweeper.step()
    assert status(task) == Status.PENDING


def test_a_silent_worker_is_believed_until_a_fresh_leader_has_heard_everybody(sweeper) -> None:
    task, worker = submit(), make_worker()
    start(task, worker)
    let_lease_run_out(worker)
    sweeper._leadership.has_settled = False
    sweeper.step()
    assert status(task) == Status.RUNNING
    assert workers.beat(worker.pk).is_present
    sweeper._leadership.has_settled = True
    sweeper.step()
    assert status(task) == Status.RUNNING


def test_a_worker_that_is_known_to_be_gone_needs_no_settled_leader(sweeper) -> None:
    task, worker = submit(), make_worker()
    start(task, worker)
    workers.report_end(worker.pk, kind="crashed", detail="killed", records=[])
    sweeper._leadership.has_settled = False
    sweeper.step()
    assert status(task) == Status.PENDING


def test_a_worker_that_cannot_let_go_of_a_stuck_task_is_asked_to_end_and_others_are_not(sweeper) -> None:
    stuck, fine = make_worker(), make_worker()
    task, honest = submit(time_limit_seconds=1, max_retries=0), submit(time_limit_seconds=0)
    start(task, stuck)
    start(honest, fine)
    for one in (task, honest):
        age(one, started_at=timedelta(days=1))
    sweeper.step()
    assert (status(task), status(honest)) == (Status.DEAD, Status.RUNNING)
    assert workers.beat(stuck.pk).is_draining
    assert not workers.beat(fine.pk).is_draining
    assert Attempt.objects.get().task_id == task.pk


def test_a_full_batch_means_that_there_is_more(sweeper, monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    worker = make_worker()
    for _ in range(2):
        start(submit(), worker)
    workers.leave(worker.pk)
    assert sweeper.step() == 0
    assert sweeper.step() == conf.SWEEP_INTERVAL_SECONDS


# --- Lost hints ---


def test_a_hint_that_waits_in_the_broker_is_left_however_long(sweeper, broker) -> None:
    waits, lost = queued(86_400), queued(60)
    broker.queues["default.medium"] = [Hint(waits.pk, 1)]
    sweeper.step()
    assert (status(waits), status(lost)) == (Status.QUEUED, Status.PENDING)


def test_a_hint_of_an_older_hand_over_does_not_hide_that_the_newest_is_lost(sweeper, broker, lead) -> None:
    task = submit()
    old = dispatch(task)
    broker.queues["default.medium"] = [old]
    lifecycle.requeue_many([old], **lead)
    dispatch(task)
    age(task, queued_at=timedelta(minutes=1))
    sweeper.step()
    assert (status(task), task.dispatch) == (Status.PENDING, 2)


def test_a_hint_has_its_grace_and_under_a_fresh_leader_a_shorter_one(sweeper, settings) -> None:
    settings.HINT_GRACE_SECONDS = 100
    early = queued(50)
    sweeper.step()
    assert status(early) == Status.PENDING
    later, late = queued(50), queued(150)
    sweeper.step()
    assert (status(later), status(late)) == (Status.QUEUED, Status.PENDING)
    Term.objects.update(term=sweeper._leadership.term + 1)
    sweeper._leadership.term += 1
    sweeper.step()
    assert status(later) == Status.PENDING


def test_even_a_fresh_leader_leaves_a_hint_that_may_be_on_its_way(sweeper, settings) -> None:
    settings.HINT_GRACE_SECONDS = 100
    just_now = make_task(Status.QUEUED)
    age(just_now, queued_at=-timedelta(hours=1))
    sweeper.step()
    assert status(just_now) == Status.QUEUED


def test_hints_that_rightly_wait_do_not_hide_lost_ones_behind_them(sweeper, broker, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_QUEUED", 2)
    waiting = [queued(500 - number) for number in range(4)]
    lost = queued(60)
    broker.queues["default.medium"] = [Hint(task.pk, 1) for task in waiting]
    for _ in range(3):
        sweeper.step()
    assert status(lost) == Status.PENDING


def test_a_lost_hint_among_many_of_one_moment_is_found(sweeper, broker, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_QUEUED", 2)
    for _ in range(5):
        submit()
    hints = dispatch_due()
    assert len(set(Task.objects.values_list("queued_at", flat=True))) == 1
    for task in Task.objects.all():
        age(task, queued_at=timedelta(minutes=1))
    *broker.queues["default.medium"], lost = hints
    for _ in range(3):
        sweeper.step()
    assert Task.objects.get(pk=lost.task_id).status == Status.PENDING


def test_after_the_last_it_begins_again_with_the_first(sweeper, broker, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_QUEUED", 2)
    tasks = [queued(500 - number) for number in range(3)]
    broker.queues["default.medium"] = [Hint(task.pk, 1) for task in tasks]
    for _ in range(2):
        sweeper.step()
    broker.clear()
    for _ in range(2):
        sweeper.step()
    assert [status(task) for task in tasks] == [Status.PENDING] * 3


# --- Duties that fail ---


@pytest.mark.parametrize("error", [OperationalError("away"), ValueError("what nobody thought of")])
@pytest.mark.parametrize("broken", ["rescue_lost", "rescue_stuck", "expire_many", "requeue_many"])
def test_a_duty_that_fails_keeps_no_other_from_being_done(
    transactional_db, sweeper, monkeypatch, broken: str, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    tasks = everything_to_do()
    monkeypatch.setattr(lifecycle, broken, fail)
    sweeper.step()
    place = ["rescue_lost", "rescue_stuck", "expire_many", "requeue_many"].index(broken)
    expected = [UNDONE[n] if n == place else DONE[n] for n in range(4)]
    assert [status(task) for task in tasks] == expected


def test_a_broker_that_is_away_keeps_nothing_else_from_being_done(transactional_db, sweeper, broker) -> None:
    tasks = everything_to_do()
    broker.is_away = True
    sweeper.step()
    assert [status(task) for task in tasks] == [*DONE[:3], Status.QUEUED]


# --- Leftovers ---


def test_leftovers_of_silent_processes_are_removed_from_the_broker_now_and_then(sweeper, broker, monkeypatch) -> None:
    clock = SimpleNamespace(now=sweeper._cleaned_at)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(module, "time", clock)
    present, gone = make_worker(), make_worker()
    workers.leave(gone.pk)
    sweeper.step()
    assert broker.cleaned == []
    # A little more, as the sum is rounded.
    clock.now += module.CLEANING_SECONDS + 0.001
    sweeper.step()
    sweeper.step()
    assert broker.cleaned == [{str(present.pk)}]
