"""Priorities 1–10 (10 runs first), the three bands of a queue, and the broker queue of each band."""

from collections.abc import Collection
from functools import cache
from typing import NamedTuple


class Band(NamedTuple):
    """A third of a queue's priorities; each band is one queue in the broker."""

    name: str
    lowest: int
    highest: int
    #: The priority that a caller means by the band's name.
    default: int


HIGH = Band("high", 8, 10, 9)
MEDIUM = Band("medium", 4, 7, 5)
LOW = Band("low", 1, 3, 2)
#: In the order in which workers take from them.
BANDS = (HIGH, MEDIUM, LOW)

LOWEST, HIGHEST = LOW.lowest, HIGH.highest


def band_of(priority: int) -> str:
    """Name the band of a priority.

    >>> band_of(8), band_of(7), band_of(1)
    ('high', 'medium', 'low')
    """
    return next(band.name for band in BANDS if priority >= band.lowest)


def broker_queue(queue: str, band: str) -> str:
    """Name the broker queue of a queue's band.

    >>> broker_queue("default", "high")
    'default.high'
    """
    return f"{queue}.{band}"


def broker_queues(queue: str) -> list[str]:
    """Name the broker queues of all bands of a queue, high first."""
    return [broker_queue(queue, band.name) for band in BANDS]


def bands_named(name: str) -> list[str]:
    """Name the broker queues that a name given to a worker means: all bands of a queue, or the one that it names.

    >>> bands_named("default"), bands_named("default.low")
    (['default.high', 'default.medium', 'default.low'], ['default.low'])
    """
    return [name] if is_broker_queue(name) else broker_queues(name)


def shortest_names(names: Collection[str]) -> list[str]:
    """Shorten a list of broker queues: a queue with all of its bands goes by its own name.

    >>> shortest_names(["default.high", "default.low", "mail.high", "mail.low", "mail.medium"])
    ['default.high', 'default.low', 'mail']
    """
    shortest = []
    for queue in sorted({name.rpartition(".")[0] for name in names}):
        found = [name for name in broker_queues(queue) if name in names]
        shortest += [queue] if len(found) == len(BANDS) else found
    return shortest


def is_broker_queue(name: str) -> bool:
    """Tell whether a name is that of a broker queue: one with a band's ending.

    >>> is_broker_queue("default.high"), is_broker_queue("default")
    (True, False)
    """
    return name in broker_queues(name.rpartition(".")[0])


# Cached, because it is called for each task that starts.
@cache
def effective_priority(priority: int, broker_queue_name: str) -> int:
    """Return the priority at which a claimed task runs: an aged task that came with a higher band runs with its first.

    >>> effective_priority(9, "default.high"), effective_priority(1, "default.high")
    (9, 10)
    """
    band = next(band for band in BANDS if broker_queue_name.endswith(f".{band.name}"))
    return priority if priority >= band.lowest else band.highest


def from_actor_priority(priority: int, *, default: int) -> int:
    """Read the ``priority`` of an actor in Dramatiq, where 0 is the default and lower numbers run first.

    >>> [from_actor_priority(one, default=5) for one in (-9, -1, 0, 1, 100)]
    [10, 6, 5, 4, 1]
    """
    return min(max(default - priority, LOWEST), HIGHEST)


def from_broker_priority(priority: int, *, default: int) -> int:
    """Read the ``broker_priority`` of RabbitMQ, where 10 is the most urgent, and 0 is a message that has none.

    >>> [from_broker_priority(one, default=5) for one in (0, 4, 9, 10, 255)]
    [5, 7, 9, 10, 10]
    """
    return default + min(priority, 10) * (HIGHEST - default) // 10


def from_django_priority(priority: int, *, default: int) -> int:
    """Read the ``priority`` of Django's Tasks framework, -100 to 100, where 0 is the default and 100 runs first.

    >>> [from_django_priority(one, default=5) for one in (-100, -1, 0, 1, 20, 21, 100)]
    [1, 4, 5, 6, 6, 7, 10]
    """
    # Rounded away from the default, so that 1 is more urgent than 0.
    if priority > 0:
        return default - (-priority * (HIGHEST - default) // 100)
    return default + priority * (default - LOWEST) // 100


def to_django_priority(priority: int, *, default: int) -> int:
    """Give the furthest of Django's priorities that ``from_django_priority`` reads as this one.

    >>> [to_django_priority(one, default=5) for one in (1, 4, 5, 6, 10)]
    [-100, -25, 0, 20, 100]
    """
    if priority > default:
        return 100 * (priority - default) // (HIGHEST - default)
    return -(100 * (default - priority) // (default - LOWEST)) if priority < default else 0


def parse_priority(value: object) -> int:
    """Read a priority: a whole number from 1 to 10, or a band's name in upper or lower case.

    Raises:
        ValueError: with a message that may be shown to the caller.

    >>> parse_priority("High"), parse_priority(3)
    (9, 3)
    """
    if isinstance(value, str):
        for band in BANDS:
            if value.strip(" \t\r\n").lower() == band.name:
                return band.default
    if isinstance(value, int) and not isinstance(value, bool) and LOWEST <= value <= HIGHEST:
        return value
    raise ValueError(
        f'expected a whole number from {LOWEST} to {HIGHEST} or "high", "medium", "low", got {value!r:.50}'
    )
