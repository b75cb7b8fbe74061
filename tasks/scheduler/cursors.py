"""Where the dispatcher continues in each lane, and how it gets past tasks that no live worker can run.

A lane is read in the order of ``run_at``. Its front is the first entry of the index, however old; a cursor is the
position up to which it was dispatched.
"""

import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks.fairness import NO_KEY
from tasks.lifecycle import Dispatched, Probe
from tasks.queries.due import Lane, Position

#: How long a cursor is used before its lane is read from the front again; a task that comes in behind a cursor
#: without a wake-up waits that long.
CURSOR_SECONDS = 1.0
#: Longer if reading from the front would take more than this part of the time, up to the limit.
FRONT_AT_MOST_EVERY, LONGEST_CURSOR_SECONDS = 300, 30.0
#: Between a task's statement, which sets its ``run_at``, and its commit.
LOOK_BACK = timedelta(seconds=1)
#: A search for lanes reads each of them from the front too. A slow one is followed by a rest this many times as long.
SEARCH_REST_TIMES = 9
SLOW_SEARCH_SECONDS = 0.005
#: The scan of a stretch is followed by a rest this many times as long.
SCAN_REST_TIMES = 9
#: A stretch that is scanned faster needs no rest.
SHORTEST_STRETCH_SECONDS = 0.005

#: Sorts before all tasks with the same ``run_at``.
NO_ID = UUID(int=0)
FRONT = Position(datetime.min.replace(tzinfo=UTC), NO_ID)


@dataclass
class Stretch:
    """A part of a lane, from the front on, with more unrunnable tasks than one round can scan.

    The cursor jumps to its end, so that the lane goes on. Meanwhile it is scanned, a piece in each round, because
    there may be runnable tasks in it, and more may come in. Then the scan rests, and starts again from the front.
    """

    #: Where the lane continues.
    end: Position
    is_scanning: bool
    #: How far the scan has come.
    scanned_to: Position
    took_seconds: float = 0.0
    rests_until: float | None = None

    @property
    def has_cursor(self) -> bool:
        """Whether the lane's cursor is within the stretch, because the scan found a runnable task there."""
        return not self.is_scanning and self.rests_until is None

    def scan_again(self, end: Position) -> None:
        """Start from the front."""
        self.end, self.is_scanning, self.scanned_to, self.took_seconds, self.rests_until = end, True, FRONT, 0.0, None


class Cursors:
    """How far each lane was dispatched, so that dispatched tasks are not read again.

    A task at the end of its lane may be committed a little late, so a wake-up looks back a moment. Tasks may come in
    anywhere else too, so lanes are read from the front now and then. While somebody's long transaction is open, that
    reads every task that ran there since; the longer it takes, the less often it is done.
    """

    def __init__(self) -> None:
        self._reached: dict[Lane, Position] = {}
        self._looking_back: set[Lane] = set()
        #: Lanes that end with more unrunnable tasks than one round can scan: looking back, it would never get there.
        self._catching_up: set[Lane] = set()
        self._stretches: dict[Lane, Stretch] = {}
        self._since = time.monotonic()
        self._good_for = CURSOR_SECONDS
        self._searches_at = 0.0

    @property
    def queues(self) -> set[str]:
        """The queues with a lane that continues behind its front."""
        return {lane.queue for lane in self._reached.keys() | self._catching_up}

    def keyed_lanes(self, queues: Set[str]) -> list[Lane]:
        """List the lanes of fairness keys that continue behind their front."""
        return [
            lane for lane in self._reached.keys() | self._catching_up if lane.number != NO_KEY and lane.queue in queues
        ]

    @property
    def search_in_seconds(self) -> float:
        """How long until lanes of fairness keys are to be searched for."""
        return max(0.0, self._searches_at - time.monotonic())

    def search_took(self, seconds: float) -> None:
        """Note how long a look took that searched for lanes."""
        rest = SEARCH_REST_TIMES * seconds if seconds > SLOW_SEARCH_SECONDS else 0.0
        self._searches_at = time.monotonic() + min(rest, LONGEST_CURSOR_SECONDS)

    def look_back(self) -> None:
        """Start the next probe of each lane a moment before its cursor."""
        inside = {lane for lane, stretch in self._stretches.items() if stretch.has_cursor}
        self._looking_back = self._reached.keys() - self._catching_up - inside

    def restart(self) -> None:
        """Start from the front, since tasks may have come in anywhere; scan stretches again whose rest is over."""
        self._reached = {lane: self._reached[lane] for lane in self._stretches}
        self._since = time.monotonic()
        self._searches_at = 0.0
        for lane, stretch in self._stretches.items():
            if stretch.rests_until is not None and self._since >= stretch.rests_until:
                stretch.scan_again(self._reached[lane])

    def restart_queues(self, queues: Iterable[str]) -> None:
        """Start from the front of all lanes of some queues, stretches included: workers there can run more now."""
        names = set(queues)
        if names:
            self._searches_at = 0.0
        for kept in (self._reached, self._stretches):
            for lane in [lane for lane in kept if lane.queue in names]:
                del kept[lane]
        self._catching_up = {lane for lane in self._catching_up if lane.queue not in names}
        self._looking_back &= self._reached.keys()

    def are_stale(self) -> bool:
        """Tell whether it is time to start from the front."""
        return time.monotonic() - self._since > self._good_for

    def front_took(self, seconds: float) -> None:
        """Note how long it took to read all lanes from the front."""
        self._good_for = min(max(CURSOR_SECONDS, FRONT_AT_MOST_EVERY * seconds), LONGEST_CURSOR_SECONDS)

    def probe(self, lane: Lane, band: str) -> Probe:
        """Build the probe that starts at the lane's cursor."""
        last = self._reached.get(lane)
        if last is None:
            return Probe(lane.priority, band, 1, lane=lane.number)
        if lane in self._looking_back:
            return Probe(lane.priority, band, 1, after_run_at=last.run_at - LOOK_BACK, lane=lane.number)
        return Probe(lane.priority, band, 1, after_run_at=last.run_at, after_id=last.id, lane=lane.number)

    def nothing_due(self, lane: Lane) -> None:
        """Note that a lane was read to its end."""
        self._looking_back.discard(lane)
        self._catching_up.discard(lane)

    def caught_up(self, lane: Lane) -> None:
        """Note that a lane was read up to a runnable task."""
        self._catching_up.discard(lane)

    def dispatched(self, queue: str, tasks: Sequence[Dispatched]) -> None:
        """Move the cursors behind tasks that were dispatched, given in the order of priority and position."""
        # Only the last of each lane: a call per task would show in what a task costs.
        last = {(one.priority, one.lane): one for one in tasks}
        for (priority, number), one in last.items():
            self.advance(Lane(queue, priority, number), Position(one.run_at, one.hint.task_id))

    def advance(self, lane: Lane, position: Position) -> None:
        """Move a cursor."""
        self._reached[lane] = position
        self._looking_back.discard(lane)
        stretch = self._stretches.get(lane)
        if stretch and stretch.has_cursor and position >= stretch.end:
            self._end_scan(lane, stretch)

    # --- Stretches of unrunnable tasks ---

    def stopped_at(self, lane: Lane, position: Position, *, now: datetime) -> None:
        """Note that a round found only unrunnable tasks up to a position, and that the lane goes on behind it.

        Parameters:
            now: by the database's clock.
        """
        stretch = self._stretches.get(lane)
        has_cursor = stretch is not None and stretch.has_cursor
        end = stretch.end if stretch and has_cursor else Position(now - LOOK_BACK, NO_ID)
        self.advance(lane, position)
        if position >= end:
            self._catching_up.add(lane)
            return
        self._reached[lane] = end
        if stretch and stretch.is_scanning:
            stretch.end = end
        else:
            took = stretch.took_seconds if stretch and has_cursor else 0.0
            self._stretches[lane] = Stretch(end, is_scanning=True, scanned_to=position, took_seconds=took)

    @property
    def are_behind(self) -> bool:
        """Whether the next round has to continue at once with unrunnable tasks."""
        return bool(self._catching_up) or any(stretch.is_scanning for stretch in self._stretches.values())

    def scans(self) -> list[tuple[Lane, Position]]:
        """List the lanes whose stretch is being scanned, and how far; the first of them is the last next time."""
        scanning = [lane for lane, stretch in self._stretches.items() if stretch.is_scanning]
        if scanning:
            self._stretches[scanning[0]] = self._stretches.pop(scanning[0])
        return [(lane, self._stretches[lane].scanned_to) for lane in scanning]

    def scanned(self, lane: Lane, position: Position, *, is_end: bool, seconds: float) -> None:
        """Note how far a scan came, whether that is the lane's end, and how long it took."""
        stretch = self._stretches[lane]
        stretch.took_seconds += seconds
        stretch.scanned_to = position
        if is_end or position >= stretch.end:
            self._end_scan(lane, stretch)

    def found_runnable(self, lane: Lane, position: Position, *, seconds: float) -> None:
        """Move the cursor back into the stretch: the task found there is older than all behind the stretch."""
        stretch = self._stretches[lane]
        stretch.took_seconds += seconds
        if position >= stretch.end:
            self._end_scan(lane, stretch)
            return
        stretch.end = max(stretch.end, self._reached[lane])
        stretch.is_scanning = False
        self._reached[lane] = position
        self._looking_back.discard(lane)

    def _end_scan(self, lane: Lane, stretch: Stretch) -> None:
        if stretch.took_seconds < SHORTEST_STRETCH_SECONDS:
            del self._stretches[lane]
            return
        rest = min(SCAN_REST_TIMES * stretch.took_seconds, LONGEST_CURSOR_SECONDS)
        stretch.is_scanning, stretch.rests_until = False, time.monotonic() + rest
