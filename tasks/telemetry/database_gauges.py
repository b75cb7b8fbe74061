"""Gauges that any process can read from the database; all api processes report the same."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from django.db import Error
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dlq.queries import open_by_actor
from tasks import registry
from tasks.log import get_logger
from tasks.models import Queue, Worker
from tasks.priority import BANDS
from tasks.queries.capacity import by_band
from tasks.queries.counts import COUNTED, queue_sizes
from tasks.states import DUE, Status
from tasks.telemetry import labels

log = get_logger(__name__)

#: How long the database's figures are kept, so that several scrapers cost one look.
KEPT_SECONDS = 5.0


def families() -> dict[str, GaugeMetricFamily]:
    """Make all gauges, empty, by name."""
    made = [
        GaugeMetricFamily(
            "queue_size", "Tasks that have not ended, without those that are BLOCKED.", labels=["queue", "status"]
        ),
        GaugeMetricFamily(
            "queue_oldest_age_seconds",
            "How long the oldest task that waits for a worker has been due.",
            labels=["queue", "band"],
        ),
        GaugeMetricFamily(
            "callboard_unserved_tasks", "Due tasks that no live worker can run.", labels=["queue", "band"]
        ),
        GaugeMetricFamily("callboard_queue_paused", "1 while a queue is paused.", labels=["queue"]),
        GaugeMetricFamily("dead_letters", "Open dead letters.", labels=["actor"]),
        GaugeMetricFamily("active_workers", "Worker processes whose lease runs."),
        GaugeMetricFamily("callboard_registered_threads", "Actor threads of live workers, by the registry."),
        GaugeMetricFamily("callboard_gauges_age_seconds", "How long ago the database told these figures."),
    ]
    return {family.name: family for family in made}


class DatabaseGauges(Collector):
    """Figures of the database, read at most every few seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: list[Metric] = []
        self._asked_at = self._read_at = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; the last ones, with their age, if the database is away."""
        with self._lock:
            if time.monotonic() - self._asked_at > KEPT_SECONDS:
                self._read()
            yield from self._families
            if self._families:
                age = families()["callboard_gauges_age_seconds"]
                age.add_metric([], time.monotonic() - self._read_at)
                yield age

    def _read(self) -> None:
        self._asked_at = time.monotonic()
        try:
            self._families = list(_read_gauges())
            self._read_at = time.monotonic()
        except Error as error:
            log.warning("gauges could not be read; the last ones are shown", error=str(error).strip())


def _read_gauges() -> Iterator[Metric]:
    made = families()
    _add_queues(made)
    letters = dict.fromkeys(registry.actor_names(), 0) | open_by_actor()
    named = labels.first(letters)
    counts: dict[str, float] = defaultdict(float)
    for actor, count in letters.items():
        counts[labels.among(named, actor)] += count
    for actor, number in counts.items():
        made["dead_letters"].add_metric([actor], number)
    processes, threads = Worker.objects.present().counted()
    made["active_workers"].add_metric([], processes)
    made["callboard_registered_threads"].add_metric([], threads)
    del made["callboard_gauges_age_seconds"]
    yield from made.values()


def _add_queues(made: dict[str, GaugeMetricFamily]) -> None:
    """Add the gauges of queues; those of an empty queue are 0, since a series that ends looks like one that is lost."""
    groups = queue_sizes()
    served = {(band.queue, band.name): set(band.actors) for band in by_band()}
    paused = {name: paused_at is not None for name, paused_at in Queue.objects.values_list("name", "paused_at")}
    named = labels.first({*paused, *(group.queue for group in groups)})
    sizes: dict[tuple[str, Status], float] = dict.fromkeys(product(named, sorted(COUNTED)), 0)
    ages: dict[tuple[str, str], float] = dict.fromkeys(product(named, (band.name for band in BANDS)), 0)
    unserved = ages.copy()
    for group in groups:
        queue = labels.among(named, group.queue)
        size, band = (queue, group.status), (queue, group.band)
        sizes[size] = sizes.get(size, 0) + group.number
        if group.status != Status.RUNNING:
            ages[band] = max(ages.get(band, 0), group.oldest_run_at_seconds)
        is_served = group.actor in served.get((group.queue, group.band), ()) or paused.get(group.queue, False)
        if group.status in DUE and not is_served:
            unserved[band] = unserved.get(band, 0) + group.due
    found: dict[str, Mapping[Any, float]] = {
        "queue_size": sizes,
        "queue_oldest_age_seconds": ages,
        "callboard_unserved_tasks": unserved,
    }
    for name, values in found.items():
        for key, value in values.items():
            made[name].add_metric(list(key), value)
    for queue in sorted(paused.keys() & named):
        made["callboard_queue_paused"].add_metric([queue], paused[queue])
