"""The dispatcher: hands due tasks to the broker, a bounded window at a time.

The broker never holds a backlog. Per broker queue there is a window of ready hints that follows the workers' speed;
what is beyond waits as rows, where priority, pause and cancel act at once.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from math import inf

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
from tasks.lifecycle import Dispatched, Line, Probe
from tasks.priority import BANDS, LOWEST, Band, broker_queue

log = structlog.get_logger(__name__)

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0
#: How often the window's space is looked at while a backlog waits for it.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.004, 0.1
WINDOW_SECONDS = 0.1
LARGEST_WINDOW = 1024
#: How long a position in the index is believed; rows that come in behind it, and nobody told, wait that long.
POSITION_SECONDS = 1.0
#: Longer, if the way from the front would take more than this part of the time, but not for ever.
FRONT_AT_MOST_EVERY, LONGEST_POSITION_SECONDS = 300, 30.0
#: Between a task's statement, which sets its ``run_at``, and its commit.
LOOK_BACK = timedelta(seconds=1)

_BANDS = {band.name: band for band in BANDS}


def _lines(service: Service) -> list[Line]:
    band = _BANDS[service.band]
    return [Line(service.queue, priority) for priority in range(band.highest, band.lowest - 1, -1)]


class Window:
    """How many hints one broker queue may hold: twice what workers took in the last tenth of a second."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()
        #: What is in there if workers took nothing since; None if nobody looked yet.
        self._expected: int | None = None

    def sure_space(self, *, threads: int) -> int | None:
        """Tell how many hints may be added whatever workers took since the last look; None if it takes a look."""
        size = min(LARGEST_WINDOW, threads)
        if self._expected is None or self._expected > size // 2:
            return None
        return size - self._expected

    def space(self, depth: int, *, threads: int) -> int:
        """Tell how many hints may be added to a queue that holds ``depth`` and is served by ``threads``."""
        now = time.monotonic()
        self._taken.append((now, max(0, (self._expected or 0) - depth)))
        while self._taken[0][0] < now - WINDOW_SECONDS:
            self._taken.popleft()
        self._expected = depth
        size = min(LARGEST_WINDOW, max(threads, 2 * sum(count for _, count in self._taken)))
        return max(0, size - depth)

    def add(self, count: int) -> None:
        """Count published hints in."""
        self._expected = (self._expected or 0) + count


class Positions:
    """Where each priority of each queue was read up to, so that what was taken is not walked over again.

    What comes in at the end of a line may still be committed a little late, so a wake-up looks back a moment. The front
    is for what comes in anywhere: under somebody's long transaction every task that ever ran there is walked over, so
    the longer that takes the more seldom it is done.
    """

    def __init__(self) -> None:
        self._reached: dict[Line, Dispatched] = {}
        self._looking_back: set[Line] = set()
        self._since = time.monotonic()
        self._good_for = POSITION_SECONDS

    def look_back(self) -> None:
        """Begin the next probe of each line a moment before its position."""
        self._looking_back = set(self._reached)

    def forget(self) -> None:
        """Start from the front: something may have come in anywhere."""
        self._reached.clear()
        self._since = time.monotonic()

    def are_old(self) -> bool:
        """Whether to start from the front, as is done once in a while."""
        return time.monotonic() - self._since > self._good_for

    def front_took(self, seconds: float) -> None:
        """Note how long the way from the front was."""
        self._good_for = min(max(POSITION_SECONDS, FRONT_AT_MOST_EVERY * seconds), LONGEST_POSITION_SECONDS)

    def probe(self, line: Line, band: str) -> Probe:
        """Build the probe that goes on where the last one ended."""
        last = self._reached.get(line)
        if last is None:
            return Probe(line.priority, band, 1)
        if line in self._looking_back:
            return Probe(line.priority, band, 1, after_run_at=last.run_at - LOOK_BACK)
        return Probe(line.priority, band, 1, after_run_at=last.run_at, after_id=last.hint.task_id)

    def nothing_due(self, line: Line) -> None:
        """Note that looking back found nothing."""
        self._looking_back.discard(line)

    def reached(self, queue: str, dispatched: Sequence[Dispatched]) -> None:
        """Remember the last task of each priority."""
        for one in dispatched:
            line = Line(queue, one.priority)
            self._reached[line] = one
            self._looking_back.discard(line)


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
    def probes(queue: str, band: Band, waits: Mapping[Line, float]) -> list[Probe]:
        """Look at each lower priority, the lowest first, for a task whose effective priority is in the band.

        Parameters:
            waits: for how many seconds the first task of a line has been due; without a line that nobody looked at.
        """
        probes = [
            Probe(priority, band.name, 1, waited_seconds=(band.lowest - priority) * settings.AGEING_SECONDS)
            for priority in range(LOWEST, band.lowest)
        ]
        return [probe for probe in probes if waits.get(Line(queue, probe.priority), inf) >= probe.waited_seconds]


class Dispatcher(Loop):
    """Marks due tasks QUEUED, commits, publishes their hints; while this process leads."""

    name = "dispatcher"
    # A dispatch that a crash of PostgreSQL undoes is PENDING again; its hint is stale, or wins the one claim there is.
    commits_asynchronously = True
    moved = 0

    def __init__(self, leadership: Leadership, source: Source) -> None:
        super().__init__()
        self._leadership = leadership
        self._source = source
        self._windows: dict[str, Window] = {}
        self._positions = Positions()
        self._ageing = Ageing()
        self._has_news = False
        self._starts_from_front = True
        self._services: list[Service] = []
        self._services_since = 0.0
        self._pause = SHORTEST_PAUSE_SECONDS

    def wake(self, *, from_front: bool = True) -> None:
        """Look at once.

        Parameters:
            from_front: something may have come in anywhere, and not only at the end of the lines.
        """
        self._has_news = True
        # Never set back here: another wake-up may have asked for it.
        if from_front:
            self._starts_from_front = True
        super().wake()

    def step(self) -> float:
        """Fill the windows; wait for space, for the next ``run_at`` or for a wake-up."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS / 2
        services = self._current_services()
        is_from_front, began = self._begin_round(), time.monotonic()
        due, waits = self._look(services)
        if is_from_front:
            self._positions.front_took(time.monotonic() - began)
        self.moved, is_any_full = self._fill(services, due, waits, term) if due else (0, False)
        if is_any_full:
            return self._pause_for_space(self.moved)
        self._pause = SHORTEST_PAUSE_SECONDS
        if self.moved:
            # What comes after it may be due as well.
            return 0
        if due:
            # Nobody can run what is first: behind it others wait for their time.
            next_in = lifecycle.next_due_in_seconds(sorted({service.queue for service in services}))
            return POLL_SECONDS if next_in is None else min(next_in, POLL_SECONDS)
        return min([POLL_SECONDS, *(-seconds for seconds in waits.values())])

    def _begin_round(self) -> bool:
        """Set the positions; True if they are at the front."""
        if self._has_news:
            self._has_news = False
            self._positions.look_back()
        if self._starts_from_front or self._positions.are_old():
            self._starts_from_front = False
            self._positions.forget()
            return True
        return False

    def _current_services(self) -> list[Service]:
        if time.monotonic() - self._services_since > POLL_SECONDS / 2 or not self._services:
            self._services, self._services_since = presence.services(), time.monotonic()
        return self._services

    def _look(self, services: Sequence[Service]) -> tuple[dict[Line, Probe], dict[Line, float]]:
        """Find where something is due, with probes that begin there, and for how many seconds each line has waited.

        That is negative until the line's first task is due, and minus infinity for an empty line.
        """
        probes = {line: self._positions.probe(line, service.band) for service in services for line in _lines(service)}
        firsts = lifecycle.first_due(probes) if probes else {}
        waits = {line: -firsts[line].in_seconds if line in firsts else -inf for line in probes}
        # Up to the first there is nothing, so it need not be walked over again.
        due = {
            line: replace(probe, after_run_at=firsts[line].run_at, after_id=None)
            for line, probe in probes.items()
            if waits[line] >= 0
        }
        for line in probes.keys() - due.keys():
            self._positions.nothing_due(line)
        return due, waits

    def _spaces(self, services: Sequence[Service]) -> dict[str, int]:
        """Tell how many hints fit into each band's queue; the broker is asked only where that is not sure without."""
        threads = {broker_queue(service.queue, service.band): service.threads for service in services}
        windows = {name: self._windows.setdefault(name, Window()) for name in threads}
        spaces = {name: window.sure_space(threads=threads[name]) for name, window in windows.items()}
        unsure = [name for name, space in spaces.items() if space is None]
        depths = self._source.depth(unsure) if unsure else {}
        looked = {name: windows[name].space(depth, threads=threads[name]) for name, depth in depths.items()}
        return {name: looked[name] if space is None else space for name, space in spaces.items()}

    def _fill(
        self, services: Sequence[Service], due: Mapping[Line, Probe], waits: Mapping[Line, float], term: int
    ) -> tuple[int, bool]:
        """Dispatch what is due; return how many tasks, and whether some band may hold more than had space.

        A band waits while the next higher one of its queue has more or waits itself, if the same workers serve both:
        what is in the broker already could else overtake what is not. Bands come from high to low.
        """
        probes = [[due[line] for line in _lines(service) if line in due] for service in services]
        spaces = self._spaces([service for service, wanted in zip(services, probes, strict=True) if wanted])
        total, is_any_full, has_more = 0, False, False
        for service, wanted in zip(services, probes, strict=True):
            if service.follows and has_more:
                continue
            count, has_more = self._dispatch(service, wanted, waits, spaces, term) if wanted else (0, False)
            total += count
            is_any_full = is_any_full or has_more
        return total, is_any_full

    def _dispatch(
        self,
        service: Service,
        probes: Sequence[Probe],
        waits: Mapping[Line, float],
        spaces: Mapping[str, int],
        term: int,
    ) -> tuple[int, bool]:
        """Dispatch one band of a queue; return how many tasks, and whether more may wait than there was space for."""
        failpoints.reach("before_dispatch")
        band = _BANDS[service.band]
        name = broker_queue(service.queue, band.name)
        space = spaces[name]
        places = self._ageing.places(name, space)
        aged = self._ageing.probes(service.queue, band, waits) if places else []
        if aged:
            old = self._hand_over(service, name, aged, places, term)
            self._ageing.spend(name, len(old))
            space -= len(old)
        if space == 0:
            return 0, True
        found = self._hand_over(service, name, [replace(probe, limit=space) for probe in probes], space, term)
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
            # Some may have arrived; those find their tasks PENDING and are stale. Until the broker answers when it is
            # looked at, nothing more is dispatched, or an outage would turn the whole backlog into QUEUED.
            self._windows.clear()
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
