"""Metrics for Prometheus: what processes count in shared files, and gauges read from the database.

Labels are names that code declares (actors, queues, views) and statuses, never what a caller sent.
docs/metrics.md has a row for each metric.
"""

import platform
from collections import Counter as TotalOf
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tasks import __version__, circuit_breaker, registry
from tasks.conf import conf
from tasks.errors import BrokerUnavailable
from tasks.lifecycle import Moved, transitioned
from tasks.lifecycle.announcements import ENDINGS
from tasks.states import FINAL, Status
from tasks.telemetry import labels
from tasks.telemetry.database_gauges import DatabaseGauges
from tasks.telemetry.shared_files import ProcessMetrics, fold_ended

submitted = Counter("jobs_submitted_total", "Tasks accepted.", ["actor", "queue"])
completed = Counter("jobs_completed_total", "Tasks that ended, by final status.", ["actor", "queue", "status"])
retries = Counter("job_retries_total", "Attempts after which another one follows.", ["actor", "queue"])
attempts = Counter("callboard_attempts_total", "Attempts that ended, by where they left the task.", ["actor", "status"])
moved = Counter("callboard_moves_total", "Moves of tasks, by verb.", ["verb"])
server_errors = Counter(
    "callboard_server_errors_total",
    "Calls to the database, the broker or the limiter that failed, by the part that made them.",
    ["server", "part"],
)
rate_limited = Counter("callboard_rate_limited_total", "Requests that a limit refused.", ["limit"])

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
execution = Histogram("job_execution_seconds", "How long attempts ran.", ["actor"], buckets=_SECONDS)
queue_latency = Histogram(
    "job_queue_latency_seconds", "How long tasks were due before a worker took them.", ["queue"], buckets=_SECONDS
)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
http_requests = Histogram(
    "http_request_duration_seconds",
    "How long requests took, without their way in and out; `refused` is the view of refusals by the server.",
    ["method", "view", "status"],
    buckets=_REQUEST_SECONDS,
)
grpc_requests = Histogram(
    "grpc_request_duration_seconds",
    "How long calls took; a stream counts as one.",
    ["method", "code"],
    buckets=_REQUEST_SECONDS,
)

# Written by a Sampler. Those of schedulers are 0 where a process does not lead, so the highest one is the leader's.
worker_threads = Gauge("worker_threads", "Actor threads.", multiprocess_mode="livesum")
busy_threads = Gauge("worker_busy_threads", "Actor threads that run a task.", multiprocess_mode="livesum")
backlog = Gauge("callboard_completer_backlog", "Outcomes that wait to be written.", multiprocess_mode="livesum")
leader_term = Gauge("callboard_leader_term", "The leader's term; 0 while following.", multiprocess_mode="livemax")
scheduler_lag = Gauge(
    "callboard_scheduler_lag_seconds",
    "How long the oldest task that can be dispatched has been due.",
    multiprocess_mode="livemax",
)
window = Gauge(
    "callboard_window_hints",
    "Hints in the broker, as the leader counts them.",
    ["queue", "band"],
    multiprocess_mode="livemax",
)


def connect() -> None:
    """Start counting."""
    fold_ended()
    transitioned.connect(_count, dispatch_uid="callboard.metrics")


def begin_failures_at_zero() -> None:
    """Let the counts of failures of each declared actor begin with 0.

    Prometheus sees no increase in a series that begins with 500, so of an actor's first failures no alert would tell.
    """
    for spec in registry.all_specs():
        actor = labels.actor(spec.name)
        completed.labels(actor, labels.queue(spec.queue), Status.DEAD.value)
        for status in (Status.DEAD, Status.RETRYING):
            attempts.labels(actor, status.value)


def _count(*, verb: str, moves: Sequence[Moved], **_: Any) -> None:
    moved.labels(verb).inc(len(moves))
    # A label's child is looked up once for all moves of a batch that share it: finding it costs as much as counting.
    if verb == "submit":
        for (actor, queue), count in TotalOf((move.actor, move.queue) for move in moves).items():
            submitted.labels(labels.actor(actor), labels.queue(queue)).inc(count)
        return
    if verb == "claim":
        _observe(queue_latency, [(labels.queue(move.queue), move.seconds) for move in moves])
    for (actor, queue, status), count in TotalOf(
        (move.actor, move.queue, str(move.status)) for move in moves if move.status in FINAL
    ).items():
        completed.labels(labels.actor(actor), labels.queue(queue), status).inc(count)
    if verb not in ENDINGS:
        return
    timed = [move for move in moves if move.seconds is not None]
    for (actor, status), count in TotalOf((move.actor, str(move.status)) for move in timed).items():
        attempts.labels(labels.actor(actor), status).inc(count)
    _observe(execution, [(labels.actor(move.actor), move.seconds) for move in timed])
    for (actor, queue), count in TotalOf(
        (move.actor, move.queue) for move in timed if move.status == Status.RETRYING
    ).items():
        retries.labels(labels.actor(actor), labels.queue(queue)).inc(count)


def _observe(histogram: Histogram, timed: Sequence[tuple[str, float | None]]) -> None:
    children = {name: histogram.labels(name) for name in {name for name, _ in timed}}
    for name, seconds in timed:
        children[name].observe(max(0.0, seconds or 0.0))


def count_refused(status: int) -> None:
    """Count a request that the server answers before a thread has looked at it; it has no known method and no view."""
    http_requests.labels(labels.OTHER, "refused", str(status)).observe(0)


def count_error(error: Exception, *, part: str) -> None:
    """Count a call that failed.

    Parameters:
        part: who called: a loop of the scheduler, a part of a worker, "api" or "grpc".
    """
    server = "broker" if isinstance(error, BrokerUnavailable) else "database"
    server_errors.labels(server, part).inc()


def render() -> bytes:
    """Write the figures of all processes of this machine and the database's gauges."""
    return _written(build_info, processes, circuits, gauges)


def render_counters() -> bytes:
    """Write the figures of all processes of this machine, without the database."""
    return _written(build_info, processes, circuits)


def _written(*collectors: Collector) -> bytes:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


class BuildInfo(Collector):
    """The release that answers this scrape."""

    def collect(self) -> Iterator[Metric]:
        """Give one gauge; its labels are the information and its value is 1."""
        about = "The running release, and the build of your code."
        info = GaugeMetricFamily("callboard_build_info", about, labels=["version", "build", "python"])
        info.add_metric([__version__, conf.BUILD, platform.python_version()], 1)
        yield info


class Circuits(Collector):
    """The circuit breakers of the process that answers this scrape."""

    def collect(self) -> Iterator[Metric]:
        """Give one gauge: 1 while a server is not asked."""
        is_open = GaugeMetricFamily("callboard_circuit_open", "Whether a server is not asked.", labels=["server"])
        for name, breaker in sorted(circuit_breaker.known.items()):
            is_open.add_metric([name], float(breaker.is_open))
        yield is_open


build_info = BuildInfo()
circuits = Circuits()
processes = ProcessMetrics()
gauges = DatabaseGauges()
