"""Tasks that outlast their limit, and tasks that have none, on clocks of seconds: stuck is limit + 2 s, a lease 2 s."""

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STUCK_AFTER_SECONDS = 2.0


def submit(rig: Rig, actor: str, **fields: object) -> str:
    rig.client.submit_all([{"actor": actor, **fields}])
    (task,) = rig.client.history.submissions[-1].task_ids
    return task


def start(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=1, threads=1)
    rig.await_workers()


def test_python_code_is_interrupted_at_its_limit(rig: Rig) -> None:
    start(rig)
    task = submit(rig, "last", payload={"seconds": 60}, time_limit_seconds=1, max_retries=1, min_backoff_seconds=0.1)
    rig.verify(within=40)
    assert [(row.outcome, row.error_type) for row in rig.database.attempts(task)] == [
        ("TIMED_OUT", "TimeLimitExceeded")
    ] * 2
    for row in rig.database.attempts(task):
        assert row.started_at is not None
        assert 1 <= (row.finished_at - row.started_at).total_seconds() < 1 + STUCK_AFTER_SECONDS
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["time_limit_exceeded"]
    assert len(rig.database.workers()) == 1, "no worker had to be recycled"


def test_a_task_in_an_uninterruptible_call_is_taken_away_and_its_late_outcome_refused(rig: Rig) -> None:
    start(rig)
    (worker,) = rig.database.workers()
    task = submit(rig, "resist", payload={"seconds": 7}, time_limit_seconds=0.5, min_backoff_seconds=0.1)
    rig.await_event("START", task=task, attempt=2, timeout=30)
    assert {entry.attempt for entry in rig.ledger.of(task, "END")} <= {2}, (
        "the first attempt still sleeps: this is the capacity that came back"
    )
    wait_until(lambda: rig.outcomes(task) == ["TIMED_OUT", "SUCCEEDED"], timeout=20, what="the second attempt")
    (first, _) = rig.database.attempts(task)
    assert first.started_at is not None
    assert (first.finished_at - first.started_at).total_seconds() >= 0.5 + STUCK_AFTER_SECONDS
    rig.await_event("END", task=task, attempt=1, timeout=30)
    wait_until(lambda: len(rig.processes[1].children()) == 1, timeout=20, what="the process of the late one to end")
    rig.verify(within=20)
    assert rig.database.attempts(task)[0] == first
    assert rig.database.task(task).failures == 1
    assert [row.status for row in rig.database.workers() if row.id == worker.id] == ["GONE"]


def test_the_last_of_too_many_such_calls_dies_as_stuck(rig: Rig) -> None:
    start(rig)
    task = submit(rig, "resist", payload={"seconds": 4}, time_limit_seconds=0.5, max_retries=0)
    rig.verify(within=40)
    assert [(row.outcome, row.error_type) for row in rig.database.attempts(task)] == [("TIMED_OUT", "Stuck")]
    assert [letter.reason for letter in rig.database.snapshot().letters] == ["stuck_task_timeout"]


def test_calls_that_never_end_use_up_no_capacity(rig: Rig) -> None:
    start(rig)
    forever = {"seconds": 600, "times": 9}
    task = submit(rig, "resist", payload=forever, time_limit_seconds=0.5, max_retries=4, min_backoff_seconds=0.1)
    wait_until(lambda: rig.outcomes(task) == ["TIMED_OUT"] * 5, timeout=80, what=lambda: rig.outcomes(task))
    rig.client.submit("effect", count=3)
    rig.verify(within=30)
    assert rig.database.task(task).status == "DEAD"
    assert {row.crashes for row in rig.database.snapshot().tasks} == {0}


@pytest.mark.parametrize("actor", ["last", "resist"], ids=["in Python", "in a call that lets no interrupt in"])
def test_a_long_task_without_a_limit_runs_once(rig: Rig, actor: str) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    task = submit(rig, actor, payload={"seconds": 12}, time_limit_seconds=0)
    rig.verify(within=40)
    assert rig.outcomes(task) == ["SUCCEEDED"]
    start, end = rig.ledger.of(task, "START"), rig.ledger.of(task, "END")
    assert len(start) == 1
    assert end[0].monotonic - start[0].monotonic >= 12
    assert rig.database.task(task).dispatch == 1
