"""Fair scheduling: tasks of one priority with different fairness keys take turns.

Each key belongs to one of a fixed number of lanes, by its hash, and the dispatcher serves the lanes of a priority in
turn. So ten tasks of one customer do not wait behind a hundred thousand of another. Keys that share a lane share its
turns; that keeps the cost of a round bounded however many keys there are. (Stochastic fairness queueing, McKenney,
INFOCOM 1990.)
"""

from zlib import crc32

#: The lane of tasks without a key. It takes its turns like the others.
NO_KEY = 0
#: The chance that two keys share a lane is 1 in this many.
LANES = 256


def lane_of(key: str | None) -> int:
    """Return the lane of tasks with a fairness key.

    >>> lane_of(None), lane_of("customer-17") == lane_of("customer-17")
    (0, True)
    """
    return NO_KEY if key is None else 1 + crc32(key.encode()) % LANES
