"""A poison task takes its worker along each time: it dies, its neighbours do not."""

import pytest

from tests.acceptance.harness.rig import Rig

pytestmark = pytest.mark.slow

FAULT = "F13"

NEIGHBOURS = 100


@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_a_task_that_crashes_its_worker_dies_as_crash_loop_and_its_neighbours_succeed(rig: Rig, how: str) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=1)
    # Fast tasks come first, so that the worker claims ahead: those behind the poison are claimed and not started.
    neighbours = rig.client.submit("effect", count=NEIGHBOURS, priority=7)
    (poison,) = rig.client.submit("crash", how=how, priority=6)
    neighbours += rig.client.submit("effect", count=NEIGHBOURS, priority=5)
    rig.verify(within=20)
    assert rig.outcomes(poison) == ["CRASHED"] * 3
    row = rig.database.task(poison)
    assert (row.status, row.crashes, row.failures) == ("DEAD", 3, 0)
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["crash_loop"]
    rows = [task for task in rig.database.snapshot().tasks if task.id != poison]
    assert len(rows) == len(neighbours)
    assert {(task.status, task.crashes) for task in rows} == {("SUCCEEDED", 0)}


@pytest.mark.slow
def test_a_task_that_was_re_driven_after_a_crash_loop_may_crash_as_often_again(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=1)
    (poison,) = rig.client.submit("crash", how="exit")
    rig.settle(20)
    rig.client.retry(poison)
    rig.verify(within=20)
    assert rig.outcomes(poison) == ["CRASHED"] * 6


def test_neighbours_that_ran_beside_a_poison_each_time_succeed_in_the_end(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=1, threads=4)
    neighbours = rig.client.submit("last", count=3, seconds=1.5, priority=7)
    (poison,) = rig.client.submit("crash", how="exit", priority=6)
    rig.verify(within=30)
    assert rig.database.task(poison).status == "DEAD"
    for neighbour in neighbours:
        row = rig.database.task(neighbour)
        # Two crashes may hit all of them; then each runs alone, because one more would kill it.
        assert (row.status, row.crashes in {1, 2}) == ("SUCCEEDED", True)
