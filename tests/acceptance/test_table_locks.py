"""F25: a migration or a VACUUM FULL locks a table for up to minutes. All processes wait, and none is ended."""

import time

import pytest

from tests.acceptance.harness.faults import locked
from tests.acceptance.harness.rig import CLOCKS, Rig
from tests.tiers import slow_except
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(480)

FAULT = "F25"
SHORT = 3 * float(CLOCKS["WORKER_LEASE_SECONDS"])
TASKS = 30


@pytest.mark.parametrize("table", slow_except("callboard_task", of=("callboard_task", "callboard_worker")))
@pytest.mark.parametrize("seconds", slow_except(SHORT, of=(SHORT, 20.0, 90.0, 300.0)))
def test_a_locked_table_ends_no_worker_and_repeats_nothing(rig: Rig, table: str, seconds: float) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=4)
    rig.await_workers(2)
    children = set(workers.children())
    # Without a limit, so that tasks may run for as long as the lock lasts.
    cue = {"cue": rig.cue(), "seconds": seconds + 60}
    running = rig.client.submit_all(
        [{"actor": "await_cue", "payload": cue, "priority": 10, "time_limit_seconds": 0}] * 2
    )
    rig.await_starts(running)
    others = rig.client.submit("last", count=TASKS, seconds=0.3)
    rig.await_effects(6)
    with locked(rig.database, table):
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > seconds, timeout=seconds + 10, what="the lock to last")
        assert set(workers.children()) == children, "a process that waits for a lock has ended"
        assert not [entry for task in running for entry in rig.ledger.of(task, "END")], "what ran was cut off"
    rig.give_cue()
    rig.verify(within=40)
    assert set(rig.effects().values()) == {1}
    assert set(rig.effects()) == {*running, *others}
    rows = rig.database.snapshot().tasks
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}
    assert set(rig.runs().values()) == {1}
    assert len(rig.database.workers()) == 2
