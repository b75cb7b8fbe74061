"""F26: a draining worker gives hints back, so that other workers start their tasks at once."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FAULT = "F26"
#: As in production: a lost hint delays its task by this grace.
CLOCKS = {"HINT_GRACE_SECONDS": "10", "HEARTBEAT_INTERVAL_SECONDS": "1", "WORKER_LEASE_SECONDS": "5"}
MOST_DELAY_SECONDS = 4.0


def assert_all_started_soon(rig: Rig, tasks: list[str]) -> None:
    late = [round(delay, 1) for delay in rig.start_delays(tasks) if delay > MOST_DELAY_SECONDS]
    assert not late, f"{len(late)} of {len(tasks)} tasks started late, after up to {max(late)} s"
    assert set(rig.runs().values()) == {1}
    assert {(row.status, row.failures) for row in rig.database.snapshot().tasks} == {("SUCCEEDED", 0)}


def test_tasks_that_come_while_a_worker_drains_start_at_once(rig: Rig) -> None:
    rig.start_scheduler(env=CLOCKS)
    rig.start_workers(threads=2, env=CLOCKS)
    rig.start_workers(threads=2, env=CLOCKS)
    rig.await_workers(2)
    tasks: list[str] = []
    for _ in range(3):
        tasks += rig.client.submit("last", count=5, seconds=0.01)
        rig.database.query(
            "UPDATE callboard_worker SET status = 'DRAINING'"
            " WHERE id = (SELECT id FROM callboard_worker WHERE status = 'ALIVE' ORDER BY id LIMIT 1)"
        )
        for _ in range(60):
            tasks += rig.client.submit("last", count=2, seconds=0.01)
            rig.await_effects(len(tasks) - 20, timeout=20)
        wait_until(
            lambda: [row.status for row in rig.database.present_workers()].count("ALIVE") == 2,
            timeout=20,
            what="another worker in the place of the drained one",
        )
    rig.verify(within=30)
    assert_all_started_soon(rig, tasks)


def test_tasks_that_come_while_workers_retire_start_at_once(rig: Rig) -> None:
    worn = {**CLOCKS, "WORKER_MAX_TASKS": "40"}
    rig.start_scheduler(env=CLOCKS)
    rig.start_workers(processes=2, threads=2, env=worn)
    rig.await_workers(2)
    tasks: list[str] = []

    def has_replaced_both_after_more_tasks() -> bool:
        tasks.extend(rig.client.submit("last", count=2, seconds=0.01))
        rig.await_effects(len(tasks) - 40, timeout=30)
        return len(tasks) >= 200 and len(rig.database.workers()) > 4

    wait_until(has_replaced_both_after_more_tasks, timeout=80, what="more than four processes")
    rig.verify(within=40)
    assert_all_started_soon(rig, tasks)


def test_a_worker_that_is_stopped_in_order_gives_back_what_it_took(rig: Rig) -> None:
    rig.start_scheduler(env=CLOCKS)
    rig.start_workers(threads=2, env=CLOCKS)
    second = rig.start_workers(threads=2, env=CLOCKS)
    rig.await_workers(2)
    tasks = rig.client.submit("last", count=200, seconds=0.02)
    rig.await_effects(20)
    second.terminate()
    assert second.wait(15) == 0
    rig.verify(within=20)
    assert set(rig.runs().values()) == {1}
    assert max(rig.start_delays(tasks)) < 200 * 0.02 + 5
