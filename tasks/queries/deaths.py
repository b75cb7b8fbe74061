"""Deaths per minute of one failure."""

from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.db.statements import fetch
from tasks.models.ids import first_id_at

#: Of a curve of deaths.
MINUTES = 60
#: Deaths of all causes that one curve looks at, the newest: in a flood, earlier minutes are left out.
MOST_LOOKED_AT = 100_000


class Curve(NamedTuple):
    """Deaths in each of the last minutes, the oldest first; ``is_cut`` if not all of them were looked at."""

    counts: list[int]
    is_cut: bool


# Ids grow with time: the key leads to the dead letters of the hour.
_DEATHS = """
SELECT floor(extract(epoch FROM recent.died_at - %(begin)s) / 60)::integer AS minute,
       count(*) FILTER (WHERE recent.fingerprint = %(fingerprint)s), count(*)
FROM (
    SELECT letter.died_at, letter.fingerprint FROM callboard_deadletter AS letter
    WHERE letter.id >= %(first)s ORDER BY letter.id DESC LIMIT %(most)s
) AS recent
GROUP BY minute
"""


def deaths_per_minute(fingerprint: str, *, now: datetime) -> Curve:
    """Count the deaths of a failure in each of the last minutes, resolved ones too."""
    begin = now - timedelta(minutes=MINUTES)
    bounds = {"begin": begin, "first": first_id_at(begin), "most": MOST_LOOKED_AT}
    counts, looked = [0] * MINUTES, 0
    for minute, deaths, of_all in fetch(_DEATHS, {"fingerprint": fingerprint, **bounds}):
        looked += of_all
        if 0 <= minute < MINUTES:
            counts[minute] = deaths
    return Curve(counts, looked >= MOST_LOOKED_AT)
