"""The dispatcher: hands due tasks to the broker, a bounded window at a time.

The broker never holds a backlog. Each broker queue has a window of ready hints that follows the workers' speed; all
other tasks wait as rows, where priority, pause and cancel act at once.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import NamedTuple

from django.db import Error as DatabaseProblem

from tasks import lifecycle
from tasks.broker.sources.base import Source
from tasks.db.clock import Clock
from tasks.errors import BrokerUnavailable
from tasks.fairness import NO_KEY
from tasks.hint import Hint
from tasks.lifecycle import Dispatched, Probe, Share
from tasks.log import get_logger
from tasks.priority import BANDS
from tasks.queries import due as due_query
from tasks.queries.capacity import BandCapacity
from tasks.queries.due import FirstTask, Lane, Position, PriorityLevel
from tasks.scheduler import unrunnable
from tasks.scheduler.ageing import Ageing
from tasks.scheduler.capacity import Capacity
from tasks.scheduler.cursors import Cursors
from tasks.scheduler.lanes import Turns, in_turn, share_a_level, steps_of, unfinished
from tasks.scheduler.leadership import LEASE, Leadership
from tasks.scheduler.loop import Loop
from tasks.scheduler.unrunnable import Scanner
from tasks.scheduler.window import LARGEST_WINDOW, Windows
from tasks.testing import failpoints

log = get_logger(__name__)

#: A lost wake-up costs this long.
POLL_SECONDS = 1.0
#: How often the window's space is looked at while a backlog waits for it.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.004, 0.1


class DueTasks(NamedTuple):
    """What a round found to be due, before it dispatches."""

    #: For each lane with a due task that can be run, probes that start there; only the last takes more than one task.
    probes: dict[Lane, list[Probe]]
    #: For how many seconds that task has been due; negative until then. Lanes without a task are left out.
    waits: dict[Lane, float]
    #: The same for the first task of each lane, whether a worker can run it or not.
    first_waits: dict[Lane, float]
    #: Whether some lane begins with a task that no live worker can run.
    passed_unrunnable: bool = False
    #: Whether lanes were left for the next round.
    is_cut: bool = False

    @property
    def lag_seconds(self) -> float:
        """For how long the first task that a worker can run has been due; 0 if none is."""
        return max((self.waits[lane] for lane in self.probes), default=0.0)

    @property
    def next_in_seconds(self) -> float | None:
        """When to look again; None if first tasks do not tell, because no worker can run one of them."""
        if self.passed_unrunnable or any(wait >= 0 for wait in self.waits.values()):
            return None
        return min([POLL_SECONDS, *(-wait for wait in self.waits.values())])


class Demand(NamedTuple):
    """A band and the lanes with due tasks in it, in the steps in which they are served.

    Lanes of one level share a step of their own: what one of them leaves goes to the others, before lower priorities.
    """

    band: BandCapacity
    steps: Sequence[Sequence[Lane]]
    #: Whether lanes that share the first step get equal parts of the space; otherwise each may take all of it.
    takes_turns: bool = True


class Offer(NamedTuple):
    """What a band is offered in a step of a round."""

    band: BandCapacity
    share: Share
    #: How many tasks each lane may take; lanes that may take none are left out.
    quotas: Mapping[Lane, int]


def limited(probes: Sequence[Probe], most: int) -> list[Probe]:
    """Let the probes of a lane together take at most this many tasks; each but the last takes one."""
    return [replace(probe, limit=min(probe.limit, most - place)) for place, probe in enumerate(probes[:most])]


def behind(probes: Sequence[Probe], taken: int) -> list[Probe]:
    """Leave out the probes of a lane whose tasks were taken; the last one stays, since it takes more."""
    return list(probes[min(taken, len(probes) - 1) :])


def batches(offers: Sequence[Offer]) -> Iterator[list[Offer]]:
    """Put offers together that one statement can serve: for the same actors, with no more space than a window has."""
    by_actors: dict[tuple[str, ...], list[Offer]] = {}
    for offer in offers:
        by_actors.setdefault(tuple(offer.band.actors), []).append(offer)
    for same in by_actors.values():
        batch, space = list[Offer](), 0
        for offer in same:
            if batch and space + offer.share.space > LARGEST_WINDOW:
                yield batch
                batch, space = [], 0
            batch.append(offer)
            space += offer.share.space
        yield batch


class Dispatcher(Loop):
    """Marks due tasks QUEUED, commits, and publishes their hints, while this process leads."""

    name = "dispatcher"
    # A dispatch that a crash of PostgreSQL undoes is PENDING again; its hint is stale, or wins the one claim there is.
    commits_asynchronously = True
    moved: int | None = 0

    def __init__(self, leadership: Leadership, source: Source) -> None:
        super().__init__()
        self._leadership = leadership
        self._source = source
        self._capacity = Capacity()
        self._cursors = Cursors()
        self._scanner = Scanner(self._capacity, self._cursors)
        self._windows = Windows(source)
        self._turns = Turns()
        #: Whether the last look was for all lanes, not only those that have a cursor.
        self._has_searched = True
        self._ageing = Ageing()
        self._clock = Clock()
        self._was_woken = False
        self._starts_from_front = True
        self._pause = SHORTEST_PAUSE_SECONDS
        #: For how long the first task that a worker can run had been due in the last round.
        self._lag = 0.0

    @property
    def lag_seconds(self) -> float:
        """How late the oldest task is that is next in line; 0 while this process follows, or nothing is due."""
        return self._lag if self._leadership.term is not None else 0.0

    @property
    def hints(self) -> dict[str, int]:
        """How many hints each broker queue holds, as far as this process knows."""
        return self._windows.hints if self._leadership.term is not None else {}

    def wake(self, *, from_front: bool = True) -> None:
        """Start the next round at once.

        Parameters:
            from_front: tasks may have come in anywhere, not only at the end of their levels.
        """
        self._was_woken = True
        # Never set to False here: another wake-up may have asked for it.
        if from_front:
            self._starts_from_front = True
        super().wake()

    def step(self) -> float:
        """Fill the windows; wait for space, for the next ``run_at`` or for a wake-up."""
        term = self._leadership.term
        if term is None:
            return POLL_SECONDS / 2
        self._refresh_capacity()
        is_from_front, began = self._begin_round(), time.monotonic()
        due = self._look()
        took = time.monotonic() - began
        self._lag = due.lag_seconds
        if is_from_front:
            self._cursors.front_took(took)
        moved, is_any_full = self._fill(due, term) if due.probes else (0, False)
        # After the dispatch, since it may move a cursor back behind which something was just dispatched.
        has_found = self._cursors.are_behind and self._scanner.continue_stretches()
        is_behind = self._cursors.are_behind or due.is_cut
        # Passing unrunnable tasks is work enough: no pause after such a batch.
        self.moved = None if is_behind or (due.passed_unrunnable and took > unrunnable.SCAN_SECONDS) else moved
        if is_any_full and not is_behind:
            return self._pause_for_space(moved)
        self._pause = SHORTEST_PAUSE_SECONDS
        if moved or has_found or is_behind:
            # The tasks behind these may be due as well.
            return 0
        return self._next_in_seconds(due)

    def _next_in_seconds(self, due: DueTasks) -> float:
        seconds = due.next_in_seconds
        if seconds is None:
            # No worker can run the first tasks: behind them others wait for their time.
            seconds = due_query.next_due_in_seconds(sorted(self._capacity.queues))
        until_search = POLL_SECONDS if self._has_searched else self._cursors.search_in_seconds
        return min(POLL_SECONDS, until_search, POLL_SECONDS if seconds is None else seconds)

    def _refresh_capacity(self) -> None:
        if not self._capacity.is_stale:
            return
        # Tasks that were passed may be for a worker that is new.
        self._cursors.restart_queues(self._capacity.refresh())
        if self._clock.look():
            # After a step back, new tasks come in far before the cursors and the ends of stretches.
            self._cursors.restart_queues(self._capacity.queues)

    def _begin_round(self) -> bool:
        """Set the cursors; True if they are at the front."""
        if self._was_woken:
            self._was_woken = False
            self._cursors.look_back()
        if self._starts_from_front or self._cursors.are_stale():
            self._starts_from_front = False
            self._cursors.restart()
            return True
        return False

    def _look(self) -> DueTasks:
        """Look at the first task of each lane behind its cursor, and past those that no live worker can run.

        Queues whose lanes are all read from the front, as empty ones are, cost one descent each instead of ten.
        """
        begun = self._cursors.queues & self._capacity.queues
        served_by = self._capacity.served_by
        plain = [Lane(*level) for level in self._capacity.levels(begun)]
        keyed = [lane for lane in self._cursors.keyed_lanes(begun) if lane.level in served_by]
        probes = {lane: self._cursors.probe(lane, served_by[lane.level].name) for lane in (*plain, *keyed)}
        others = [queue for queue in self._capacity.queues if queue not in begun]
        found = self._first_tasks(probes, others) if served_by else {}
        firsts = {lane: first for lane, first in found.items() if lane.level in served_by}
        for lane in probes.keys() - firsts.keys():
            self._cursors.nothing_due(lane)
        first_waits = {lane: -first.due_in_seconds for lane, first in firsts.items()}
        due: dict[Lane, list[Probe]] = {}
        waits, passed_unrunnable, is_cut = first_waits.copy(), False, False
        until = time.monotonic() + unrunnable.SCAN_SECONDS
        for lane, wait in first_waits.items():
            if wait < 0:
                self._cursors.nothing_due(lane)
                continue
            first = firsts[lane]
            positions = [first.position]
            if lane.number != NO_KEY and lane not in probes:
                # While the search rests, it takes its turns like the others.
                self._cursors.advance(lane, first.position.just_before)
            if not self._capacity.can_run(lane.level, first.actor):
                if lane.number != NO_KEY and passed_unrunnable and time.monotonic() >= until:
                    waits[lane], is_cut = -inf, True
                    continue
                positions = self._scanner.pass_by(lane, first, until)
                later = (positions[0].run_at - first.position.run_at).total_seconds() if positions else inf
                waits[lane], passed_unrunnable = wait - later, True
            if positions:
                self._cursors.caught_up(lane)
                due[lane] = self._starts(lane, served_by[lane.level], positions)
        return DueTasks(due, waits, first_waits, passed_unrunnable, is_cut)

    def _first_tasks(self, probes: Mapping[Lane, Probe], queues: Sequence[str]) -> dict[Lane, FirstTask]:
        """Look behind the cursors, and also for lanes that have none, unless that search rests."""
        self._has_searched, began = not self._cursors.search_in_seconds, time.monotonic()
        try:
            return due_query.first_tasks(probes, queues, finds_lanes=self._has_searched)
        finally:
            if self._has_searched:
                self._cursors.search_took(time.monotonic() - began)

    @staticmethod
    def _starts(lane: Lane, band: BandCapacity, positions: Sequence[Position]) -> list[Probe]:
        """Start probes right at runnable tasks; only the last takes more than that one task."""
        starts = [position.just_before for position in positions]
        found = [
            Probe(lane.priority, band.name, 1, after_run_at=run_at, after_id=id, lane=lane.number)
            for run_at, id in starts
        ]
        return [*found[:-1], replace(found[-1], limit=LARGEST_WINDOW)]

    def _fill(self, due: DueTasks, term: int) -> tuple[int, bool]:
        """Dispatch due tasks; return how many, and whether some band may have more of them than space.

        A band waits while the next higher one of its queue has more or waits itself, if the same workers serve both:
        its hints could overtake tasks that do not fit in yet. Bands come from high to low.
        """
        lanes: dict[PriorityLevel, list[Lane]] = {}
        for lane in due.probes:
            lanes.setdefault(lane.level, []).append(lane)
        demands = [
            Demand(band, steps_of(band, lanes))
            for queue in sorted({level.queue for level in lanes})
            for band in self._capacity.bands[queue]
        ]
        spaces = self._windows.spaces({band.broker_queue: band.threads for band, steps, _ in demands if steps})
        total, is_any_full, having_more = 0, False, set[str]()
        for name in (band.name for band in BANDS):
            turn = [
                one
                for one in demands
                if one.band.name == name and not (one.band.serves_higher and one.band.queue in having_more)
            ]
            having_more -= {one.band.queue for one in turn}
            count, full = self._dispatch([one for one in turn if one.steps], due, spaces, term)
            having_more |= full
            total += count
            is_any_full = is_any_full or bool(full)
        return total, is_any_full

    def _dispatch(
        self, demands: Sequence[Demand], due: DueTasks, spaces: Mapping[str, int], term: int
    ) -> tuple[int, set[str]]:
        """Dispatch one band of each queue; return how many tasks, and the queues with more than there was space for."""
        total, full, left = 0, set[str](), dict[str, tuple[Demand, int]]()
        for demand in demands:
            band, top = demand.band, demand.steps[0][0].priority
            space = spaces[band.broker_queue] - self._dispatch_aged(band, top, due, spaces, term)
            if space:
                left[band.queue] = demand, space
            else:
                full.add(band.queue)
        while left:
            offers = [self._offer(demand, due, space) for demand, space in left.values()]
            for batch in batches(offers):
                found = self._hand_over(batch, term)
                for band, _, quotas in batch:
                    own = found.get(band.queue, [])
                    self._cursors.dispatched(band.queue, own)
                    self._ageing.earn(band.broker_queue, len(own))
                    total += len(own)
                    (_, (step, *later), _), space = left.pop(band.queue)
                    rest = unfinished(step, quotas, own)
                    for lane in rest:
                        due.probes[lane] = behind(due.probes[lane], quotas.get(lane, 0))
                    steps = [rest, *later] if rest else later
                    if len(own) == space:
                        full.add(band.queue)
                    elif steps:
                        # If nothing could be taken, as of a paused queue, the other lanes get one try together.
                        left[band.queue] = Demand(band, steps, takes_turns=bool(own or not rest)), space - len(own)
        return total, full

    def _offer(self, demand: Demand, due: DueTasks, space: int) -> Offer:
        """Offer the space to the lanes of a band's first step."""
        band, (step, *_), takes_turns = demand
        is_shared = takes_turns and share_a_level(step)
        quotas = self._turns.share_out(step, space) if is_shared else dict.fromkeys(step, space)
        probes = [probe for lane, quota in quotas.items() for probe in limited(due.probes[lane], quota)]
        return Offer(band, Share(band.queue, probes, space), quotas)

    def _dispatch_aged(self, band: BandCapacity, top: int, due: DueTasks, spaces: Mapping[str, int], term: int) -> int:
        """Dispatch tasks that aged and go before a band's own, of which the highest has priority ``top``."""
        quota = self._ageing.quota(band.broker_queue, spaces[band.broker_queue])
        aged = self._aged(band, top, due) if quota else []
        if not aged:
            return 0
        found = self._hand_over([Offer(band, Share(band.queue, aged, quota), {})], term)
        count = len(found.get(band.queue, []))
        self._ageing.spend(band.broker_queue, count)
        return count

    def _aged(self, band: BandCapacity, top: int, due: DueTasks) -> list[Probe]:
        """Build probes for tasks old enough to go before a band's own, of which the highest has priority ``top``."""
        # Levels of workers with other actors: what those passed as unrunnable, this band's workers may know.
        levels = self._capacity.levels([band.queue])
        other = {level for level in levels if self._capacity.served_by[level].actors != band.actors}
        oldest: dict[PriorityLevel, tuple[float, Lane]] = {}
        for lane, wait in due.waits.items():
            waited = due.first_waits[lane] if lane.level in other else wait
            oldest[lane.level] = max((waited, lane), oldest.get(lane.level, (waited, lane)))
        waits = {level: waited for level, (waited, _) in oldest.items()}
        probes = []
        for priority, waited_seconds in self._ageing.order(band.queue, top, waits):
            level = PriorityLevel(band.queue, priority)
            if level in other:
                # From the front of each lane, since nobody has looked for a task that this band's workers know.
                found = [(wait, lane.number) for lane, wait in due.first_waits.items() if lane.level == level]
                probes += [
                    Probe(priority, band.name, 1, waited_seconds, lane=number)
                    for wait, number in sorted(found, reverse=True)
                    if wait >= waited_seconds
                ]
            else:
                _, lane = oldest[level]
                probes.append(replace(due.probes[lane][0], band=band.name, limit=1, waited_seconds=waited_seconds))
        return probes

    def _hand_over(self, offers: Sequence[Offer], term: int) -> dict[str, list[Dispatched]]:
        """Dispatch and publish for bands with the same actors, each of another queue; return the tasks by queue."""
        failpoints.reach("before_dispatch")
        shares, actors = [offer.share for offer in offers], offers[0].band.actors
        dispatched = lifecycle.dispatch_many(shares, actors=actors, lease=LEASE, term=term)
        found: dict[str, list[Dispatched]] = {}
        for one in dispatched:
            found.setdefault(one.queue, []).append(one)
        if dispatched:
            names = {offer.share.queue: offer.band.broker_queue for offer in offers}
            self._publish({names[queue]: in_turn(tasks) for queue, tasks in found.items()}, term)
        return found

    def _publish(self, found: Mapping[str, Sequence[Dispatched]], term: int) -> None:
        failpoints.reach("after_dispatch")
        hints = [(name, one.hint) for name, tasks in found.items() for one in tasks]
        try:
            self._source.publish_many(hints)
        except BrokerUnavailable:
            # Some hints may have arrived; they become stale, because their tasks go back to PENDING. Nothing more is
            # dispatched until the broker tells its depth, or an outage would turn the whole backlog into QUEUED.
            self._windows.clear()
            self._take_back([hint for _, hint in hints], term)
            raise
        failpoints.reach("after_publish")
        for name, tasks in found.items():
            self._windows.add(name, len(tasks))

    def _take_back(self, hints: Sequence[Hint], term: int) -> None:
        try:
            count = lifecycle.requeue_many(hints, lease=LEASE, term=term)
            log.warning("broker is away; tasks wait in the database", count=count)
        except DatabaseProblem as error:
            log.warning("broker and database are away; the sweeper will requeue the tasks", error=str(error))

    def _pause_for_space(self, count: int) -> float:
        self._pause = SHORTEST_PAUSE_SECONDS if count else min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return self._pause
