"""F1: kill -9 of worker processes, of their supervisor, and of both."""

import pytest

from tests.acceptance.harness.processes import is_alive, kill
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F1"


def test_a_killed_worker_process_is_replaced_at_once_and_what_it_ran_runs_again(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=2)
    running = rig.client.submit("await_cue", count=2, priority=10, cue=rig.cue())
    rig.await_starts(running)
    waiting = rig.client.submit("effect", count=10)
    (victim,) = workers.children()
    kill(victim)
    rig.give_cue()
    rig.verify(within=8)
    assert [rig.outcomes(task) for task in running] == [["CRASHED", "SUCCEEDED"]] * 2
    assert [rig.outcomes(task) for task in waiting] == [["SUCCEEDED"]] * 10
    assert {rig.database.task(task).crashes for task in waiting} == {0}


@pytest.mark.slow
def test_workers_end_when_their_supervisor_is_killed_and_no_orphan_goes_on_taking(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=1)
    running = rig.client.submit("last", count=2, seconds=0.5)
    rig.await_starts(running)
    children = workers.children()
    assert len(children) == 2
    workers.kill()
    wait_until(lambda: not any(map(is_alive, children)), timeout=6, what="the orphans to end by themselves")
    # They had their grace period, so running tasks are done and nothing was lost.
    assert [rig.outcomes(task) for task in running] == [["SUCCEEDED"]] * 2
    later = rig.client.submit("effect", count=5)
    rig.start_workers(threads=2)
    rig.verify(within=10)
    assert not {entry.pid for task in later for entry in rig.ledger.of(task, "START")} & set(children)


@pytest.mark.slow
def test_supervisor_and_workers_killed_together_cost_one_lease(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=1, threads=2)
    running = rig.client.submit("await_cue", count=2, cue=rig.cue())
    rig.await_starts(running)
    (child,) = workers.children()
    workers.kill()
    kill(child)
    rig.give_cue()
    rig.start_workers(threads=2)
    rig.verify(within=10)
    assert [rig.outcomes(task) for task in running] == [["LOST", "SUCCEEDED"]] * 2
    assert {rig.database.task(task).crashes for task in running} == {0}, (
        "nobody saw what happened, so nobody is to blame"
    )


def test_a_killed_scheduler_is_replaced_by_the_standby(rig: Rig) -> None:
    leader = rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.client.submit("last", count=10, seconds=0.05)
    rig.await_effects(1)
    rig.start_scheduler()
    leader.kill()
    rig.client.submit("last", count=10, seconds=0.05)
    rig.verify(within=10)
    assert set(rig.effects().values()) == {1}


@pytest.mark.slow
def test_scheduler_and_workers_in_one_process_are_killed_and_started_again(rig_in_process: Rig) -> None:
    rig = rig_in_process
    one = rig.start_scheduler("--with-workers", "--threads", "2")
    running = rig.client.submit("await_cue", count=2, priority=10, cue=rig.cue())
    rig.await_starts(running)
    rig.client.submit("effect", count=10)
    one.kill()
    rig.give_cue()
    rig.start_scheduler("--with-workers", "--threads", "2")
    rig.verify(within=10)
    assert [rig.outcomes(task) for task in running] == [["LOST", "SUCCEEDED"]] * 2
