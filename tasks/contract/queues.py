"""Queues: how they are found and written."""

from typing import Any

from tasks.contract.fields import shown
from tasks.contract.values import timestamp
from tasks.errors import NotFound
from tasks.queries.queue_stats import Standing, queue_standings


def find_queue(name: str) -> Standing:
    """Find a queue and its numbers.

    Raises:
        NotFound: there is no queue of this name.
    """
    for standing in queue_standings():
        if standing.name == name:
            return standing
    raise NotFound(f"there is no queue {shown(name)}")


def queue_as_dict(standing: Standing) -> dict[str, Any]:
    """Write a queue with its numbers."""
    return {
        "name": standing.name,
        "paused_at": timestamp(standing.paused_at),
        "waiting": standing.waiting.number,
        "waiting_is_capped": standing.waiting.is_capped,
        "queued": standing.queued,
        "running": standing.running,
        "oldest_due_seconds": standing.oldest_due_seconds,
        "threads": standing.threads,
    }
