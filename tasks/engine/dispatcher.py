"""The dispatcher: hands due tasks to the broker, a bounded window at a time.

The broker never holds a backlog. Per broker queue there is a window of ready hints that follows the workers' speed;
what is beyond waits as rows, where priority, pause and cancel act at once.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem

from tasks import lifecycle
from tasks.engine import failpoints, presence
from tasks.engine.leadership import LEASE, Leadership
from tasks.engine.loop import Loop
from tasks.engine.presence import Service
from tasks.engine.sources import Source
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tasks.lifecycle import Dispatched, Probe
from tasks.priority import BANDS, LOWEST, Band, broker_queue

log = structlog.get_logger(__name__)

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0
#: How often the window's space is looked at while a backlog waits for it.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.004, 0.1
WINDOW_SECONDS = 0.1
LARGEST_WINDOW = 1024
#: How long a position in the index is believed; rows that come in behind it wait that long.
POSITION_SECONDS = 1.0

_BANDS = {band.name: band for band in BANDS}


class Window:
    """How many hints one broker queue may hold: twice what workers took in the last tenth of a second."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()
        self._expected = 0

    def space(self, depth: int, *, threads: int) -> int:
        """Tell how many hints may be added to a queue that holds ``depth`` and is served by ``threads``."""
        now = time.monotonic()
        self._taken.append((now, max(0, self._expected - depth)))
        while self._taken[0][0] < now - WINDOW_SECONDS:
            self._taken.popleft()
        self._expected = depth
        size = min(LARGEST_WINDOW, max(threads, 2 * sum(count for _, count in self._taken)))
        return max(0, size - depth)

    def add(self, count: int) -> None:
        """Count published hints in."""
        self._expected += count


class Positions:
    """Where each priority of each queue was read up to, so that what was taken is not walked over again."""

    def __init__(self) -> None:
        self._reached: dict[tuple[str, int], Dispatched] = {}
        self._since = time.monotonic()

    def forget(self) -> None:
        """Start from the front: something may have come in behind."""
        self._reached.clear()
        self._since = time.monotonic()

    def forget_if_old(self) -> None:
        """Start from the front once in a while."""
        if time.monotonic() - self._since > POSITION_SECONDS:
            self.forget()

    def probe(self, queue: str, priority: int, band: str, limit: int) -> Probe:
        """Build the probe that goes on where the last one ended."""
        last = self._reached.get((queue, priority))
        if last is None:
            return Probe(priority, band, limit)
        return Probe(priority, band, limit, after_run_at=last.run_at, after_id=last.hint.task_id)

    def reached(self, queue: str, dispatched: Sequence[Dispatched]) -> None:
        """Remember the last task of each priority."""
        for one in dispatched:
            self._reached[queue, one.priority] = one


class Ageing:
    """Lets what has waited long into a higher band: one for each ``ONE_IN`` tasks that belong there.

    A task's effective priority grows by one with every ``AGEING_SECONDS`` it is due.
    """

    ONE_IN = 8
    #: A band that had nothing for the old does not save up for them.
    MOST_CREDIT = 8.0

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def earn(self, name: str, count: int) -> None:
        """Count tasks that were dispatched into their own band."""
        self._credit[name] = min(self.MOST_CREDIT, self._credit.get(name, 0.0) + count / self.ONE_IN)

    def spend(self, name: str, count: int) -> None:
        """Count old tasks that were let in."""
        self._credit[name] -= count

    def places(self, name: str, space: int) -> int:
        """Tell how many old tasks may come into a broker queue now."""
        return min(int(self._credit.get(name, 0.0)), space) if settings.AGEING_SECONDS else 0

    @staticmethod
    def probes(band: Band) -> list[Probe]:
        """Look at each lower priority, the lowest first, for a task whose effective priority is in the band."""
        return [
            Probe(priority, band.name, 1, waited_seconds=(band.lowest - priority) * settings.AGEING_SECONDS)
            for priority in range(LOWEST, band.lowest)
        ]


class Dispatcher(Loop):
    """Marks due tasks QUEUED, commits, publishes their hints; while this process leads."""

    name = "dispatcher"
    # A dispatch that a crash of PostgreSQL undoes is PENDING again; its hint is stale, or wins the one claim there is.
    commits_asynchronously = True
    breath = 2.0

    def __init__(self, leadership: Leadership, source: Source) -> None:
        super().__init__()
        self._leadership = leadership
        self._source = source
        self._windows: dict[str, Window] = {}
        self._positions = Positions()
        self._ageing = Ageing()
        self._was_woken = False
        self._services: list[Service] = []
        self._services_since = 0.0
        self._pause = SHORTEST_PAUSE_SECONDS

    def wake(self) -> None:
        """Look at once, from the front: something may have come in behind the positions."""
        self._was_woken = True
        super().wake()

    def step(self) -> float:
        """Fill the windows; wait for space, for the next ``run_at`` or for a wake-up."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS / 2
        if self._was_woken:
            self._was_woken = False
            self._positions.forget()
        self._positions.forget_if_old()
        services = self._current_services()
        if not services:
            return POLL_SECONDS
        spaces = self._spaces(services)
        count, is_any_full = self._fill(services, spaces, term)
        if is_any_full:
            return self._pause_for_space(count)
        self._pause = SHORTEST_PAUSE_SECONDS
        due = lifecycle.next_due_in_seconds(sorted({service.queue for service in services}))
        return POLL_SECONDS if due is None else min(due, POLL_SECONDS)

    def _current_services(self) -> list[Service]:
        if time.monotonic() - self._services_since > POLL_SECONDS / 2 or not self._services:
            self._services, self._services_since = presence.services(), time.monotonic()
        return self._services

    def _spaces(self, services: Sequence[Service]) -> dict[str, int]:
        names = {broker_queue(service.queue, service.band): service.threads for service in services}
        depths = self._source.depth(list(names))
        return {
            name: self._windows.setdefault(name, Window()).space(depths[name], threads=threads)
            for name, threads in names.items()
        }

    def _fill(self, services: Sequence[Service], spaces: Mapping[str, int], term: int) -> tuple[int, bool]:
        """Dispatch all that is served; return how many tasks, and whether some band may hold more than had space.

        A band waits while the next higher one of its queue has more or waits itself, if the same workers serve both:
        what is in the broker already could else overtake what is not. Bands come from high to low.
        """
        total, is_any_full, has_more = 0, False, False
        for service in services:
            if service.follows and has_more:
                continue
            count, has_more = self._dispatch(service, spaces, term)
            total += count
            is_any_full = is_any_full or has_more
        return total, is_any_full

    def _dispatch(self, service: Service, spaces: Mapping[str, int], term: int) -> tuple[int, bool]:
        """Dispatch one band of a queue; return how many tasks, and whether more may wait than there was space for."""
        failpoints.reach("before_dispatch")
        band = _BANDS[service.band]
        name = broker_queue(service.queue, band.name)
        space = spaces[name]
        places = self._ageing.places(name, space)
        if places:
            old = self._hand_over(service, name, self._ageing.probes(band), places, term)
            self._ageing.spend(name, len(old))
            space -= len(old)
        if space == 0:
            return 0, True
        probes = [
            self._positions.probe(service.queue, priority, band.name, space)
            for priority in range(band.highest, band.lowest - 1, -1)
        ]
        found = self._hand_over(service, name, probes, space, term)
        self._positions.reached(service.queue, found)
        self._ageing.earn(name, len(found))
        return len(found), len(found) == space

    def _hand_over(
        self, service: Service, name: str, probes: Sequence[Probe], space: int, term: int
    ) -> list[Dispatched]:
        found = lifecycle.dispatch_many(
            service.queue, probes, space=space, actors=service.actors, lease=LEASE, term=term
        )
        if found:
            self._publish(name, found, term)
        return found

    def _publish(self, name: str, found: Sequence[Dispatched], term: int) -> None:
        failpoints.reach("after_dispatch")
        hints = [one.hint for one in found]
        try:
            self._source.publish_many([(name, hint) for hint in hints])
        except BrokerUnavailable:
            # Some may have arrived; those find their tasks PENDING and are stale. Until a ping answers, nothing more is
            # dispatched, or an outage would turn the whole backlog into QUEUED.
            self._take_back(hints, term)
            raise
        failpoints.reach("after_publish")
        self._windows[name].add(len(hints))

    def _take_back(self, hints: Sequence[Hint], term: int) -> None:
        try:
            count = lifecycle.requeue_many(hints, lease=LEASE, term=term)
            log.warning("broker is away; tasks wait in the database", count=count)
        except DatabaseProblem as error:
            log.warning("broker and database are away; the sweeper will find the tasks", error=str(error))

    def _pause_for_space(self, count: int) -> float:
        self._pause = SHORTEST_PAUSE_SECONDS if count else min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return self._pause
