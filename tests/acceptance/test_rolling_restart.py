"""A deploy: every process is asked to stop and replaced, one after another, while tasks come in and run."""

import pytest

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

PROCESSES_OF_EACH = 2
TASKS_BETWEEN = 15


def submit(rig: Rig) -> None:
    rig.client.submit_all(
        [{"actor": "last", "payload": {"seconds": 0.05}, "priority": priority % 10 + 1} for priority in range(10)]
        + [{"actor": "effect"}] * (TASKS_BETWEEN - 10)
    )


def has_booted(process: Process) -> bool:
    log = process.log.read_text()
    return "scheduler is ready" in log or "worker is ready" in log


@pytest.mark.slow
def test_a_restart_of_everything_under_load_loses_and_fails_nothing(rig: Rig) -> None:
    start = {"scheduler": rig.start_scheduler, "workers": lambda: rig.start_workers(processes=2, threads=2)}
    running = [(kind, start[kind]()) for kind in ("workers", "scheduler") for _ in range(PROCESSES_OF_EACH)]
    rig.await_workers(2)
    rounds = 0
    for kind, process in running:
        submit(rig)
        rig.await_effects(rounds * TASKS_BETWEEN + 3, timeout=30)
        process.terminate()
        submit(rig)
        assert process.wait(20) == 0
        start[kind]()
        submit(rig)
        rounds += 3
    rig.settle(30)
    # A process that is asked to stop while it still boots just dies.
    wait_until(lambda: all(has_booted(process) for process in rig.processes), timeout=20, what="the last ones to boot")
    rig.verify(within=30)
    tasks = rig.database.snapshot().tasks
    assert len(tasks) == rounds * TASKS_BETWEEN
    assert {(task.status, task.failures, task.crashes) for task in tasks} == {("SUCCEEDED", 0, 0)}
    assert sorted(rig.effects().values()) == [1] * len(tasks)
