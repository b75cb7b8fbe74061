"""Metrics for Prometheus: counters that each process keeps in shared files, and gauges read from the database.

Labels are names that code declares (actors, queues) and statuses, never what a caller sent.
"""

import fcntl
import os
import platform
import threading
import time
from collections import Counter as TotalOf
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import Error
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dlq.queries import open_by_actor
from tasks import __version__, circuit_breaker
from tasks.conf import conf
from tasks.lifecycle import Moved, transitioned
from tasks.log import get_logger
from tasks.models import Worker
from tasks.queries.counts import queue_sizes
from tasks.states import FINAL, Status

log = get_logger(__name__)

submitted = Counter("jobs_submitted_total", "Tasks accepted.", ["actor", "queue"])
completed = Counter("jobs_completed_total", "Tasks that ended, by final status.", ["actor", "queue", "status"])
attempts = Counter("callboard_attempts_total", "Attempts that ended, by where they left the task.", ["actor", "status"])
moved = Counter("callboard_moves_total", "Moves of tasks, by verb.", ["verb"])
execution = Histogram(
    "job_execution_seconds",
    "How long attempts ran.",
    ["actor"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
)

#: Verbs that end an attempt.
_ENDINGS = frozenset({"complete", "rescue"})
#: How long the database's figures are kept, so that several scrapers cost one look.
GAUGES_SECONDS = 5.0
#: Files of ended processes are folded into one when there are this many.
FOLD_FROM = 32


def connect() -> None:
    """Start counting."""
    fold_ended()
    transitioned.connect(_count, dispatch_uid="callboard.metrics")


def _count(*, verb: str, moves: Sequence[Moved], **_: Any) -> None:
    moved.labels(verb).inc(len(moves))
    # A label's child is looked up once for all moves of a batch that share it: finding it costs as much as counting.
    if verb == "submit":
        for (actor, queue), count in TotalOf((move.actor, move.queue) for move in moves).items():
            submitted.labels(actor, queue).inc(count)
        return
    for (actor, queue, status), count in TotalOf(
        (move.actor, move.queue, str(move.status)) for move in moves if move.status in FINAL
    ).items():
        completed.labels(actor, queue, status).inc(count)
    if verb not in _ENDINGS:
        return
    timed = [move for move in moves if move.seconds is not None]
    for (actor, status), count in TotalOf((move.actor, str(move.status)) for move in timed).items():
        attempts.labels(actor, status).inc(count)
    seconds = {actor: execution.labels(actor) for actor in {move.actor for move in timed}}
    for move in timed:
        seconds[move.actor].observe(max(0.0, move.seconds or 0.0))


def render() -> bytes:
    """Write the counters of all processes of this machine and the database's gauges."""
    return _written(build_info, counters, circuits, gauges)


def render_counters() -> bytes:
    """Write the counters of all processes of this machine, without the database."""
    return _written(build_info, counters)


def _written(*collectors: Collector) -> bytes:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


class BuildInfo(Collector):
    """The release that answers this scrape."""

    def collect(self) -> Iterator[Metric]:
        """Give one gauge; its labels are the information and its value is 1."""
        info = GaugeMetricFamily("callboard_build_info", "The running release.", labels=["version", "python"])
        info.add_metric([__version__, platform.python_version()], 1)
        yield info


class Circuits(Collector):
    """The circuit breakers of the process that answers this scrape."""

    def collect(self) -> Iterator[Metric]:
        """Give one gauge: 1 while a server is not asked."""
        is_open = GaugeMetricFamily("callboard_circuit_open", "Whether a server is not asked.", labels=["server"])
        for name, breaker in sorted(circuit_breaker.known.items()):
            is_open.add_metric([name], float(breaker.is_open))
        yield is_open


class ProcessCounters(Collector):
    """Counters of this machine's processes and of those that have ended: a counter must not go down with a process."""

    def collect(self) -> Iterator[Metric]:
        """Yield the sums over all processes."""
        with _locked(fcntl.LOCK_SH):
            yield from list(MultiProcessCollector(None, path=conf.METRICS_DIR).collect())  # type: ignore[no-untyped-call]


def fold_ended() -> int:
    """Add up the files of ended processes in one, once there are ``FOLD_FROM``; return how many were folded.

    Each process has files of its own, so a scrape would otherwise read those of every worker since the installation.
    """
    if len(_files_of_ended()) < FOLD_FROM:
        return 0
    with _locked(fcntl.LOCK_EX):
        # Again: another process may have folded them meanwhile.
        ended = _files_of_ended()
        for kind in {path.name.split("_")[0] for path in ended}:
            _fold(kind, [path for path in ended if path.name.startswith(f"{kind}_")])
    return len(ended)


def _fold(kind: str, paths: list[Path]) -> None:
    folded = Path(conf.METRICS_DIR, f"{kind}_folded.db")
    totals: dict[str, float] = defaultdict(float)
    for path in [*paths, *([folded] if folded.exists() else [])]:
        for key, value, *_ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
            totals[key] += value
    # Not in place: a process that is killed half-way must not leave half of the sums.
    new = folded.with_suffix(".new")
    new.unlink(missing_ok=True)
    file = MmapedDict(str(new))  # type: ignore[no-untyped-call]
    for key, value in totals.items():
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]
    new.replace(folded)
    for path in paths:
        path.unlink()


def _files_of_ended() -> list[Path]:
    paths = [path for path in Path(conf.METRICS_DIR).glob("*_*.db") if path.stem.split("_")[-1].isdigit()]
    return [path for path in paths if _has_ended(int(path.stem.split("_")[-1]))]


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextmanager
def _locked(mode: int) -> Iterator[None]:
    # Without the lock a scrape during a fold would see counts twice or not at all, and rate() would see a leap.
    with Path(conf.METRICS_DIR, "lock").open("a") as lock:
        fcntl.flock(lock, mode)
        yield


class DatabaseGauges(Collector):
    """Figures of the database, read at most every few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: list[Metric] = []
        self._read_at = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; the last ones if the database is away."""
        with self._lock:
            if time.monotonic() - self._read_at > GAUGES_SECONDS:
                try:
                    self._families = list(_read_gauges())
                except Error as error:
                    log.warning("gauges could not be read; the last ones are shown", error=str(error).strip())
                self._read_at = time.monotonic()
            yield from self._families


def _read_gauges() -> Iterator[Metric]:
    size = GaugeMetricFamily("queue_size", "Tasks that have not ended.", labels=["queue", "status"])
    age = GaugeMetricFamily(
        "callboard_oldest_due_seconds", "How long the oldest waiting task has been due.", labels=["queue"]
    )
    oldest: dict[str, float] = {}
    for queue, status, number, seconds in queue_sizes():
        size.add_metric([queue, status], number)
        if status != Status.RUNNING:
            oldest[queue] = max(oldest.get(queue, 0.0), seconds)
    for queue, seconds in oldest.items():
        age.add_metric([queue], seconds)
    processes, threads = Worker.objects.present().counted()
    letters = GaugeMetricFamily("callboard_dead_letters_open", "Open dead letters.", labels=["actor"])
    for actor, count in open_by_actor().items():
        letters.add_metric([actor], count)
    yield size
    yield age
    yield letters
    yield GaugeMetricFamily("active_workers", "Worker processes whose lease runs.", value=processes)
    yield GaugeMetricFamily("callboard_worker_threads", "Actor threads of these processes.", value=threads)


build_info = BuildInfo()
circuits = Circuits()
counters = ProcessCounters()
gauges = DatabaseGauges()
