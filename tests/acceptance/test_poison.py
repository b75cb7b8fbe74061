"""F13: tasks that no interrupt stops: out of memory, killed by the kernel, or in a loop that keeps the interpreter."""

import pytest

from tests.acceptance.harness.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FAULT = "F13"
NEIGHBOURS = 60


def start(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)


def assert_neighbours_succeeded(rig: Rig, neighbours: list[str]) -> None:
    rows = [row for row in rig.database.snapshot().tasks if row.id in neighbours]
    assert len(rows) == len(neighbours)
    assert {row.status for row in rows} == {"SUCCEEDED"}


def test_a_task_that_is_killed_with_its_process_dies_as_crash_loop(rig: Rig) -> None:
    start(rig)
    (poison,) = rig.client.submit("crash", how="kill", priority=6)
    neighbours = rig.client.submit("last", count=NEIGHBOURS, seconds=0.05)
    rig.verify(within=60)
    assert rig.outcomes(poison) == ["CRASHED"] * 3
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["crash_loop"]
    assert_neighbours_succeeded(rig, neighbours)


def test_a_task_that_wants_too_much_memory_fails_and_nothing_else_does(rig: Rig) -> None:
    start(rig)
    (poison,) = rig.client.submit("devour", priority=6)
    neighbours = rig.client.submit("last", count=NEIGHBOURS, seconds=0.05)
    rig.verify(within=60)
    assert [(row.outcome, row.error_type) for row in rig.database.attempts(poison)] == [("FAILED", "MemoryError")] * 2
    assert rig.effects() == dict.fromkeys(neighbours, 1)
    assert {row.crashes for row in rig.database.snapshot().tasks} == {0}


def test_a_task_that_keeps_the_interpreter_dies_as_crash_loop_and_the_others_run(rig: Rig) -> None:
    start(rig)
    (poison,) = rig.client.submit("spin", priority=6)
    rig.await_starts([poison])
    neighbours = rig.client.submit("last", count=NEIGHBOURS, seconds=0.05)
    rig.verify(within=90)
    # On a busy machine a lease may run out before the supervisor acts; that blames no task.
    assert rig.outcomes(poison).count("CRASHED") == 3
    assert set(rig.outcomes(poison)) <= {"CRASHED", "LOST"}
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["crash_loop"]
    assert_neighbours_succeeded(rig, neighbours)
