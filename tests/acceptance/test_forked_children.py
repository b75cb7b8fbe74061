"""F28: processes that an actor forks are no workers."""

import pytest

from tests.acceptance.harness.processes import is_alive
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F28"


def start(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.await_workers()


@pytest.mark.slow
def test_an_actor_can_terminate_a_process_that_it_started(rig: Rig) -> None:
    start(rig)
    (task,) = rig.client.submit("multiprocess")
    rig.verify(within=15)
    assert rig.outcomes(task) == ["SUCCEEDED"], rig.database.task(task).error
    assert [entry.note for entry in rig.ledger.of(task, "EFFECT")] == ["-15"]


@pytest.mark.slow
def test_a_forked_child_that_returns_from_the_actor_leaves_no_second_worker(rig: Rig) -> None:
    start(rig)
    tasks = rig.client.submit("fork", count=3)
    rig.await_effects(3)
    for task in tasks:
        rig.await_event("CHILD", task=task)
    children = [entry.pid for task in tasks for entry in rig.ledger.of(task, "CHILD")]
    wait_until(lambda: not any(map(is_alive, children)), timeout=5, what=f"the forked children {children} to end")
    later = rig.client.submit("effect", count=20)
    rig.verify(within=10)
    assert [rig.outcomes(task) for task in tasks] == [["SUCCEEDED"]] * 3
    assert not {entry.pid for task in later for entry in rig.ledger.of(task, "START")} & set(children)


@pytest.mark.slow
def test_forked_children_that_stay_do_not_keep_their_worker_from_its_end(rig: Rig) -> None:
    start(rig)
    workers = rig.processes[1]
    rig.client.submit("multiprocess")
    rig.client.submit("effect", count=5)
    rig.settle(15)
    workers.terminate()
    assert workers.wait(8) == 0
    assert not workers.living()
    rig.verify(within=5)
