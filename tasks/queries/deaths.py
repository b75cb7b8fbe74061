"""Deaths of failures over the last minutes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.db.statements import fetch
from tasks.models.ids import first_id_at

#: Of the curve of one failure.
MINUTES = 60
#: Deaths of all causes that one read looks at, the newest: in a flood, earlier minutes are left out.
MOST_LOOKED_AT = 100_000


class Curve(NamedTuple):
    """Deaths in each of the last periods, the oldest first; ``is_cut`` if not all of them were looked at."""

    counts: list[int]
    is_cut: bool


# Ids grow with time: the key leads to the dead letters of the last minutes. The first row counts all of them.
_DEATHS = """
WITH recent AS MATERIALIZED (
    SELECT letter.fingerprint, letter.died_at FROM callboard_deadletter AS letter
    WHERE letter.id >= %(first)s ORDER BY letter.id DESC LIMIT %(most)s
)
SELECT '', 0, count(*) FROM recent
UNION ALL
SELECT fingerprint, floor(EXTRACT(EPOCH FROM %(now)s - died_at) / %(seconds)s)::integer, count(*)
FROM recent WHERE fingerprint = ANY(%(causes)s) GROUP BY 1, 2
"""


def curves(fingerprints: Sequence[str], *, now: datetime, points: int, minutes: int) -> dict[str, Curve]:
    """Count the deaths of failures in each of the last ``points`` periods, resolved ones too; by fingerprint.

    Parameters:
        minutes: the length of a period.
    """
    if not fingerprints:
        return {}
    first = first_id_at(now - timedelta(minutes=points * minutes))
    bounds = {"now": now, "seconds": 60 * minutes, "first": first, "most": MOST_LOOKED_AT}
    (_, _, looked_at), *found = fetch(_DEATHS, {"causes": list(fingerprints), **bounds})
    counts = {fingerprint: [0] * points for fingerprint in fingerprints}
    for fingerprint, ago, deaths in found:
        # The database's clock may be ahead.
        if (ago := max(ago, 0)) < points:
            counts[fingerprint][-1 - ago] += deaths
    return {fingerprint: Curve(one, looked_at >= MOST_LOOKED_AT) for fingerprint, one in counts.items()}


def deaths_per_minute(fingerprint: str, *, now: datetime) -> Curve:
    """Count the deaths of a failure in each of the last minutes, resolved ones too."""
    return curves([fingerprint], now=now, points=MINUTES, minutes=1)[fingerprint]
