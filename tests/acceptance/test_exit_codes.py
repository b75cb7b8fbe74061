"""F22: a process ends in odd ways. What had started is blamed for it, whatever the exit code says; nobody else is."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

FAULT = "F22"
NEIGHBOURS = 40


def start(rig: Rig, *, threads: int = 1) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=threads)
    rig.await_workers(2)


def assert_died_as_crash_loop(rig: Rig, poison: str) -> None:
    assert rig.outcomes(poison) == ["CRASHED"] * 3
    row = rig.board.task(poison)
    assert (row.status, row.crashes, row.failures) == ("DEAD", 3, 0)
    assert [letter.reason for letter in rig.board.snapshot().letters] == ["crash_loop"]


@pytest.mark.parametrize("code", [77, *(pytest.param(code, marks=pytest.mark.slow) for code in (0, 1, 70, 75, 76))])
def test_a_task_that_ends_its_process_with_any_exit_code_dies_as_crash_loop(rig: Rig, code: int) -> None:
    start(rig)
    (poison,) = rig.client.submit("leave", code=code, priority=6)
    neighbours = rig.client.submit("effect", count=NEIGHBOURS, priority=5)
    rig.verify(within=20)
    assert_died_as_crash_loop(rig, poison)
    rows = {row.id: row for row in rig.board.snapshot().tasks}
    assert {(rows[one].status, rows[one].crashes, rows[one].attempt) for one in neighbours} == {("SUCCEEDED", 0, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 75])
def test_neighbours_of_a_task_that_ends_its_process_are_hit_once(rig: Rig, code: int) -> None:
    start(rig, threads=4)
    neighbours = rig.client.submit("last", count=6, seconds=1.5, priority=7)
    rig.await_starts(neighbours)
    (poison,) = rig.client.submit("leave", code=code, priority=6)
    rig.verify(within=60)
    assert_died_as_crash_loop(rig, poison)
    rows = {row.id: row for row in rig.board.snapshot().tasks}
    assert {rows[one].status for one in neighbours} == {"SUCCEEDED"}
    assert max(rows[one].crashes for one in neighbours) <= 1
    assert max(rows[one].attempt for one in neighbours) <= 2


@pytest.mark.slow
def test_a_task_that_stops_the_event_loop_dies_as_crash_loop(rig: Rig) -> None:
    start(rig, threads=2)
    (poison,) = rig.client.submit("stop_loop", priority=6)
    neighbours = rig.client.submit("last", count=NEIGHBOURS, seconds=0.05)
    rig.verify(within=60)
    row = rig.board.task(poison)
    assert row.status == "DEAD"
    assert row.attempt <= 8
    assert [letter.reason for letter in rig.board.snapshot().letters] == ["crash_loop"]
    rows = {row.id: row for row in rig.board.snapshot().tasks}
    assert {rows[one].status for one in neighbours} == {"SUCCEEDED"}
    assert max(rows[one].crashes for one in neighbours) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("actor", ["explode", "explode_async"])
@pytest.mark.parametrize("how", ["unprintable", "deadly", "exit", "keyboard", "alien", "generator", "stop"])
def test_a_task_that_raises_something_odd_fails_and_dies_and_its_process_goes_on(
    rig: Rig, how: str, actor: str
) -> None:
    start(rig)
    (poison,) = rig.client.submit(actor, how=how, priority=6)
    neighbours = rig.client.submit("effect", count=10, priority=5)
    wait_until(lambda: rig.board.task(poison).status == "DEAD", timeout=20, what=lambda: rig.board.task(poison))
    later = rig.client.submit("effect", count=10)
    rig.verify(within=10)
    assert len(rig.outcomes(poison)) <= 3
    assert {letter.reason for letter in rig.board.snapshot().letters} <= {"max_retries_exceeded", "crash_loop"}
    rows = {row.id: row for row in rig.board.snapshot().tasks}
    assert {(rows[one].status, rows[one].attempt) for one in [*neighbours, *later]} == {("SUCCEEDED", 1)}
