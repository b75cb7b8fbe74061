"""An actor's own writes commit with its task's success: exactly once, whatever is killed or stands still."""

import pytest

from tests.acceptance.harness.processes import is_alive, pause, resume
from tests.acceptance.harness.rig import Rig
from tests.acceptance.test_paused_worker import worker_of
from tests.tiers import slow_except
from tests.waiting import wait_until

TASKS = 12


@pytest.fixture
def booking(rig: Rig) -> Rig:
    rig.database.query("CREATE TABLE booking (task uuid)")
    rig.start_scheduler()
    return rig


def assert_booked_once(rig: Rig, tasks: list[str]) -> None:
    booked = [task for (task,) in rig.database.query("SELECT task::text FROM booking")]
    assert sorted(booked) == sorted(tasks)
    assert {row.status for row in rig.database.snapshot().tasks} == {"SUCCEEDED"}


@pytest.mark.parametrize(
    "name", slow_except("after_own_commit", of=("before_effect", "before_own_commit", "after_own_commit"))
)
@pytest.mark.parametrize("action", slow_except("kill", of=("kill", "error")))
def test_rows_are_written_once_when_a_worker_is_hit_at(booking: Rig, name: str, action: str) -> None:
    booking.start_workers(threads=2, env=booking.arm(f"{name}:{action}"))
    tasks = booking.client.submit("book", count=TASKS)
    wait_until(lambda: booking.was_hit, timeout=15, what=f"{name} to be reached")
    booking.verify(within=10)
    assert_booked_once(booking, tasks)


@pytest.mark.slow
def test_rows_of_a_worker_that_stood_still_past_its_lease_are_rolled_back(booking: Rig) -> None:
    workers = booking.start_workers(processes=2, threads=1, env=booking.arm("before_effect:stop"))
    (task,) = booking.client.submit("book")
    booking.await_event("START", task=task, attempt=2)
    # Otherwise it would kill the process that stands still, because other workers have its tasks.
    pause(workers.pid)
    booking.settle(10)
    late = worker_of(booking, task, 1)
    resume(late)
    wait_until(lambda: not is_alive(late), what="the late worker to end")
    resume(workers.pid)
    wait_until(lambda: "its worker lost its lease" in workers.log.read_text(), what="the supervisor to notice")
    booking.verify(within=8)
    assert_booked_once(booking, [task])
    assert booking.outcomes(task) == ["LOST", "SUCCEEDED"]
