"""What live workers can run: threads and actors of each band of each queue."""

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


# A worker's queues name a queue for all of its bands, or one band ("default.high").
_BY_BAND = f"""
WITH live AS MATERIALIZED (
    SELECT id, queues, actors, threads FROM callboard_worker AS worker WHERE {LIVE_WORKER}
), served AS (
    SELECT queue.name AS queue, band.name AS band, band.place, live.*
    FROM callboard_queue AS queue
    CROSS JOIN unnest(%(bands)s::text[]) WITH ORDINALITY AS band (name, place)
    JOIN live ON queue.name = ANY(live.queues) OR queue.name || '.' || band.name = ANY(live.queues)
    WHERE queue.paused_at IS NULL
)
SELECT queue, band, sum(threads)::integer,
       bool_and(EXISTS (
           SELECT FROM served AS higher
           WHERE higher.queue = served.queue AND higher.place = served.place - 1 AND higher.id = served.id)),
       ARRAY(SELECT DISTINCT actor FROM served AS one, unnest(one.actors) AS actor
             WHERE one.queue = served.queue AND one.band = served.band)
FROM served
GROUP BY queue, band, place
ORDER BY queue, place
"""


def by_band() -> list[BandCapacity]:
    """List the bands that live workers serve, by queue and from high to low; those of paused queues are left out."""
    return [BandCapacity(*row) for row in fetch(_BY_BAND, {"bands": [band.name for band in BANDS]})]
