"""Loops, steps, sleeps and waits go on where they stood, whatever is killed."""

import pytest

from tests.acceptance.harness.processes import kill
from tests.acceptance.harness.rig import Rig
from tests.acceptance.test_paused_worker import worker_of
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ITEMS, KILLS = 80, 6


@pytest.fixture
def board(rig: Rig) -> Rig:
    rig.database.query("CREATE TABLE item (task uuid, number integer)")
    # The sweeper counts the crashes.
    rig.start_scheduler(env={"CRASH_LIMIT": "10"})
    return rig


def items(rig: Rig) -> list[int]:
    return [number for (number,) in rig.database.query("SELECT number FROM item ORDER BY number")]


def await_items(rig: Rig, count: int) -> None:
    wait_until(lambda: len(items(rig)) >= count, timeout=60, what=f"{count} items")


@pytest.mark.timeout(240)
def test_an_import_whose_worker_is_killed_six_times_writes_each_item_once(board: Rig) -> None:
    board.start_workers(processes=2, threads=1)
    (task,) = board.client.submit("import_items", last=ITEMS, seconds=0.03)
    for number in range(1, KILLS + 1):
        done = len(items(board))
        await_items(board, done + 5)
        kill(worker_of(board, task, number))
        # The supervisor waits longer after each crash.
        board.await_event("START", task=task, attempt=number + 1, timeout=60)
    board.verify(within=30, crash_limit=10)
    assert items(board) == list(range(1, ITEMS + 1))
    assert board.outcomes(task) == ["CRASHED"] * KILLS + ["SUCCEEDED"]


@pytest.mark.parametrize("action", ["kill", "error"])
def test_a_step_in_a_transaction_writes_once_when_its_worker_is_hit_before_it_is_kept(board: Rig, action: str) -> None:
    board.start_workers(threads=1, env=board.arm(f"before_step:{action}"))
    (task,) = board.client.submit("in_steps")
    wait_until(lambda: board.was_hit, timeout=15, what="the step")
    wait_until(lambda: len(board.outcomes(task)) >= 2, timeout=15, what="the sleep")
    board.manage("callboard", "tasks", "signal", task, "go")
    board.verify(within=15)
    assert items(board) == [1, 2]
