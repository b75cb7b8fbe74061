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
from typing import NamedTuple

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem

from tasks import lifecycle
from tasks.broker.sources import Source
from tasks.db.clock import Clock
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tasks.lifecycle import Dispatched, Probe
from tasks.priority import BANDS, LOWEST, broker_queue
from tasks.queries import capacity as capacity_query
from tasks.queries import due as due_query
from tasks.queries.capacity import BandCapacity
from tasks.queries.due import FirstTask, Position, PriorityLevel, Scan
from tasks.scheduler.cursors import Positions
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop
from tasks.testing import failpoints

log = structlog.get_logger(__name__)

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0
#: How often the window's space is looked at while a backlog waits for it.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.004, 0.1
WINDOW_SECONDS = 0.1
LARGEST_WINDOW = 1024
#: How long one round looks along lines for a task that somebody can run, and walks over walls; in pieces that grow.
STRANGERS_SECONDS = 0.005
SMALLEST_PIECE, LARGEST_PIECE = 250, 4_000
#: Where some can be run and others not, so many of one line are dispatched in one round.
MOST_PICKED = 64

_BANDS = {band.name: band for band in BANDS}


def _lines(service: BandCapacity) -> list[PriorityLevel]:
    band = _BANDS[service.name]
    return [PriorityLevel(service.queue, priority) for priority in range(band.highest, band.lowest - 1, -1)]


def _served(services: Sequence[BandCapacity]) -> dict[PriorityLevel, BandCapacity]:
    """Tell whose each line is; one of a band that nobody serves is the next higher one's, where its old may come up."""
    lines = {line: service for service in services for line in _lines(service)}
    for service in reversed(services):
        for priority in range(LOWEST, _BANDS[service.name].lowest):
            lines.setdefault(PriorityLevel(service.queue, priority), service)
    return lines


class Seen(NamedTuple):
    """What a round sees before it dispatches."""

    #: Where something is due that can be run, with probes that begin there; only the last is for more than one task.
    due: dict[PriorityLevel, list[Probe]]
    #: For how many seconds that has been due; negative until then, minus infinity where there is nothing.
    waits: dict[PriorityLevel, float]
    #: The same for the first of a line, whether it can be run or not.
    firsts: dict[PriorityLevel, float]

    @property
    def passed_strangers(self) -> bool:
        """Whether some line begins with what nobody can run."""
        return self.waits is not self.firsts

    @property
    def next_in_seconds(self) -> float | None:
        """When to look again; None where the first is no measure for it, because nobody could run it."""
        if self.passed_strangers or any(wait >= 0 for wait in self.waits.values()):
            return None
        return min([POLL_SECONDS, *(-wait for wait in self.waits.values())])


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


class Ageing:
    """Lets what has waited long go before higher priorities: one for each ``ONE_IN`` tasks that a band dispatches.

    A task's effective priority grows by one with every ``AGEING_SECONDS`` it is due.
    """

    ONE_IN = 8
    #: A band that had nothing for the old does not save up for them.
    MOST_CREDIT = 8.0

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def earn(self, name: str, count: int) -> None:
        """Count tasks that were dispatched in their own turn."""
        self._credit[name] = min(self.MOST_CREDIT, self._credit.get(name, 0.0) + count / self.ONE_IN)

    def spend(self, name: str, count: int) -> None:
        """Count old tasks that were let in."""
        self._credit[name] -= count

    def places(self, name: str, space: int) -> int:
        """Tell how many old tasks may come into a broker queue now."""
        return min(int(self._credit.get(name, 0.0)), space) if settings.AGEING_SECONDS else 0

    @staticmethod
    def order(queue: str, top: int, waits: Mapping[PriorityLevel, float]) -> list[tuple[int, float]]:
        """List the lower priorities whose first task has come up to the one that is served, with how long it must wait.

        The highest effective priority is first, and of equal ones the one that has been due for longest. Like that each
        task has a fixed place, ``run_at`` less its priority's worth of time: those before it are never more, so that
        none starves, whatever its priority.

        Parameters:
            top: the highest priority that is due in the band.
            waits: for how many seconds the first task of a line has been due.
        """
        step = settings.AGEING_SECONDS
        old = [
            (-(priority + wait / step), -wait, priority)
            for priority in range(LOWEST, top)
            if (wait := waits.get(PriorityLevel(queue, priority), -inf)) >= (top - priority) * step
        ]
        return [(priority, (top - priority) * step) for _, _, priority in sorted(old)]


class Dispatcher(Loop):
    """Marks due tasks QUEUED, commits, publishes their hints; while this process leads."""

    name = "dispatcher"
    # A dispatch that a crash of PostgreSQL undoes is PENDING again; its hint is stale, or wins the one claim there is.
    commits_asynchronously = True
    moved: int | None = 0

    def __init__(self, leadership: Leadership, source: Source) -> None:
        super().__init__()
        self._leadership = leadership
        self._source = source
        self._windows: dict[str, Window] = {}
        self._positions = Positions()
        self._clock = Clock()
        self._ageing = Ageing()
        self._has_news = False
        self._starts_from_front = True
        self._services: list[BandCapacity] = []
        self._served: dict[PriorityLevel, BandCapacity] = {}
        self._actors: dict[tuple[str, str], frozenset[str]] = {}
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
        seen = self._look()
        took = time.monotonic() - began
        if is_from_front:
            self._positions.front_took(took)
        moved, is_any_full = self._fill(services, seen, term) if seen.due else (0, False)
        # Afterwards, since it may set a position back behind which something was just dispatched.
        has_found = self._walk()
        is_behind = self._positions.is_busy or (seen.passed_strangers and took > STRANGERS_SECONDS)
        # To get past what nobody can run is work enough: no breath after it.
        self.moved = None if is_behind else moved
        if is_any_full and not self._positions.is_busy:
            return self._pause_for_space(moved)
        self._pause = SHORTEST_PAUSE_SECONDS
        if moved or has_found or self._positions.is_busy:
            # What comes after it may be due as well.
            return 0
        return self._next_in_seconds(seen)

    def _next_in_seconds(self, seen: Seen) -> float:
        seconds = seen.next_in_seconds
        if seconds is None:
            # Nobody can run what is first: behind it others wait for their time.
            seconds = due_query.next_due_in_seconds(sorted({service.queue for service in self._services}))
        return POLL_SECONDS if seconds is None else min(seconds, POLL_SECONDS)

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

    def _current_services(self) -> list[BandCapacity]:
        if time.monotonic() - self._services_since > POLL_SECONDS / 2 or not self._services:
            self._services, self._services_since = capacity_query.by_band(), time.monotonic()
            self._served = _served(self._services)
            self._note_actors()
            if self._clock.look():
                # What is submitted after a step back comes in far before the positions, and before walls' ends.
                self._positions.forget_queues({service.queue for service in self._services})
        return self._services

    def _note_actors(self) -> None:
        """Begin anew where workers can run more than before: what was passed over may be for them."""
        actors = {(one.queue, one.name): frozenset(one.actors) for one in self._services}
        before, self._actors = self._actors, actors
        more = {key for key, names in actors.items() if not names <= before.get(key, frozenset())}
        self._positions.forget_queues(queue for queue, _ in more | (before.keys() - actors.keys()))

    def _can_run(self, line: PriorityLevel, actor: str) -> bool:
        service = self._served[line]
        return actor in self._actors[service.queue, service.name]

    def _look(self) -> Seen:
        """Look at the first of each line, from its position on, and past what nobody can run."""
        probes = {line: self._positions.probe(line, service.name) for line, service in self._served.items()}
        firsts = due_query.first_tasks(probes) if probes else {}
        since = {line: -firsts[line].due_in_seconds if line in firsts else -inf for line in probes}
        due: dict[PriorityLevel, list[Probe]] = {}
        waits, until = since, time.monotonic() + STRANGERS_SECONDS
        for line, wait in since.items():
            if wait < 0:
                self._positions.nothing_due(line)
                continue
            first = firsts[line]
            places = [first.position]
            if not self._can_run(line, first.actor):
                places = self._pass_strangers(line, first, until)
                later = (places[0].run_at - first.position.run_at).total_seconds() if places else inf
                waits = {**waits, line: wait - later}
            if places:
                self._positions.caught_up(line)
                due[line] = self._starts(probes[line], places)
        return Seen(due, waits, since)

    @staticmethod
    def _starts(probe: Probe, places: Sequence[Position]) -> list[Probe]:
        """Begin at places, since up to there nothing can be run; only the last is for more than the one task there."""
        starts = [place.just_before for place in places]
        found = [replace(probe, after_run_at=run_at, after_id=id) for run_at, id in starts]
        return [*found[:-1], replace(found[-1], limit=LARGEST_WINDOW)]

    def _pass_strangers(self, line: PriorityLevel, first: FirstTask, until: float) -> list[Position]:
        """Go along a line past what nobody can run; return the places of what can be."""
        looked = self._look_along(line, first.position, until, wanted=MOST_PICKED)
        if looked.runnable:
            return looked.runnable
        if looked.is_complete:
            self._positions.advance(line, looked.end)
            self._positions.nothing_due(line)
        else:
            now = first.position.run_at - timedelta(seconds=first.due_in_seconds)
            self._positions.stop_at(line, looked.end, now=now)
        return []

    def _look_along(self, line: PriorityLevel, place: Position, until: float, *, wanted: int) -> Scan:
        """Look along a line for what can be run, in pieces that grow while there is time."""
        piece, actors, known = SMALLEST_PIECE, self._served[line].actors, list[Position]()
        while True:
            looked = due_query.scan(line, after=place, actors=actors, wanted=wanted - len(known), most=piece)
            known += looked.runnable
            if len(known) == wanted or looked.is_complete or time.monotonic() >= until:
                return looked._replace(runnable=known)
            place, piece = looked.end, min(2 * piece, LARGEST_PIECE)

    def _walk(self) -> bool:
        """Walk on over walls of what nobody can run, for a moment; tell whether that led to something else."""
        has_found = False
        until = time.monotonic() + STRANGERS_SECONDS
        for line, place in self._positions.walks():
            began = time.monotonic()
            looked = self._look_along(line, place, until, wanted=1)
            took = time.monotonic() - began
            if looked.runnable:
                self._positions.go_back(line, looked.end.just_before, seconds=took)
                has_found = True
            else:
                self._positions.walked(line, looked.end, is_end=looked.is_complete, seconds=took)
            if time.monotonic() >= until:
                # Each gets its turn.
                break
        return has_found

    def _spaces(self, services: Sequence[BandCapacity]) -> dict[str, int]:
        """Tell how many hints fit into each band's queue; the broker is asked only where that is not sure without."""
        threads = {broker_queue(service.queue, service.name): service.threads for service in services}
        windows = {name: self._windows.setdefault(name, Window()) for name in threads}
        spaces = {name: window.sure_space(threads=threads[name]) for name, window in windows.items()}
        unsure = [name for name, space in spaces.items() if space is None]
        depths = self._source.depth(unsure) if unsure else {}
        looked = {name: windows[name].space(depth, threads=threads[name]) for name, depth in depths.items()}
        return {name: looked[name] if space is None else space for name, space in spaces.items()}

    def _fill(self, services: Sequence[BandCapacity], seen: Seen, term: int) -> tuple[int, bool]:
        """Dispatch what is due; return how many tasks, and whether some band may hold more than had space.

        A band waits while the next higher one of its queue has more or waits itself, if the same workers serve both:
        what is in the broker already could else overtake what is not. Bands come from high to low.
        """
        probes = [[probe for line in _lines(service) for probe in seen.due.get(line, [])] for service in services]
        spaces = self._spaces([service for service, wanted in zip(services, probes, strict=True) if wanted])
        total, is_any_full, has_more = 0, False, False
        for service, wanted in zip(services, probes, strict=True):
            if service.serves_higher and has_more:
                continue
            count, has_more = self._dispatch(service, wanted, seen, spaces, term) if wanted else (0, False)
            total += count
            is_any_full = is_any_full or has_more
        return total, is_any_full

    def _dispatch(
        self, service: BandCapacity, probes: Sequence[Probe], seen: Seen, spaces: Mapping[str, int], term: int
    ) -> tuple[int, bool]:
        """Dispatch one band of a queue; return how many tasks, and whether more may wait than there was space for."""
        failpoints.reach("before_dispatch")
        name = broker_queue(service.queue, service.name)
        space = spaces[name]
        places = self._ageing.places(name, space)
        aged = self._aged(service, probes[0].priority, seen) if places else []
        if aged:
            old = self._hand_over(service, name, aged, places, term)
            self._ageing.spend(name, len(old))
            space -= len(old)
        if space == 0:
            return 0, True
        found = self._hand_over(
            service, name, [replace(probe, limit=min(probe.limit, space)) for probe in probes], space, term
        )
        self._positions.reached(service.queue, found)
        self._ageing.earn(name, len(found))
        return len(found), len(found) == space

    def _aged(self, service: BandCapacity, top: int, seen: Seen) -> list[Probe]:
        """Build probes for what is old enough to go before a band's own, of which the highest has priority ``top``."""
        # Who passed over strangers in a line may know other actors than these workers do.
        strange = {line for line, other in self._served.items() if other.actors != service.actors}
        waits = {line: seen.firsts[line] if line in strange else wait for line, wait in seen.waits.items()}
        probes = []
        for priority, waited_seconds in self._ageing.order(service.queue, top, waits):
            probe = Probe(priority, service.name, 1, waited_seconds)
            line = PriorityLevel(service.queue, priority)
            start = probe if line in strange else seen.due[line][0]
            probes.append(replace(probe, after_run_at=start.after_run_at, after_id=start.after_id))
        return probes

    def _hand_over(
        self, service: BandCapacity, name: str, probes: Sequence[Probe], space: int, term: int
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
