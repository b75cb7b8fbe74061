"""The crash drill: it kills a worker process in the middle of a task, and the task still has to end.

It has to run on the worker's machine, with the stack's database, which says where the task runs.
"""

import os
import signal

from tasks.conf import conf
from tasks.management.callboard.verification.trial import Failed, Skipped, Trial
from tasks.models import Task, Worker
from tasks.states import DeathReason, Status

#: Long enough to be killed in time, short enough to wait for the second run.
HANG_SECONDS = 6
TIME_LIMIT_SECONDS = 60


def survives_a_crash(trial: Trial, *, is_beside: bool) -> str:
    """Check that the task of a killed worker runs again, or dies as stuck."""
    if not is_beside:
        raise Skipped("needs the stack's DATABASE_URL, because the database says where the task runs")
    task = trial.submit(
        "demo_hang", {"sleep_sec": HANG_SECONDS}, priority="high", time_limit_seconds=TIME_LIMIT_SECONDS
    )
    worker = trial.until(lambda: _worker_of(task["id"]), what=lambda: "no worker has started the task")
    if worker.host != conf.WORKER_NAME:
        trial.post(f"/tasks/{task['id']}/cancel")
        raise Skipped(f"the worker runs on {worker.host}, this is {conf.WORKER_NAME}")
    _kill(worker)
    ended = trial.finish(task)
    if ended["status"] == Status.DEAD:
        return _expect_stuck(trial, ended)
    if ended["status"] != Status.SUCCEEDED or ended["attempt"] < 2:
        raise Failed(f"expected the task to run again, it is {ended['status']} after attempt {ended['attempt']}")
    return f"worker {worker.host}:{worker.pid} was killed; the task ran again and ended in attempt {ended['attempt']}"


def _worker_of(task_id: str) -> Worker | None:
    held = Task.objects.running().filter(pk=task_id).first()
    if held is None or held.worker_id is None:
        return None
    return Worker.objects.present().filter(pk=held.worker_id).first()


def _kill(worker: Worker) -> None:
    try:
        os.kill(worker.pid, signal.SIGKILL)
    except ProcessLookupError as error:
        raise Skipped(f"process {worker.pid} does not exist here; the worker may be in a container") from error
    except PermissionError as error:
        raise Skipped(f"process {worker.pid} belongs to another account") from error


def _expect_stuck(trial: Trial, task: dict[str, object]) -> str:
    reasons = [letter["reason"] for letter in trial.dead_letters(task)]
    if DeathReason.STUCK_TASK_TIMEOUT not in reasons:
        raise Failed(f"expected the task to run again or to die as {DeathReason.STUCK_TASK_TIMEOUT}, got {reasons}")
    return f"the task died as {DeathReason.STUCK_TASK_TIMEOUT}"
