"""Where the dispatcher continues in each priority level, and how it gets past tasks that no live worker can run.

A level is read in the order of ``run_at``. Its front is the first entry of the index, however old; a cursor is the
position up to which it was dispatched.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks.lifecycle import Dispatched, Probe
from tasks.queries.due import Position, PriorityLevel

#: How long a cursor is used before its level is read from the front again; a task that comes in behind a cursor
#: without a wake-up waits that long.
CURSOR_SECONDS = 1.0
#: Longer if reading from the front would take more than this part of the time, up to the limit.
FRONT_AT_MOST_EVERY, LONGEST_CURSOR_SECONDS = 300, 30.0
#: Between a task's statement, which sets its ``run_at``, and its commit.
LOOK_BACK = timedelta(seconds=1)
#: The scan of a stretch is followed by a rest this many times as long.
SCAN_REST_TIMES = 9
#: A stretch that is scanned faster needs no rest.
SHORTEST_STRETCH_SECONDS = 0.005

#: Sorts before all tasks with the same ``run_at``.
NO_ID = UUID(int=0)
FRONT = Position(datetime.min.replace(tzinfo=UTC), NO_ID)


@dataclass
class Stretch:
    """A part of a level, from the front on, with more unrunnable tasks than one round can scan.

    The cursor jumps to its end, so that the level goes on. Meanwhile it is scanned, a piece in each round, because
    there may be runnable tasks in it, and more may come in. Then the scan rests, and starts again from the front.
    """

    #: Where the level continues.
    end: Position
    is_scanning: bool
    #: How far the scan has come.
    scanned_to: Position
    took_seconds: float = 0.0
    rests_until: float | None = None

    @property
    def has_cursor(self) -> bool:
        """Whether the level's cursor is within the stretch, because the scan found a runnable task there."""
        return not self.is_scanning and self.rests_until is None

    def scan_again(self, end: Position) -> None:
        """Start from the front."""
        self.end, self.is_scanning, self.scanned_to, self.took_seconds, self.rests_until = end, True, FRONT, 0.0, None


class Cursors:
    """How far each priority level was dispatched, so that dispatched tasks are not read again.

    A task at the end of its level may be committed a little late, so a wake-up looks back a moment. Tasks may come in
    anywhere else too, so levels are read from the front now and then. While somebody's long transaction is open, that
    reads every task that ran there since; the longer it takes, the less often it is done.
    """

    def __init__(self) -> None:
        self._reached: dict[PriorityLevel, Position] = {}
        self._looking_back: set[PriorityLevel] = set()
        #: Levels that end with more unrunnable tasks than one round can scan: looking back, it would never get there.
        self._catching_up: set[PriorityLevel] = set()
        self._stretches: dict[PriorityLevel, Stretch] = {}
        self._since = time.monotonic()
        self._good_for = CURSOR_SECONDS

    @property
    def queues(self) -> set[str]:
        """The queues with a level that continues behind its front."""
        return {level.queue for level in self._reached.keys() | self._catching_up}

    def look_back(self) -> None:
        """Start the next probe of each level a moment before its cursor."""
        inside = {level for level, stretch in self._stretches.items() if stretch.has_cursor}
        self._looking_back = self._reached.keys() - self._catching_up - inside

    def restart(self) -> None:
        """Start from the front, since tasks may have come in anywhere; scan stretches again whose rest is over."""
        self._reached = {level: self._reached[level] for level in self._stretches}
        self._since = time.monotonic()
        for level, stretch in self._stretches.items():
            if stretch.rests_until is not None and self._since >= stretch.rests_until:
                stretch.scan_again(self._reached[level])

    def restart_queues(self, queues: Iterable[str]) -> None:
        """Start from the front of all levels of some queues, stretches included: workers there can run more now."""
        names = set(queues)
        for kept in (self._reached, self._stretches):
            for level in [level for level in kept if level.queue in names]:
                del kept[level]
        self._catching_up = {level for level in self._catching_up if level.queue not in names}
        self._looking_back &= self._reached.keys()

    def are_stale(self) -> bool:
        """Tell whether it is time to start from the front."""
        return time.monotonic() - self._since > self._good_for

    def front_took(self, seconds: float) -> None:
        """Note how long it took to read all levels from the front."""
        self._good_for = min(max(CURSOR_SECONDS, FRONT_AT_MOST_EVERY * seconds), LONGEST_CURSOR_SECONDS)

    def probe(self, level: PriorityLevel, band: str) -> Probe:
        """Build the probe that starts at the level's cursor."""
        last = self._reached.get(level)
        if last is None:
            return Probe(level.priority, band, 1)
        if level in self._looking_back:
            return Probe(level.priority, band, 1, after_run_at=last.run_at - LOOK_BACK)
        return Probe(level.priority, band, 1, after_run_at=last.run_at, after_id=last.id)

    def nothing_due(self, level: PriorityLevel) -> None:
        """Note that a level was read to its end."""
        self._looking_back.discard(level)
        self._catching_up.discard(level)

    def caught_up(self, level: PriorityLevel) -> None:
        """Note that a level was read up to a runnable task."""
        self._catching_up.discard(level)

    def dispatched(self, queue: str, tasks: Sequence[Dispatched]) -> None:
        """Move the cursors behind tasks that were dispatched, given in the order of priority and position."""
        # Only the last of each priority: a call per task would show in what a task costs.
        last = {one.priority: one for one in tasks}
        for priority, one in last.items():
            self.advance(PriorityLevel(queue, priority), Position(one.run_at, one.hint.task_id))

    def advance(self, level: PriorityLevel, position: Position) -> None:
        """Move a cursor."""
        self._reached[level] = position
        self._looking_back.discard(level)
        stretch = self._stretches.get(level)
        if stretch and stretch.has_cursor and position >= stretch.end:
            self._end_scan(level, stretch)

    # --- Stretches of unrunnable tasks ---

    def stopped_at(self, level: PriorityLevel, position: Position, *, now: datetime) -> None:
        """Note that a round found only unrunnable tasks up to a position, and that the level goes on behind it.

        Parameters:
            now: by the database's clock.
        """
        stretch = self._stretches.get(level)
        has_cursor = stretch is not None and stretch.has_cursor
        end = stretch.end if stretch and has_cursor else Position(now - LOOK_BACK, NO_ID)
        self.advance(level, position)
        if position >= end:
            self._catching_up.add(level)
            return
        self._reached[level] = end
        if stretch and stretch.is_scanning:
            stretch.end = end
        else:
            took = stretch.took_seconds if stretch and has_cursor else 0.0
            self._stretches[level] = Stretch(end, is_scanning=True, scanned_to=position, took_seconds=took)

    @property
    def are_behind(self) -> bool:
        """Whether the next round has to continue at once with unrunnable tasks."""
        return bool(self._catching_up) or any(stretch.is_scanning for stretch in self._stretches.values())

    def scans(self) -> list[tuple[PriorityLevel, Position]]:
        """List the levels whose stretch is being scanned, and how far; the first of them is the last next time."""
        scanning = [level for level, stretch in self._stretches.items() if stretch.is_scanning]
        if scanning:
            self._stretches[scanning[0]] = self._stretches.pop(scanning[0])
        return [(level, self._stretches[level].scanned_to) for level in scanning]

    def scanned(self, level: PriorityLevel, position: Position, *, is_end: bool, seconds: float) -> None:
        """Note how far a scan came, whether that is the level's end, and how long it took."""
        stretch = self._stretches[level]
        stretch.took_seconds += seconds
        stretch.scanned_to = position
        if is_end or position >= stretch.end:
            self._end_scan(level, stretch)

    def found_runnable(self, level: PriorityLevel, position: Position, *, seconds: float) -> None:
        """Move the cursor back into the stretch: the task found there is older than all behind the stretch."""
        stretch = self._stretches[level]
        stretch.took_seconds += seconds
        if position >= stretch.end:
            self._end_scan(level, stretch)
            return
        stretch.end = max(stretch.end, self._reached[level])
        stretch.is_scanning = False
        self._reached[level] = position
        self._looking_back.discard(level)

    def _end_scan(self, level: PriorityLevel, stretch: Stretch) -> None:
        if stretch.took_seconds < SHORTEST_STRETCH_SECONDS:
            del self._stretches[level]
            return
        rest = min(SCAN_REST_TIMES * stretch.took_seconds, LONGEST_CURSOR_SECONDS)
        stretch.is_scanning, stretch.rests_until = False, time.monotonic() + rest
