"""F20: actors that swallow interrupts, and traced threads, harm only their own task."""

import time

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F20"


def start(rig: Rig, *, threads: int = 2) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=threads)
    rig.await_workers()


def submit(rig: Rig, actor: str, **fields: object) -> str:
    (task,) = rig.client.submit_all([{"actor": actor, **fields}])
    return task


def test_a_task_that_swallows_its_cancel_still_meets_its_time_limit(rig: Rig) -> None:
    start(rig)
    task = submit(rig, "stubborn", payload={"seconds": 60, "times": 1}, time_limit_seconds=3, max_retries=0)
    rig.await_event("START", task=task)
    rig.client.cancel(task)
    rig.await_event("SWALLOWED", task=task)
    rig.verify(within=10)
    assert [entry.note for entry in rig.ledger.of(task, "SWALLOWED")] == ["Cancelled"]
    assert [entry.note for entry in rig.ledger.of(task, "END")] == ["TimeLimitExceeded"]
    assert rig.database.task(task).status == "CANCELLED"
    assert len(rig.database.workers()) == 1, "it ended by its limit, not as stuck"


@pytest.mark.slow
def test_a_task_that_swallows_its_time_limit_once_is_interrupted_again(rig: Rig) -> None:
    start(rig)
    task = submit(rig, "stubborn", payload={"seconds": 60, "times": 1}, time_limit_seconds=0.5, max_retries=0)
    rig.verify(within=10)
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["time_limit_exceeded"]
    assert rig.outcomes(task) == ["TIMED_OUT"]
    assert len(rig.database.workers()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("actor", ["stubborn", "stubborn_async"])
def test_a_task_that_swallows_everything_is_taken_away_and_its_neighbours_succeed(rig: Rig, actor: str) -> None:
    start(rig, threads=4)
    task = submit(rig, actor, payload={"seconds": 120}, time_limit_seconds=0.5, max_retries=1, min_backoff_seconds=0.1)
    rig.await_event("START", task=task)
    neighbours = rig.client.submit("last", count=40, seconds=0.2)
    rig.verify(within=40)
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["stuck_task_timeout"]
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {(rows[one].status, rows[one].failures, rows[one].crashes) for one in neighbours} == {("SUCCEEDED", 0, 0)}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["sys", "threading"])
def test_a_process_that_is_traced_runs_its_tasks(rig: Rig, how: str) -> None:
    start(rig, threads=1)
    rig.client.submit("trace", how=how)
    rig.settle(10)
    began = time.monotonic()
    rig.client.submit("effect", count=10)
    wait_until(lambda: len(rig.effects()) == 11, timeout=10, what="tasks to run under a trace function")
    assert time.monotonic() - began < 5
    rig.verify(within=5)
    assert set(rig.runs().values()) == {1}
