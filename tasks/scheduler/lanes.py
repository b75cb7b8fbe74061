"""Whose turn it is: the lanes of a priority level share what a round dispatches of it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tasks.lifecycle import Dispatched
from tasks.queries.capacity import BandCapacity
from tasks.queries.due import Lane, PriorityLevel
from tasks.scheduler.capacity import levels_of


class Turns:
    """Shares the space of each round among the lanes that have due tasks."""

    def __init__(self) -> None:
        #: The number of the lane whose turn is next.
        self._next: dict[PriorityLevel, int] = {}

    def share_out(self, lanes: Sequence[Lane], space: int) -> dict[Lane, int]:
        """Give each lane of a level an equal part; what is left over goes to the lanes whose turn is next, one each.

        Lanes that get nothing are left out.
        """
        level = lanes[0].level
        next_number = self._next.get(level, 0)
        order = sorted(lanes, key=lambda lane: (lane.number < next_number, lane.number))
        each, rest = divmod(space, len(order))
        if rest:
            self._next[level] = order[rest].number
        return {lane: each + (place < rest) for place, lane in enumerate(order) if each or place < rest}


def share_a_level(lanes: Sequence[Lane]) -> bool:
    """Tell whether lanes of a step are all of one level, so that they take turns."""
    return len(lanes) > 1 and lanes[0].level == lanes[-1].level


def steps_of(band: BandCapacity, lanes: Mapping[PriorityLevel, Sequence[Lane]]) -> list[list[Lane]]:
    """Divide the lanes of a band that have due tasks into steps, the highest priority first."""
    steps = list[list[Lane]]()
    for level in levels_of(band):
        found = list(lanes.get(level, ()))
        if len(found) == 1 and steps and not share_a_level(steps[-1]):
            steps[-1] += found
        elif found:
            steps.append(found)
    return steps


def unfinished(step: Sequence[Lane], quotas: Mapping[Lane, int], found: Sequence[Dispatched]) -> list[Lane]:
    """List the lanes of a shared level that may have more due tasks: those that took their whole quota, if any."""
    if not share_a_level(step):
        return []
    taken = Counter((one.priority, one.lane) for one in found)
    return [lane for lane in step if taken[lane.priority, lane.number] >= quotas.get(lane, 0)]


def in_turn(tasks: Sequence[Dispatched]) -> list[Dispatched]:
    """Put tasks in the order in which they are published: by priority, and one of each lane in turn.

    Parameters:
        tasks: those of each lane in their order.
    """
    if len({one.lane for one in tasks}) < 2:
        return list(tasks)
    place: Counter[tuple[int, int]] = Counter()
    places = []
    for one in tasks:
        place[one.priority, one.lane] += 1
        places.append((-one.priority, place[one.priority, one.lane]))
    return [one for _, one in sorted(zip(places, tasks, strict=True), key=lambda pair: pair[0])]
