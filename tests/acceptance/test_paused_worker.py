"""F3: a worker that stands still past its lease and then goes on as if nothing had happened."""

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.harness.processes import is_alive, is_paused, pause, resume
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F3"


def worker_of(rig: Rig, task: str, attempt: int) -> int:
    return next(entry.pid for entry in rig.ledger.of(task, "START") if entry.attempt == attempt)


@pytest.mark.slow
def test_a_paused_worker_keeps_its_task_until_its_lease_is_over_and_is_refused_afterwards(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=1)
    (task,) = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_event("START", task=task, attempt=1)
    sleeper = worker_of(rig, task, 1)
    pause(sleeper)
    rig.await_event("START", task=task, attempt=2)
    assert worker_of(rig, task, 2) != sleeper
    # Otherwise it would kill the paused process, because other workers have its tasks.
    pause(workers.pid)
    resume(sleeper)
    # It gives signs of life beside the second attempt, so that the checker has overlaps to judge; then it ends itself.
    wait_until(lambda: not is_alive(sleeper), what="the worker to end for that")
    resume(workers.pid)
    wait_until(lambda: "its worker lost its lease" in workers.log.read_text(), what="the supervisor to notice")
    rig.give_cue()
    rig.verify(within=8)
    assert rig.outcomes(task) == ["LOST", "SUCCEEDED"]


def test_an_outcome_that_a_worker_writes_after_it_lost_the_task_changes_nothing(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=1, env=rig.arm("before_completion:stop", now=False))
    # Each has written before, so that it has a connection and its late write is quick.
    rig.await_workers(2)
    rig.client.submit("last", count=10, seconds=0.1)
    rig.settle(10)
    assert len({entry.pid for entry in rig.ledger.entries()}) == 2
    # From here on it stands still between the actor's end and the statement that writes the outcome.
    rig.token.touch()
    (task,) = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_event("START", task=task, attempt=1)
    late = worker_of(rig, task, 1)
    rig.give_cue()
    wait_until(lambda: is_paused(late), timeout=5, what="the worker to stand before its write")
    Path(rig.cue()).unlink()
    rig.await_event("START", task=task, attempt=2)
    # The stopped thread holds the interpreter, so the process first sends the statement. Then its watchdog ends it.
    os.kill(late, signal.SIGCONT)
    wait_until(lambda: "worker process ended" in workers.log.read_text(), what="the late worker to end")
    assert not is_alive(late)
    row = rig.database.task(task)
    assert (row.status, row.attempt) == ("RUNNING", 2), "the late outcome was accepted"
    assert rig.outcomes(task) == ["LOST"]
    rig.give_cue()
    rig.verify(within=8)
    assert rig.outcomes(task) == ["LOST", "SUCCEEDED"]
