"""F20: locks of the standard library that are never released, and log pipes without a reader, stop no worker."""

import signal
import time

import pytest

from tests.acceptance.harness.processes import is_alive, pause
from tests.acceptance.harness.rig import CLOCKS, Rig
from tests.tiers import slow_except
from tests.waiting import wait_until

FAULT = "F20"
#: Time until a process that hangs has been replaced; a new one needs a few seconds on a busy machine.
REPLACED_SECONDS = float(CLOCKS["WORKER_LEASE_SECONDS"]) + 5
START_SECONDS = 8.0
_LESS_LIKELY = ("logging", "queues", "import")


def start(rig: Rig, *, threads: int = 2, is_read: bool = True) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=threads, is_read=is_read)
    rig.await_workers()


def await_ends(rig: Rig, tasks: list[str], *, timeout: float) -> None:
    """Wait until these tasks have succeeded."""
    succeeded = "SELECT count(*) FROM callboard_task WHERE id = ANY(%s::uuid[]) AND status = 'SUCCEEDED'"
    wait_until(
        lambda: rig.database.query(succeeded, [tasks]) == [(len(tasks),)],
        timeout=timeout,
        interval=0.05,
        what=lambda: f"{len(tasks)} tasks to succeed; tasks are {rig.database.counts()}",
    )


def assert_ran_once(rig: Rig, tasks: list[str]) -> None:
    rows = [row for row in rig.database.snapshot().tasks if row.id in set(tasks)]
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}
    runs = rig.runs()
    assert {runs[task] for task in tasks} == {1}
    assert {rig.effects()[task] for task in tasks} == {1}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_tasks_that_log_without_pause_meet_their_limits_and_their_process_goes_on(rig: Rig) -> None:
    start(rig, threads=4)
    chatty = rig.client.submit_all(
        [{"actor": "chatty", "priority": 7, "time_limit_seconds": 0.5, "max_retries": 0}] * 80
    )
    rig.client.submit("effect", count=40, priority=3)
    rig.verify(within=60)
    reasons = {letter.task: letter.reason for letter in rig.database.snapshot().letters}
    assert reasons == dict.fromkeys(chatty, "time_limit_exceeded")
    assert len(rig.database.workers()) == 1, "no worker had to be replaced"


@pytest.mark.slow
def test_a_few_tasks_that_log_under_a_limit_leave_a_process_that_works(rig: Rig) -> None:
    start(rig, threads=8)
    rig.client.submit_all(
        [{"actor": "chatty", "payload": {"every_ms": 0}, "time_limit_seconds": 0.2, "max_retries": 0}] * 64
    )
    rig.settle(25)
    later = rig.client.submit("effect", count=10)
    rig.verify(within=5)
    assert_ran_once(rig, later)
    assert {letter.reason for letter in rig.database.snapshot().letters} == {"time_limit_exceeded"}
    assert len(rig.database.workers()) == 1


@pytest.mark.parametrize(
    "what",
    slow_except("threads", of=("handlers", "threads", "blocks", *_LESS_LIKELY)),
)
def test_a_lock_that_an_actor_never_releases_stops_no_other_task(rig: Rig, what: str) -> None:
    start(rig)
    (thief,) = rig.client.submit("seize", what=what)
    rig.await_event("EFFECT", task=thief)
    later = rig.client.submit("effect", count=20)
    await_ends(rig, [thief, *later], timeout=REPLACED_SECONDS + START_SECONDS)
    assert_ran_once(rig, later)
    rig.verify(within=5)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["handlers", "blocks"])
def test_actors_that_wait_for_a_lost_lock_are_stuck_and_the_others_go_on(rig: Rig, what: str) -> None:
    start(rig, threads=4)
    (thief,) = rig.client.submit("seize", what=what)
    rig.await_event("EFFECT", task=thief)
    waiting = rig.client.submit_all(
        [{"actor": "chatty", "time_limit_seconds": 0.5, "max_retries": 0, "payload": {"seconds": 60}}] * 2
    )
    rig.await_starts(waiting)
    later = rig.client.submit("last", count=40, seconds=0.1)
    rig.verify(within=40)
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {rows[task].status for task in later} == {"SUCCEEDED"}
    assert max(rows[task].crashes for task in later) <= 1
    assert {rows[task].status for task in waiting} == {"DEAD"}


@pytest.mark.slow
def test_a_log_pipe_without_a_reader_stops_no_worker(rig: Rig) -> None:
    start(rig, is_read=False)
    tasks = rig.client.submit("effect", count=30)
    rig.verify(within=15)
    assert_ran_once(rig, tasks)


@pytest.mark.slow
def test_a_worker_whose_log_pipe_has_no_reader_is_replaced_when_it_dies(rig: Rig) -> None:
    start(rig, is_read=False)
    (poison,) = rig.client.submit("crash", how="kill")
    later = rig.client.submit("effect", count=10, priority=1)
    rig.verify(within=40)
    assert rig.database.task(poison).status == "DEAD"
    assert {rig.database.task(task).status for task in later} == {"SUCCEEDED"}


@pytest.mark.slow
def test_a_process_that_stands_still_is_replaced(rig: Rig) -> None:
    start(rig)
    workers = rig.processes[1]
    (victim,) = workers.children()
    pause(victim)
    began = time.monotonic()
    wait_until(
        lambda: set(workers.children()) - {victim},
        timeout=REPLACED_SECONDS,
        what="another process in the place of the one that stands still",
    )
    tasks = rig.client.submit("effect", count=5)
    rig.verify(within=START_SECONDS + REPLACED_SECONDS)
    assert time.monotonic() - began < REPLACED_SECONDS + 2 * START_SECONDS
    assert_ran_once(rig, tasks)


@pytest.mark.slow
def test_a_process_that_was_declared_gone_and_cannot_end_itself_is_ended(rig: Rig) -> None:
    start(rig)
    workers = rig.processes[1]
    (victim,) = workers.children()
    (thief,) = rig.client.submit("seize", what="handlers")
    rig.await_event("EFFECT", task=thief)
    rig.database.query("UPDATE callboard_worker SET status = 'GONE', stopped_at = clock_timestamp()")
    wait_until(lambda: not is_alive(victim), timeout=REPLACED_SECONDS, what="the process that is gone to end")
    rig.verify(within=2 * START_SECONDS)


@pytest.mark.slow
def test_a_worker_that_ignores_signals_still_ends_when_it_is_drained(rig: Rig) -> None:
    start(rig)
    first = rig.database.workers()[0].id
    rig.client.submit("deafen", number=int(signal.SIGTERM))
    rig.settle(10)
    rig.database.query("UPDATE callboard_worker SET status = 'DRAINING'")
    wait_until(
        lambda: [row.status for row in rig.database.workers() if row.id == first] == ["GONE"],
        timeout=REPLACED_SECONDS + START_SECONDS,
        what="the drained worker to leave",
    )
    rig.client.submit("effect", count=5)
    rig.verify(within=START_SECONDS)
