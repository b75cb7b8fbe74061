"""F21: a task keeps the interpreter of its process for longer than a lease, again and again."""

from typing import Any

import pytest

from tasks.worker.hang_detector import AFTER_LEASE_SECONDS
from tests.acceptance.harness.rig import CLOCKS, Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FAULT = "F21"
LEASE_SECONDS = float(CLOCKS["WORKER_LEASE_SECONDS"])
NEIGHBOURS = 40
#: Ends on a busy machine that blame no task, beside the crashes that count.
MOST_ATTEMPTS = 8


@pytest.mark.parametrize(
    "payload",
    [{"seconds": 600}, {"seconds": 2.5 * LEASE_SECONDS}, {"seconds": 2.5 * LEASE_SECONDS, "busy": True}],
    ids=["for ever", "longer than a lease", "longer than a lease and busy"],
)
def test_a_task_that_keeps_the_interpreter_dies_and_its_neighbours_succeed(rig: Rig, payload: dict[str, Any]) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    (holder,) = rig.client.submit("hold", priority=8, **payload)
    rig.await_starts([holder])
    neighbours = rig.client.submit("last", count=NEIGHBOURS, seconds=0.05)
    rig.verify(within=100)
    row = rig.database.task(holder)
    assert row.status == "DEAD"
    assert len(rig.outcomes(holder)) <= MOST_ATTEMPTS
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["crash_loop"]
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {rows[task].status for task in neighbours} == {"SUCCEEDED"}
    # The tasks beside it may be blamed for the first crash; from then on it runs alone.
    assert max(rows[task].crashes for task in neighbours) <= 1


def test_a_process_that_a_sleeping_call_holds_is_replaced_within_a_lease_and_five_seconds(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=1, threads=2)
    rig.await_workers()
    held = set(workers.children())
    (holder,) = rig.client.submit("hold", seconds=600, attempts=1)
    rig.await_starts([holder])
    wait_until(
        lambda: set(workers.children()) - held, timeout=LEASE_SECONDS + 5, what="a process in place of the held one"
    )
    rig.client.submit("effect", count=5)
    rig.verify(within=15)
    assert rig.database.task(holder).status == "SUCCEEDED"


def test_a_stop_waits_no_longer_for_a_held_process_than_its_lease_lasts(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    (holder,) = rig.client.submit("hold", seconds=600, attempts=1)
    rig.await_starts([holder])
    workers.terminate()
    assert workers.wait(LEASE_SECONDS + AFTER_LEASE_SECONDS + 3) == 0
    rig.start_workers()
    rig.client.submit("effect", count=5)
    rig.verify(within=15)
    assert rig.outcomes(holder) == ["LOST", "SUCCEEDED"]


def test_a_call_that_keeps_the_interpreter_for_less_than_a_lease_is_left_alone(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=1, threads=1)
    rig.await_workers()
    tasks = rig.client.submit("hold", count=4, seconds=0.3 * LEASE_SECONDS)
    rig.verify(within=20)
    assert [rig.outcomes(task) for task in tasks] == [["SUCCEEDED"]] * 4
    assert len(rig.database.workers()) == 1
