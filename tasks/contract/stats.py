"""Statistics of the whole installation, at a bounded cost."""

from typing import Any

from tasks.contract.queues import queue_as_dict
from tasks.contract.workers import worker_as_dict
from tasks.models import Worker
from tasks.queries.counts import counts_by_status
from tasks.queries.queue_stats import all_queue_stats
from tasks.queries.throughput import Percentiles, Recent, recent

DEFAULT_MINUTES = 5
LONGEST_MINUTES = 1_440


def stats_as_dict(*, minutes: int) -> dict[str, Any]:
    """Count and measure everything; ``capped`` names the statuses that were counted only up to a bound.

    Parameters:
        minutes: how far back throughput and latencies are measured.
    """
    counts = counts_by_status()
    return {
        "tasks": {str(status): count.number for status, count in counts.items()},
        "capped": [str(status) for status, count in counts.items() if count.is_capped],
        "recent": _recent_as_dict(recent(minutes=minutes)),
        "queues": [queue_as_dict(stats) for stats in all_queue_stats()],
        "workers": [worker_as_dict(worker) for worker in Worker.objects.present().order_by("-id")],
    }


def _recent_as_dict(found: Recent) -> dict[str, Any]:
    return {
        "minutes": found.minutes,
        "attempts": dict(found.attempts),
        "attempts_per_second": round(found.per_second, 3),
        "is_capped": found.is_capped,
        "wait_seconds": _percentiles(found.wait),
        "run_seconds": _percentiles(found.run),
    }


def _percentiles(found: Percentiles) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 6) for name, value in found._asdict().items()}
