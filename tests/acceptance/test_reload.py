"""F28: SIGHUP to a supervisor replaces its workers one after another."""

import os
import signal

import pytest

from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F28"


def hang_up(rig: Rig) -> None:
    os.kill(rig.processes[1].pid, signal.SIGHUP)


def alive(rig: Rig) -> int:
    return [row.status for row in rig.database.workers()].count("ALIVE")


def assert_ran_once(rig: Rig) -> None:
    rows = rig.database.snapshot().tasks
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}
    assert set(rig.runs().values()) == {1}
    assert set(rig.effects().values()) == {1}


def test_sighup_replaces_the_workers_one_after_another(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    before = set(workers.children())
    rig.client.submit("last", count=60, seconds=0.1)
    rig.await_effects(5)
    hang_up(rig)
    fewest = [2]

    def are_replaced() -> bool:
        fewest.append(alive(rig))
        return workers.code is not None or not before & set(workers.children())

    wait_until(are_replaced, timeout=30, what="other processes")
    assert workers.code is None, "the supervisor ended"
    wait_until(lambda: alive(rig) == 2, timeout=15, what="two workers")
    assert min(fewest) >= 1, "one after another: a process always works"
    rig.verify(within=20)
    assert_ran_once(rig)


@pytest.mark.slow
def test_sighup_lets_a_long_task_end_and_a_second_one_changes_nothing(rig: Rig) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=1, threads=2, env={"SHUTDOWN_GRACE_SECONDS": "0.2"})
    rig.await_workers()
    (long,) = rig.client.submit("await_cue", cue=rig.cue())
    rig.await_starts([long])
    before = set(workers.children())
    hang_up(rig)
    wait_until(lambda: set(workers.children()) - before, timeout=20, what="another process beside the old one")
    hang_up(rig)
    rig.client.submit("effect", count=10)
    rig.await_effects(10)
    assert rig.database.task(long).status == "RUNNING"
    rig.give_cue()
    wait_until(lambda: not before & set(workers.children()), timeout=20, what="the old process to end")
    rig.verify(within=20)
    assert_ran_once(rig)
