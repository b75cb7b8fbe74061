"""F24: another session locks the rows of running tasks until they would count as stuck, or their worker has to end."""

import time

import pytest

from tests.acceptance.harness.faults import locked_rows
from tests.acceptance.harness.rig import CLOCKS, Rig
from tests.waiting import wait_until

FAULT = "F24"
NEIGHBOURS = 200
LIMIT_SECONDS = 1.0
#: Longer than the time limit plus STUCK_AFTER_SECONDS.
LOCKED_SECONDS = LIMIT_SECONDS + float(CLOCKS["STUCK_AFTER_SECONDS"]) + 2


def submit(rig: Rig, count: int, seconds: float, priority: int) -> list[str]:
    one = {"actor": "last", "payload": {"seconds": seconds}, "time_limit_seconds": LIMIT_SECONDS, "priority": priority}
    return rig.client.submit_all([one] * count)


def count_of(rig: Rig, tasks: list[str], status: str) -> int:
    statement = "SELECT count(*) FROM callboard_task WHERE id = ANY(%s::uuid[]) AND status = %s"
    ((count,),) = rig.database.query(statement, [tasks, status])
    return int(count)


@pytest.mark.parametrize("locked", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_locked_row_waits_alone_and_all_others_are_written(rig: Rig, locked: int) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=4)
    rig.await_workers()
    held = submit(rig, locked, seconds=0.5, priority=10)
    rig.await_starts(held)
    with locked_rows(rig.database, held):
        began = time.monotonic()
        assert count_of(rig, held, "RUNNING") == locked
        others = submit(rig, NEIGHBOURS, seconds=0.02, priority=5)
        wait_until(
            lambda: count_of(rig, others, "SUCCEEDED") == NEIGHBOURS,
            timeout=LOCKED_SECONDS + 10,
            interval=0.1,
            what=lambda: f"the others to be written; tasks are {rig.database.counts()}",
        )
        wait_until(lambda: time.monotonic() - began > LOCKED_SECONDS, timeout=20, what="the lock to last")
        assert count_of(rig, held, "RUNNING") == locked
    rig.verify(within=10)
    rows = rig.database.snapshot().tasks
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}
    assert set(rig.runs().values()) == {1}
    assert set(rig.effects().values()) == {1}
    assert len(rig.database.workers()) == 1


@pytest.mark.slow
def test_outcomes_that_wait_for_a_row_lock_survive_an_orderly_end(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=4)
    rig.await_workers()
    held = submit(rig, 1, seconds=0.3, priority=10)
    rig.await_starts(held)
    with locked_rows(rig.database, held):
        # Its outcome waits for the lock before the outcomes of other tasks come.
        rig.await_event("END", task=held[0])
        others = submit(rig, 20, seconds=0.02, priority=5)
        rig.await_effects(len(others) + 1)
        workers.terminate()
        assert workers.wait(15) == 0
        assert count_of(rig, others, "SUCCEEDED") == len(others)
    rig.start_workers(threads=2)
    rig.await_workers()
    rig.verify(within=20)
    assert {row.failures for row in rig.database.snapshot().tasks} == {0}
    assert {rig.effects()[task] for task in others} == {1}


@pytest.mark.slow
def test_an_end_waits_longer_than_a_lease_for_a_locked_outcome(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(threads=4)
    rig.await_workers()
    held = submit(rig, 3, seconds=0.1, priority=10)
    rig.await_starts(held)
    with locked_rows(rig.database, held):
        rig.await_effects(len(held))
        workers.terminate()
        time.sleep(2 * float(CLOCKS["WORKER_LEASE_SECONDS"]))
    assert workers.wait(15) == 0
    assert count_of(rig, held, "SUCCEEDED") == len(held)
    assert set(rig.runs().values()) == {1}
    rig.verify(within=10)
