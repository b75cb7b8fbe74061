"""F22: processes that end with odd exit codes. The tasks that had started are blamed, and no others."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.tiers import slow_except
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
    row = rig.database.task(poison)
    assert (row.status, row.crashes, row.failures) == ("DEAD", 3, 0)
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["crash_loop"]


@pytest.mark.parametrize("code", slow_except(77, of=(0, 1, 70, 75, 76, 77)))
def test_a_task_that_ends_its_process_with_any_exit_code_dies_as_crash_loop(rig: Rig, code: int) -> None:
    start(rig)
    (poison,) = rig.client.submit("leave", code=code, priority=6)
    neighbours = rig.client.submit("effect", count=NEIGHBOURS, priority=5)
    rig.verify(within=20)
    assert_died_as_crash_loop(rig, poison)
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {(rows[one].status, rows[one].crashes) for one in neighbours} == {("SUCCEEDED", 0)}
    # At the first crash, an outcome that was not written yet is lost with the process, so its task runs again. Before
    # a task that has seen a crash starts, the outcomes of ended runs are written.
    runs = rig.runs()
    assert max(runs[one] for one in neighbours) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("code", [0, 75])
def test_neighbours_of_a_task_that_ends_its_process_survive_it(rig: Rig, code: int) -> None:
    start(rig, threads=4)
    neighbours = rig.client.submit("last", count=6, seconds=1.5, priority=7)
    rig.await_starts(neighbours)
    (poison,) = rig.client.submit("leave", code=code, priority=6)
    rig.verify(within=60)
    assert_died_as_crash_loop(rig, poison)
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {rows[one].status for one in neighbours} == {"SUCCEEDED"}
    # The poison crashes two processes before it is quarantined; after the second, so are its neighbours.
    assert max(rows[one].crashes for one in neighbours) <= 2
    runs = rig.runs()
    assert max(runs[one] for one in neighbours) <= 3, [rig.outcomes(one) for one in neighbours]


@pytest.mark.slow
def test_a_task_that_stops_the_event_loop_dies_as_crash_loop(rig: Rig) -> None:
    start(rig, threads=2)
    (poison,) = rig.client.submit("stop_loop", priority=6)
    neighbours = rig.client.submit("last", count=NEIGHBOURS, seconds=0.05)
    rig.verify(within=60)
    row = rig.database.task(poison)
    assert row.status == "DEAD"
    assert len(rig.outcomes(poison)) <= 8
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["crash_loop"]
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {rows[one].status for one in neighbours} == {"SUCCEEDED"}
    assert max(rows[one].crashes for one in neighbours) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("actor", ["explode", "explode_async"])
def test_tasks_that_raise_something_odd_fail_and_die_and_their_process_goes_on(rig: Rig, actor: str) -> None:
    start(rig)
    raised = ("unprintable", "deadly", "exit", "keyboard", "alien", "generator", "stop")
    poisons = {rig.client.submit(actor, how=how, priority=6)[0]: how for how in raised}
    neighbours = rig.client.submit("effect", count=10, priority=5)
    wait_until(
        lambda: rig.database.counts().get("DEAD") == len(poisons),
        timeout=40,
        what=lambda: {poisons[row.id]: row.status for row in rig.database.snapshot().tasks if row.id in poisons},
    )
    later = rig.client.submit("effect", count=10)
    rig.verify(within=10)
    assert {how: len(rig.outcomes(task)) for task, how in poisons.items()} == dict.fromkeys(raised, 2)
    assert {letter.reason for letter in rig.database.snapshot().letters} == {"max_retries_exceeded"}
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {rows[one].status for one in [*neighbours, *later]} == {"SUCCEEDED"}
    runs = rig.runs()
    assert {runs[one] for one in [*neighbours, *later]} == {1}
    assert len(rig.database.workers()) == 2
