"""A worker that tests drive by hand."""

import time
from typing import Any

import dramatiq

from tasks import lifecycle
from tasks.lifecycle import workers
from tasks.models import Task
from tasks.worker.consumer import ClaimedMessage
from tasks.worker.execution import Execution
from tasks.worker.runtime import WorkerRuntime
from tests import factories
from tests.factories import submit

BAND = "default.medium"


class ManualWorker:
    """A worker without threads; the test calls its parts."""

    def __init__(self, broker: Any) -> None:
        self.worker = dramatiq.Worker(broker, worker_threads=2)
        self.broker = broker
        self.runtime = WorkerRuntime(broker, self.worker)
        self.inflight = self.runtime.inflight
        self.worker.work_queue = self.inflight.work_queue
        self.source: Any = broker.source
        workers.declare_queues()
        workers.register(self.inflight.worker_id, queues=self.runtime.queues, threads=2)
        self.consumer = self.runtime.consumer(self.runtime.served[0])

    def publish(self, *tasks: Task, band: str = BAND) -> None:
        """Dispatch tasks."""
        self.source.publish_many([(band, factories.dispatch(task)) for task in tasks])

    def next(self) -> ClaimedMessage:
        """Take the next message; fail if there is none."""
        message = next(self.consumer)
        assert message is not None
        return message

    def put(self, message: ClaimedMessage) -> None:
        """Put a message into the work queue."""
        self.worker.work_queue.put(dramatiq.worker._WorkQueueItem(0, message))

    @property
    def depth(self) -> int:
        """How many hints wait in the broker."""
        return sum(self.source.depth(self.runtime.served).values())

    @property
    def unacknowledged(self) -> int:
        """How many hints are in the broker, or were taken from it and not acknowledged."""
        return sum(self.source._broker.queues[name].unfinished_tasks for name in self.runtime.served)


def status(task: Task) -> str:
    """Read a task's status from the database."""
    task.refresh_from_db()
    return task.status


def fails_once(monkeypatch, target: Any, name: str, error: Exception) -> None:
    """Let the next call of a function raise, and all later ones work."""
    stock, errors = getattr(target, name), [error]

    def called(*args: Any, **kwargs: Any) -> Any:
        if errors:
            raise errors.pop()
        return stock(*args, **kwargs)

    monkeypatch.setattr(target, name, called)


def crashed_task(crashes: int = 2) -> Task:
    """Submit a task that ran in so many processes when they crashed; by default one more crash would kill it."""
    task = submit()
    Task.objects.filter(pk=task.pk).update(crashes=crashes, attempt=crashes)
    return task


def claim_quarantined(manual: ManualWorker) -> tuple[Any, str]:
    """Claim a quarantined task for the worker; return it with the broker's queue it came from."""
    (claimed,) = lifecycle.claim_many([factories.dispatch(crashed_task())], worker_id=manual.inflight.worker_id)
    execution = Execution(claimed, claimed_monotonic=time.monotonic())
    manual.inflight.hold([execution])
    return execution, BAND
