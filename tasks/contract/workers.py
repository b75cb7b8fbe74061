"""Workers: how a worker process is written, and what a list of them can be filtered by."""

from collections.abc import Mapping
from typing import Any

from tasks.contract.filters import Filter, choice
from tasks.contract.values import timestamp
from tasks.models import Worker, WorkerQuerySet
from tasks.states import WorkerStatus

FILTERS: Mapping[str, Filter] = {"status": Filter(choice(WorkerStatus), WorkerQuerySet.in_status, is_repeatable=True)}


def worker_as_dict(worker: Worker) -> dict[str, Any]:
    """Write a worker."""
    return {
        "id": str(worker.pk),
        "host": worker.host,
        "pid": worker.pid,
        "status": worker.status,
        "queues": worker.queues,
        "actors": worker.actors,
        "threads": worker.threads,
        "build": worker.build or None,
        "memory_bytes": worker.memory_bytes,
        "started_at": timestamp(worker.started_at),
        "heartbeat_at": timestamp(worker.heartbeat_at),
        "lease_expires_at": timestamp(worker.lease_expires_at),
        "stopped_at": timestamp(worker.stopped_at),
    }
