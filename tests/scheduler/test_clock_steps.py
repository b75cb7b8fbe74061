"""A database clock that steps: live workers keep their tasks, and dead ones are found within a lease."""

from typing import Any

import pytest

from tasks.db import clock as module
from tasks.lifecycle import workers
from tasks.models import Task, Worker
from tasks.scheduler import leadership
from tasks.scheduler.dispatcher import POLL_SECONDS, Dispatcher
from tasks.scheduler.leadership import Leadership
from tasks.scheduler.sweeper import Sweeper
from tasks.states import Status, WorkerStatus
from tests.factories import make_worker, start, submit
from tests.scheduler.stage import TIMED, Broker, Clocks, Leading

pytestmark = pytest.mark.django_db

STEPS = [60, 3600]


@pytest.fixture
def clocks(db, monkeypatch, settings) -> Clocks:
    settings.HEARTBEAT_INTERVAL_SECONDS = 5
    settings.WORKER_LEASE_SECONDS = 15
    settings.LEADER_LEASE_SECONDS = 10
    made = Clocks()
    for one in (module, leadership, *TIMED):
        monkeypatch.setattr(one, "time", made)
    return made


@pytest.fixture
def sweeper(clocks) -> Any:
    return Sweeper(Leading(), Broker())  # type: ignore[arg-type]


def running() -> tuple[Worker, Task]:
    worker, task = make_worker(), submit(time_limit_seconds=30)
    start(task, worker)
    return worker, task


def look(worker: Worker, task: Task) -> tuple[str, str]:
    worker.refresh_from_db()
    task.refresh_from_db()
    return worker.status, task.status


def test_the_pass_of_time_is_no_step(sweeper, clocks) -> None:
    worker, task = running()
    sweeper.step()
    clocks.go_on(20)
    sweeper.step()
    assert sweeper._clock.has_settled
    assert look(worker, task) == (WorkerStatus.GONE, Status.PENDING)


@pytest.mark.parametrize("seconds", STEPS)
def test_after_a_step_forward_live_workers_keep_their_tasks(sweeper, clocks, seconds: int) -> None:
    worker, task = running()
    sweeper.step()
    clocks.step(seconds)
    sweeper.step()
    assert look(worker, task) == (WorkerStatus.ALIVE, Status.RUNNING)
    workers.beat(worker.pk)
    clocks.go_on(6)
    sweeper.step()
    assert look(worker, task) == (WorkerStatus.ALIVE, Status.RUNNING)


def test_after_a_step_forward_silent_workers_are_gone_a_heartbeat_later(sweeper, clocks) -> None:
    worker, task = running()
    sweeper.step()
    clocks.step(3600)
    sweeper.step()
    clocks.go_on(6)
    sweeper.step()
    assert look(worker, task) == (WorkerStatus.GONE, Status.PENDING)


def test_a_step_between_reading_the_clock_and_the_declaration_declares_no_worker_gone(sweeper, clocks) -> None:
    worker, task = running()
    sweeper.step()
    look_at_clock = sweeper._clock.look

    def then_step() -> None:
        look_at_clock()
        clocks.step(3600)

    sweeper._clock.look = then_step
    sweeper.step()
    assert look(worker, task) == (WorkerStatus.ALIVE, Status.RUNNING)


def test_stuck_tasks_are_found_although_the_clock_stepped_meanwhile(sweeper, clocks, settings) -> None:
    settings.STUCK_AFTER_SECONDS = 10
    worker, task = running()
    sweeper.step()
    clocks.step(3600)
    sweeper.step()
    other, later = running()
    for seconds in (14, 14, 14):
        clocks.go_on(seconds)
        workers.beat(worker.pk)
        workers.beat(other.pk)
        sweeper.step()
    task.refresh_from_db()
    later.refresh_from_db()
    assert (task.status, later.status) == (Status.RETRYING, Status.RETRYING)


@pytest.mark.parametrize("seconds", STEPS)
def test_after_a_step_back_a_silent_worker_is_gone_a_lease_later(sweeper, clocks, seconds: int) -> None:
    worker, task = running()
    sweeper.step()
    clocks.step(-seconds)
    sweeper.step()
    assert look(worker, task) == (WorkerStatus.ALIVE, Status.RUNNING)
    clocks.go_on(16)
    sweeper.step()
    assert look(worker, task) == (WorkerStatus.GONE, Status.PENDING)


@pytest.mark.parametrize("seconds", STEPS)
def test_after_a_step_back_a_leader_that_died_is_followed_a_lease_later(clocks, seconds: int) -> None:
    dead, other = Leadership(), Leadership()
    dead.step()
    clocks.step(-seconds)
    terms = []
    for later in (0, 9, 2):
        clocks.go_on(later)
        other.step()
        terms.append(other.term)
    assert terms == [None, None, 2]
    dead.step()
    assert dead.term is None


def test_a_leader_that_lives_keeps_its_term_when_the_clock_steps_back(clocks) -> None:
    leader, other = Leadership(), Leadership()
    leader.step()
    clocks.step(-3600)
    for _ in range(10):
        other.step()
        clocks.go_on(2)
        leader.step()
    other.step()
    assert (leader.term, other.term) == (1, None)


@pytest.mark.parametrize("seconds", [-3600, -60, 60, 3600])
def test_a_task_submitted_after_a_step_starts_within_a_second(clocks, seconds: int) -> None:
    loop: Any = Dispatcher(Leading(), Broker())  # type: ignore[arg-type]
    worker = make_worker()
    submit()
    loop.step()
    # As if reading from the front were slow: the cursors are good for half a minute.
    loop._cursors.front_took(1.0)
    clocks.step(seconds)
    workers.beat(worker.pk)
    task = submit()
    for _ in range(2):
        loop.wake(from_front=False)
        loop.step()
        clocks.go_on(POLL_SECONDS)
    task.refresh_from_db()
    assert task.status == Status.QUEUED
