"""``GET stats``: the whole board at a bounded cost, for staff."""

from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api import fields
from tasks.api.queues import queue_as_dict
from tasks.api.views import StaffView
from tasks.api.workers import worker_as_dict
from tasks.models import Worker
from tasks.queries import queue_stats
from tasks.queries.queue_stats import Percentiles, Recent

DEFAULT_MINUTES = 5
LONGEST_MINUTES = 1_440


class Stats(StaffView):
    """``GET stats``."""

    PARAMETERS: ClassVar[Mapping[str, fields.Reader]] = {"minutes": fields.digits(1, LONGEST_MINUTES)}

    def get(self, request: Request) -> Response:
        """Count by status and measure the last ``minutes``: throughput and latencies."""
        parameters = fields.read_parameters(request.GET, self.PARAMETERS)
        return Response(stats_as_dict(minutes=parameters.get("minutes", DEFAULT_MINUTES)))


def stats_as_dict(*, minutes: int) -> dict[str, Any]:
    """Measure everything; what is counted only up to a bound is named in ``capped``."""
    counts = queue_stats.counts_by_status()
    return {
        "tasks": {str(status): count.number for status, count in counts.items()},
        "capped": [str(status) for status, count in counts.items() if count.is_capped],
        "recent": _recent_as_dict(queue_stats.recent(minutes=minutes)),
        "queues": [queue_as_dict(standing) for standing in queue_stats.queue_standings()],
        "workers": [worker_as_dict(worker) for worker in Worker.objects.present().order_by("-id")],
    }


def _recent_as_dict(recent: Recent) -> dict[str, Any]:
    return {
        "minutes": recent.minutes,
        "attempts": dict(recent.attempts),
        "attempts_per_second": round(recent.per_second, 3),
        "is_capped": recent.is_capped,
        "wait_seconds": _percentiles(recent.wait),
        "run_seconds": _percentiles(recent.run),
    }


def _percentiles(found: Percentiles) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 6) for name, value in found._asdict().items()}
