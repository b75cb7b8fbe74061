"""Workers that are asked to drain, or reach their limits, are replaced; no task is lost or fails."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def assert_nothing_failed(rig: Rig) -> None:
    tasks = rig.database.snapshot().tasks
    assert {(task.status, task.failures, task.crashes) for task in tasks} == {("SUCCEEDED", 0, 0)}
    # No started task was interrupted; tasks that waited for a thread may have been put back and claimed again.
    assert rig.database.query("SELECT DISTINCT outcome FROM callboard_attempt") == [("SUCCEEDED",)]
    assert sorted(rig.effects().values()) == [1] * len(tasks)


def test_a_process_that_has_run_enough_tasks_finishes_what_it_runs_while_another_goes_on(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=2, env={"WORKER_MAX_TASKS": "5", "SHUTDOWN_GRACE_SECONDS": "0.2"})
    (long,) = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_starts([long])
    first = rig.database.workers()[0].id
    done = 0

    def has_third_worker_after_more_tasks() -> bool:
        nonlocal done
        rig.client.submit("last", count=5, seconds=0.03)
        done += 5
        rig.await_effects(done, timeout=30)
        return len(rig.database.workers()) > 2

    wait_until(has_third_worker_after_more_tasks, timeout=60, what="a third process")
    assert [row.status for row in rig.database.workers() if row.id == first] == ["DRAINING"]
    rig.give_cue()
    rig.verify(within=10)
    assert_nothing_failed(rig)
    assert "worker process has retired" in workers.log.read_text()
    assert "takes its place" not in workers.log.read_text()


def test_a_worker_that_is_asked_to_drain_ends_after_what_it_runs_and_another_takes_its_place(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=1)
    (long,) = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_starts([long])
    rig.database.query("UPDATE callboard_worker SET status = 'DRAINING'")
    rig.client.submit("effect", count=3)
    rig.await_effects(3)
    assert rig.database.task(long).status == "RUNNING"
    rig.give_cue()
    wait_until(lambda: "GONE" in {row.status for row in rig.database.workers()}, what="the drained worker to leave")
    rig.verify(within=8)
    assert_nothing_failed(rig)


def test_a_process_that_has_grown_too_large_is_replaced(rig: Rig) -> None:
    # Every process is larger than that.
    rig.start_scheduler()
    rig.start_workers(threads=1, env={"WORKER_MAX_MEMORY_MB": "10"})
    rig.client.submit("last", count=10, seconds=0.1)
    wait_until(lambda: len(rig.database.workers()) > 1, timeout=30, what="a successor")
    rig.verify(within=30)
    assert_nothing_failed(rig)
