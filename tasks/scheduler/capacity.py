"""What live workers can run, as the dispatcher last looked it up, and which priority levels they serve."""

import time
from collections.abc import Iterable, Sequence, Set
from itertools import groupby
from operator import attrgetter

from tasks.priority import BANDS, HIGHEST, LOWEST
from tasks.queries import capacity as capacity_query
from tasks.queries.capacity import BandCapacity, Live
from tasks.queries.due import PriorityLevel

#: How long an answer is used.
REFRESH_SECONDS = 0.5

_BANDS = {band.name: band for band in BANDS}


class Capacity:
    """The bands that live workers serve.

    Attributes:
        bands: of each queue, from high to low; paused queues are left out.
        served_by: the band whose workers serve a priority level.
    """

    def __init__(self) -> None:
        self.bands: dict[str, list[BandCapacity]] = {}
        self.served_by: dict[PriorityLevel, BandCapacity] = {}
        self._live: Live | None = None
        self._actors: dict[tuple[str, str], frozenset[str]] = {}
        self._refreshed_at = 0.0

    @property
    def queues(self) -> Set[str]:
        """The queues that are served."""
        return self.bands.keys()

    @property
    def is_stale(self) -> bool:
        """Whether to look again."""
        return time.monotonic() - self._refreshed_at > REFRESH_SECONDS or not self.bands

    def refresh(self) -> set[str]:
        """Look again; return the queues of bands whose workers can run more than before, or that are served no more."""
        live, self._refreshed_at = capacity_query.live(), time.monotonic()
        if live == self._live:
            return set()
        self._live, bands = live, capacity_query.bands_of(live)
        self.bands = {queue: list(served) for queue, served in groupby(bands, key=attrgetter("queue"))}
        self.served_by = _served_by(bands)
        actors = {(band.queue, band.name): frozenset(band.actors) for band in bands}
        before, self._actors = self._actors, actors
        more = {key for key, names in actors.items() if not names <= before.get(key, frozenset())}
        return {queue for queue, _ in more | (before.keys() - actors.keys())}

    def levels(self, queues: Iterable[str]) -> list[PriorityLevel]:
        """List the served priority levels of some queues."""
        levels = (PriorityLevel(queue, priority) for queue in queues for priority in range(LOWEST, HIGHEST + 1))
        return [level for level in levels if level in self.served_by]

    def can_run(self, level: PriorityLevel, actor: str) -> bool:
        """Tell whether the workers that serve a level know an actor."""
        band = self.served_by[level]
        return actor in self._actors[band.queue, band.name]


def levels_of(band: BandCapacity) -> list[PriorityLevel]:
    """List a band's priority levels, highest first."""
    priorities = _BANDS[band.name]
    return [PriorityLevel(band.queue, priority) for priority in range(priorities.highest, priorities.lowest - 1, -1)]


def _served_by(bands: Sequence[BandCapacity]) -> dict[PriorityLevel, BandCapacity]:
    """Map each level to its band; where no worker serves that one, to the next higher, where aged tasks may go."""
    served = {level: band for band in bands for level in levels_of(band)}
    for band in reversed(bands):
        for priority in range(LOWEST, _BANDS[band.name].lowest):
            served.setdefault(PriorityLevel(band.queue, priority), band)
    return served
