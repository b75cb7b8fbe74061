"""Statistics of the whole installation, at a bounded cost."""

from collections.abc import Mapping
from typing import Any

from tasks.contract import fields
from tasks.contract.fields import InvalidValue, Reader
from tasks.contract.queues import queue_as_dict
from tasks.contract.values import timestamp
from tasks.contract.workers import worker_as_dict
from tasks.models import Worker
from tasks.queries import stats
from tasks.queries.counts import counts_by_status
from tasks.queries.queue_stats import all_queue_stats
from tasks.queries.stats import Tally, Window
from tasks.queries.throughput import Percentiles, Recent, recent
from tasks.states import TaskOutcome

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


def window(value: str) -> Window:
    """Read the name of a window."""
    for one in Window:
        if one.label == value:
            return one
    names = ", ".join(one.label for one in Window)
    raise InvalidValue("invalid", f"expected one of {names}, got {fields.quoted(value)}")


SERIES_PARAMETERS: Mapping[str, Reader] = {"window": window, "actor": fields.text(255), "queue": fields.text(100)}
#: The keys of a point, and what they count.
COUNTS = {
    "submitted": TaskOutcome.SUBMITTED,
    "succeeded": TaskOutcome.SUCCEEDED,
    "retried": TaskOutcome.RETRYING,
    "dead": TaskOutcome.DEAD,
    "cancelled": TaskOutcome.CANCELLED,
}
#: The percentiles, as parts of one.
_PARTS = (0.5, 0.95, 0.99)


def series_as_dict(
    *, window: Window = Window.HOUR, actor: str | None = None, queue: str | None = None
) -> dict[str, Any]:
    """Write the points of a window, all tasks' or those of one actor or queue; the oldest is the first."""
    points = stats.series(window, actor=actor, queue=queue, with_times=True)
    return {
        "window": window.label,
        "step_seconds": window.step,
        "points": [{"start": timestamp(point.start), **_tally_as_dict(point)} for point in points],
        "total": _tally_as_dict(points.total()),
    }


def actors_as_list(*, minutes: int) -> list[dict[str, Any]]:
    """Write the rates of each actor in the last minutes, those that ran longest first."""
    found = stats.by_actor(seconds=minutes * 60, with_times=True)
    names = sorted((name for name in found if name), key=lambda name: (-found[name].run_seconds, name))
    return [{"actor": name, **_tally_as_dict(found[name])} for name in names]


def _tally_as_dict(tally: Tally) -> dict[str, Any]:
    return {
        **{name: tally.of(outcome) for name, outcome in COUNTS.items()},
        "failure_share": None if tally.failure_share is None else round(tally.failure_share, 6),
        "busy_seconds": round(tally.run_seconds, 3),
        "wait_seconds": _percentiles(Percentiles(*map(tally.wait, _PARTS))),
        "run_seconds": _percentiles(Percentiles(*map(tally.run, _PARTS))),
    }
