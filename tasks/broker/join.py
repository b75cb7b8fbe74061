"""``broker.join()``: waits until the tasks of a queue have ended, as tests of Dramatiq do."""

import time

from django.db import connection
from dramatiq.errors import QueueJoinTimeout

from tasks.broker.results import failure_of
from tasks.errors import NotSupported
from tasks.models import Task
from tasks.queries.forecast import expected_start
from tasks.states import FINAL, Status

#: A scheduler and workers that a test has just started may not be on the registry yet.
PATIENCE_SECONDS = 2.0
_WAY_OUT = (
    "In a test, call tasks.testing.drain(): it runs the tasks in the test's own thread and transaction. "
    "Or take DramatiqTestCase of tasks.testing in place of django-dramatiq's: it starts a scheduler."
)


def join(queue: str, *, timeout_seconds: float | None, interval_seconds: float, fail_fast: bool) -> None:
    """Wait until no task of the queue waits or runs.

    Parameters:
        timeout_seconds: None waits as long as it takes.
        interval_seconds: time between two looks.
        fail_fast: raise if a task of the queue is DEAD then.

    Raises:
        dramatiq.errors.QueueJoinTimeout: it took longer.
        dramatiq.results.ResultFailure: a task died.
        NotSupported: nobody runs the tasks.
    """
    began = time.monotonic()
    tasks = Task.objects.in_queue(queue)
    blocked_since: float | None = None
    while (task := tasks.exclude(status__in=FINAL).order_by("id").first()) is not None:
        if connection.in_atomic_block:
            raise NotSupported(f"join() waits for workers, and no worker sees into this transaction. {_WAY_OUT}")
        now = time.monotonic()
        obstacle = _obstacle(task)
        blocked_since = (blocked_since or now) if obstacle else None
        if blocked_since is not None and now - blocked_since >= PATIENCE_SECONDS:
            raise NotSupported(f"join() waits in vain: {obstacle}. {_WAY_OUT}")
        if timeout_seconds is not None and now - began >= timeout_seconds:
            raise QueueJoinTimeout(queue)  # type: ignore[no-untyped-call]
        time.sleep(interval_seconds)
    dead = tasks.filter(status=Status.DEAD).order_by("finished_at").first() if fail_fast else None
    if dead is not None:
        raise failure_of(dead.status, dead.error)


def _obstacle(task: Task) -> str:
    forecast = expected_start(task)
    return "" if forecast is None or not any(one.is_blocking for one in forecast.waiting_for) else forecast.obstacle
