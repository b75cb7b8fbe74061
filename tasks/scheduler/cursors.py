"""Where the dispatcher goes on in each line of waiting tasks, and how it gets past those that nobody can run."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks.lifecycle import Dispatched, Probe
from tasks.queries.due import Position, PriorityLevel

#: How long a position in the index is believed; rows that come in behind it, and nobody told, wait that long.
POSITION_SECONDS = 1.0
#: Longer, if the way from the front would take more than this part of the time, but not for ever.
FRONT_AT_MOST_EVERY, LONGEST_POSITION_SECONDS = 300, 30.0
#: Between a task's statement, which sets its ``run_at``, and its commit.
LOOK_BACK = timedelta(seconds=1)
#: A walk over a wall is followed by a rest so many times as long.
WALL_REST = 9
#: What is walked over in less is no wall.
SHORTEST_WALL_SECONDS = 0.005

#: Before all that have the same ``run_at``.
NO_ID = UUID(int=0)
FRONT = Position(datetime.min.replace(tzinfo=UTC), NO_ID)


@dataclass
class Wall:
    """Tasks in a line that no live worker can run, too many to be walked over in one round.

    The line goes on behind them. They are walked over meanwhile, a piece in each round, because among them there may be
    some that a worker can run, and more may come in; then a rest, then again from the front.
    """

    #: Behind it the line goes on, while what is before it is walked over.
    frontier: Position
    is_walking: bool
    #: How far the walk has come.
    at: Position
    took_seconds: float = 0.0
    rests_until: float | None = None

    @property
    def is_inside(self) -> bool:
        """Whether the line's position is within it, at a task that somebody can run."""
        return not self.is_walking and self.rests_until is None

    def walk_again(self, frontier: Position) -> None:
        """Begin at the front."""
        self.frontier, self.is_walking, self.at, self.took_seconds, self.rests_until = frontier, True, FRONT, 0.0, None


class Positions:
    """Where each priority of each queue was read up to, so that what was taken is not walked over again.

    What comes in at the end of a line may still be committed a little late, so a wake-up looks back a moment. The front
    is for what comes in anywhere: under somebody's long transaction every task that ever ran there is walked over, so
    the longer that takes the more seldom it is done.
    """

    def __init__(self) -> None:
        self._reached: dict[PriorityLevel, Position] = {}
        self._looking_back: set[PriorityLevel] = set()
        #: Lines with more strangers at their end than one round walks over: who looks back would never get there.
        self._catching_up: set[PriorityLevel] = set()
        self._walls: dict[PriorityLevel, Wall] = {}
        self._since = time.monotonic()
        self._good_for = POSITION_SECONDS

    def look_back(self) -> None:
        """Begin the next probe of each line a moment before its position."""
        inside = {line for line, wall in self._walls.items() if wall.is_inside}
        self._looking_back = self._reached.keys() - self._catching_up - inside

    def forget(self) -> None:
        """Start from the front: something may have come in anywhere. Walls are walked over again when it is time."""
        self._reached = {line: self._reached[line] for line in self._walls}
        self._since = time.monotonic()
        for line, wall in self._walls.items():
            if wall.rests_until is not None and self._since >= wall.rests_until:
                wall.walk_again(self._reached[line])

    def forget_queues(self, queues: Iterable[str]) -> None:
        """Start from the front of all lines of some queues, walls too: somebody came who can run more."""
        names = set(queues)
        for kept in (self._reached, self._walls):
            for line in [line for line in kept if line.queue in names]:
                del kept[line]
        self._catching_up = {line for line in self._catching_up if line.queue not in names}
        self._looking_back &= self._reached.keys()

    def are_old(self) -> bool:
        """Whether to start from the front, as is done once in a while."""
        return time.monotonic() - self._since > self._good_for

    def front_took(self, seconds: float) -> None:
        """Note how long the way from the front was."""
        self._good_for = min(max(POSITION_SECONDS, FRONT_AT_MOST_EVERY * seconds), LONGEST_POSITION_SECONDS)

    def probe(self, line: PriorityLevel, band: str) -> Probe:
        """Build the probe that goes on where the last one ended."""
        last = self._reached.get(line)
        if last is None:
            return Probe(line.priority, band, 1)
        if line in self._looking_back:
            return Probe(line.priority, band, 1, after_run_at=last.run_at - LOOK_BACK)
        return Probe(line.priority, band, 1, after_run_at=last.run_at, after_id=last.id)

    def nothing_due(self, line: PriorityLevel) -> None:
        """Note that a line was looked at up to its end."""
        self._looking_back.discard(line)
        self._catching_up.discard(line)

    def caught_up(self, line: PriorityLevel) -> None:
        """Note that a line was looked at up to a task that can be run."""
        self._catching_up.discard(line)

    def reached(self, queue: str, dispatched: Sequence[Dispatched]) -> None:
        """Remember the last task of each priority."""
        # They come in order, and to note each of them would show in what a task costs.
        last = {one.priority: one for one in dispatched}
        for priority, one in last.items():
            self.advance(PriorityLevel(queue, priority), Position(one.run_at, one.hint.task_id))

    def advance(self, line: PriorityLevel, place: Position) -> None:
        """Go on behind a place."""
        self._reached[line] = place
        self._looking_back.discard(line)
        wall = self._walls.get(line)
        if wall and wall.is_inside and place >= wall.frontier:
            self._end_walk(line, wall)

    # --- Walls ---

    def stop_at(self, line: PriorityLevel, place: Position, *, now: datetime) -> None:
        """Note that a round came as far as this over what nobody can run, and that there is more.

        Parameters:
            now: by the database's clock.
        """
        wall = self._walls.get(line)
        is_inside = wall is not None and wall.is_inside
        frontier = wall.frontier if wall and is_inside else Position(now - LOOK_BACK, NO_ID)
        self.advance(line, place)
        if place >= frontier:
            self._catching_up.add(line)
            return
        self._reached[line] = frontier
        if wall and wall.is_walking:
            wall.frontier = frontier
        else:
            took = wall.took_seconds if wall and is_inside else 0.0
            self._walls[line] = Wall(frontier, is_walking=True, at=place, took_seconds=took)

    @property
    def is_busy(self) -> bool:
        """Whether the next round has to go on at once with what nobody can run."""
        return bool(self._catching_up) or any(wall.is_walking for wall in self._walls.values())

    def walks(self) -> list[tuple[PriorityLevel, Position]]:
        """List the lines whose walls are walked over, and how far that has come; who is first now is last next time."""
        walking = [line for line, wall in self._walls.items() if wall.is_walking]
        if walking:
            self._walls[walking[0]] = self._walls.pop(walking[0])
        return [(line, self._walls[line].at) for line in walking]

    def walked(self, line: PriorityLevel, place: Position, *, is_end: bool, seconds: float) -> None:
        """Note how far a walk came, whether that is the line's end, and how long it took."""
        wall = self._walls[line]
        wall.took_seconds += seconds
        wall.at = place
        if is_end or place >= wall.frontier:
            self._end_walk(line, wall)

    def go_back(self, line: PriorityLevel, place: Position, *, seconds: float) -> None:
        """Go on within a wall: the walk came to a task that can be run, and it is older than all behind the wall."""
        wall = self._walls[line]
        wall.took_seconds += seconds
        if place >= wall.frontier:
            self._end_walk(line, wall)
            return
        wall.frontier = max(wall.frontier, self._reached[line])
        wall.is_walking = False
        self._reached[line] = place
        self._looking_back.discard(line)

    def _end_walk(self, line: PriorityLevel, wall: Wall) -> None:
        if wall.took_seconds < SHORTEST_WALL_SECONDS:
            del self._walls[line]
            return
        rest = min(WALL_REST * wall.took_seconds, LONGEST_POSITION_SECONDS)
        wall.is_walking, wall.rests_until = False, time.monotonic() + rest
