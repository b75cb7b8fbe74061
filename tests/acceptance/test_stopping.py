"""F4: SIGTERM once, twice, and with tasks that outlast the grace period."""

import time

import pytest

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F4"


def start(rig: Rig, *, threads: int = 2, grace: str = "2") -> Process:
    rig.start_scheduler()
    return rig.start_workers(threads=threads, env={"SHUTDOWN_GRACE_SECONDS": grace})


def test_sigterm_lets_running_tasks_finish_and_returns_the_rest_at_once(rig: Rig) -> None:
    workers = start(rig)
    running = rig.client.submit("await_cue", count=2, cue=rig.cue())
    rig.await_starts(running)
    waiting = rig.client.submit("effect", count=10)
    wait_until(lambda: rig.database.counts().get("QUEUED"), what="hints in the broker")
    workers.terminate()
    wait_until(
        lambda: {rig.database.task(task).status for task in waiting} <= {"PENDING", "QUEUED"}, what="none to be held"
    )
    rig.give_cue()
    assert workers.wait(5) == 0
    assert [rig.outcomes(task) for task in running] == [["SUCCEEDED"]] * 2
    rig.start_workers(threads=2)
    rig.verify(within=8)
    assert set(rig.effects().values()) == {1}


def test_a_task_that_outlasts_the_grace_is_interrupted_and_runs_again_without_a_failure(rig: Rig) -> None:
    workers = start(rig, grace="0.5")
    (task,) = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_event("START", task=task)
    workers.terminate()
    assert workers.wait(5) == 0
    assert rig.outcomes(task) == ["INTERRUPTED"]
    rig.give_cue()
    rig.start_workers(threads=1)
    rig.verify(within=8)
    assert rig.outcomes(task) == ["INTERRUPTED", "SUCCEEDED"]
    row = rig.database.task(task)
    assert (row.failures, row.crashes) == (0, 0)


@pytest.mark.slow
def test_a_task_that_ignores_interrupts_does_not_hold_up_the_end_and_runs_again(rig: Rig) -> None:
    workers = start(rig, grace="0.2")
    (task,) = rig.client.submit("resist", seconds=60)
    rig.await_event("START", task=task)
    began = time.monotonic()
    workers.terminate()
    assert workers.wait(20) == 0
    assert time.monotonic() - began < 10
    rig.start_workers(threads=1)
    rig.verify(within=8)
    assert rig.outcomes(task) == ["INTERRUPTED", "SUCCEEDED"]
    row = rig.database.task(task)
    assert (row.failures, row.crashes) == (0, 0)


def test_a_second_sigterm_kills_and_loses_nothing(rig: Rig) -> None:
    workers = start(rig, grace="60")
    running = rig.client.submit("await_cue", count=2, cue=rig.cue())
    rig.client.submit("effect", count=10)
    rig.await_starts(running)
    workers.terminate()
    wait_until(lambda: "stopping workers" in workers.log.read_text(), what="the stop to begin")
    workers.terminate()
    assert workers.wait(5) == 1
    rig.give_cue()
    rig.start_workers(threads=2)
    rig.verify(within=8)
    assert [rig.outcomes(task) for task in running] == [["INTERRUPTED", "SUCCEEDED"]] * 2
    assert {rig.database.task(task).crashes for task in running} == {0}, "an operator's kill blames nobody"
