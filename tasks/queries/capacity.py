"""What live workers can run: threads and actors of each band of each queue."""

from collections import defaultdict
from functools import cache
from typing import NamedTuple

from tasks.db.statements import fetch
from tasks.lifecycle.predicates import LIVE_WORKER
from tasks.priority import BANDS, broker_queue


class BandCapacity(NamedTuple):
    """What the live workers of one band of a queue can run."""

    queue: str
    #: "high", "medium" or "low".
    name: str
    #: Of all of these workers together.
    threads: int
    #: Whether all of these workers serve the next higher band too.
    serves_higher: bool
    actors: list[str]

    @property
    def broker_queue(self) -> str:
        """The band's queue in the broker."""
        return broker_queue(self.queue, self.name)


class Profile(NamedTuple):
    """What a worker registers; many workers have the same."""

    #: Names of queues, for all of their bands, or of single bands ("default.high").
    queues: tuple[str, ...]
    actors: tuple[str, ...]


class Live(NamedTuple):
    """What the live workers registered, and which queues are not paused."""

    queues: frozenset[str]
    #: The number of threads of each profile.
    threads: dict[Profile, int]


# Workers are grouped here: a thousand of them have few profiles. The row without threads has the queues.
_LIVE = f"""
SELECT NULL, ARRAY(SELECT name FROM callboard_queue WHERE paused_at IS NULL), NULL
UNION ALL
SELECT sum(threads)::integer, queues, actors FROM callboard_worker AS worker WHERE {LIVE_WORKER} GROUP BY queues, actors
"""


def live() -> Live:
    """Look up what live workers registered, and the queues that are not paused."""
    rows = fetch(_LIVE, {})
    threads = {Profile(tuple(queues), tuple(actors)): count for count, queues, actors in rows if count is not None}
    return Live(frozenset(name for count, queues, _ in rows if count is None for name in queues), threads)


def bands_of(found: Live) -> list[BandCapacity]:
    """List the bands that live workers serve, by queue and from high to low; those of paused queues are left out."""
    profiles = list(found.threads)
    serving: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, profile in enumerate(profiles):
        for served in _served_by(profile, found.queues):
            serving[served].append(place)

    @cache
    def actors_of(places: tuple[int, ...]) -> list[str]:
        return sorted({actor for place in places for actor in profiles[place].actors})

    bands = []
    for queue in sorted({queue for queue, _ in serving}):
        higher: list[int] = []
        for band in BANDS:
            places = serving.get((queue, band.name), [])
            if places:
                threads = sum(found.threads[profiles[place]] for place in places)
                serves_higher = set(higher).issuperset(places)
                bands.append(BandCapacity(queue, band.name, threads, serves_higher, actors_of(tuple(places))))
            higher = places
    return bands


def by_band() -> list[BandCapacity]:
    """Look up the bands that live workers serve, in the order of ``bands_of``."""
    return bands_of(live())


def _served_by(profile: Profile, queues: frozenset[str]) -> set[tuple[str, str]]:
    """Return the queue and the name of each band that workers of a profile serve."""
    whole = {(queue, band.name) for queue in queues.intersection(profile.queues) for band in BANDS}
    split = {(queue, band) for queue, _, band in (name.rpartition(".") for name in profile.queues) if queue in queues}
    return whole | {(queue, band.name) for queue, name in split for band in BANDS if band.name == name}
