"""How the dispatcher gets past tasks that no live worker can run, a bounded number of them in each round."""

import time
from datetime import timedelta

from tasks.queries import due
from tasks.queries.due import FirstTask, Lane, Position, Scan
from tasks.scheduler.capacity import Capacity
from tasks.scheduler.cursors import Cursors

#: How long one round scans lanes for a runnable task, and as long again stretches; in pieces that grow.
SCAN_SECONDS = 0.005
SMALLEST_PIECE, LARGEST_PIECE = 250, 4_000
#: So many runnable tasks that lie between unrunnable ones of a lane are dispatched in one round.
MOST_PICKED = 64


class Scanner:
    """Scans lanes that begin with unrunnable tasks, and moves their cursors."""

    def __init__(self, capacity: Capacity, cursors: Cursors) -> None:
        self._capacity = capacity
        self._cursors = cursors

    def pass_by(self, lane: Lane, first: FirstTask, until: float) -> list[Position]:
        """Scan a lane behind its unrunnable first task; return the positions of runnable ones."""
        scan = self._scan(lane, first.position, until, wanted=MOST_PICKED)
        if scan.runnable:
            return scan.runnable
        if scan.is_complete:
            self._cursors.advance(lane, scan.end)
            self._cursors.nothing_due(lane)
        else:
            now = first.position.run_at - timedelta(seconds=first.due_in_seconds)
            self._cursors.stopped_at(lane, scan.end, now=now)
        return []

    def continue_stretches(self) -> bool:
        """Scan on in stretches of unrunnable tasks for a moment; tell whether that found a runnable one."""
        has_found = False
        until = time.monotonic() + SCAN_SECONDS
        for lane, position in self._cursors.scans():
            began = time.monotonic()
            scan = self._scan(lane, position, until, wanted=1)
            took = time.monotonic() - began
            if scan.runnable:
                self._cursors.found_runnable(lane, scan.end.just_before, seconds=took)
                has_found = True
            else:
                self._cursors.scanned(lane, scan.end, is_end=scan.is_complete, seconds=took)
            if time.monotonic() >= until:
                # Each lane gets its turn: the next round starts with another one.
                break
        return has_found

    def _scan(self, lane: Lane, position: Position, until: float, *, wanted: int) -> Scan:
        """Scan a lane for runnable tasks, in pieces that grow while there is time."""
        piece, actors, runnable = SMALLEST_PIECE, self._capacity.served_by[lane.level].actors, list[Position]()
        while True:
            scan = due.scan(lane, after=position, actors=actors, wanted=wanted - len(runnable), most=piece)
            runnable += scan.runnable
            if len(runnable) == wanted or scan.is_complete or time.monotonic() >= until:
                return scan._replace(runnable=runnable)
            position, piece = scan.end, min(2 * piece, LARGEST_PIECE)
