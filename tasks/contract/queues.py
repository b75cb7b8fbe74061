"""Queues: how they are found and written."""

from typing import Any

from tasks.contract.fields import quoted
from tasks.contract.values import timestamp
from tasks.errors import NotFound
from tasks.queries.queue_stats import QueueStats, all_queue_stats


def find_queue(name: str) -> QueueStats:
    """Find a queue and its numbers.

    Raises:
        NotFound: there is no queue of this name.
    """
    for stats in all_queue_stats():
        if stats.name == name:
            return stats
    raise NotFound(f"there is no queue {quoted(name)}")


def queue_as_dict(stats: QueueStats) -> dict[str, Any]:
    """Write a queue with its numbers."""
    return {
        "name": stats.name,
        "paused_at": timestamp(stats.paused_at),
        "waiting": stats.waiting.number,
        "waiting_is_capped": stats.waiting.is_capped,
        "queued": stats.queued,
        "running": stats.running,
        "oldest_due_seconds": stats.oldest_due_seconds,
        "threads": stats.threads,
    }
