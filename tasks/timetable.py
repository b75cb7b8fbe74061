"""Timetables: at which moments a schedule fires, from a cron expression in a time zone or a fixed interval.

Pure: a timetable reads no clock and no database. Moments are UTC.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
#: In characters; a longer expression names nothing that a shorter one cannot.
LONGEST_CRON, LONGEST_ZONE = 200, 64
SHORTEST_INTERVAL_SECONDS = 1.0

_EXPECTED = (
    "expected minute, hour, day of month, month and day of week, such as 0 6 * * 1-5, with seconds before them if "
    f"there are six, or one of {', '.join(ALIASES)}"
)


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """When a schedule fires: by ``cron`` in ``timezone``, or every ``every_seconds`` from ``anchor`` on.

    A cron expression that fixes minute and hour fires once a day at a change of the clocks, too: a time that is left
    out fires when the gap ends, one that comes twice the first time. One whose minute or hour begins with ``*`` fires
    in real time: in the hour that comes twice, twice.

    Parameters:
        anchor: intervals count from it; usually when the schedule was made.
        starts_at, ends_at: no fire is before the one or after the other.
    """

    anchor: datetime
    cron: str = ""
    every_seconds: float | None = None
    timezone: str = "UTC"
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def after(self, moment: datetime) -> datetime | None:
        """Give the first fire after a moment; None if there is none."""
        return next(self.fires(moment), None)

    def fires(self, after: datetime) -> Iterator[datetime]:
        """Give the fires after a moment, in order; most timetables never end."""
        if self.starts_at is not None:
            # A fire at the start itself counts.
            after = max(after, self.starts_at - timedelta(microseconds=1))
        last = after
        for fire in self._by_cron(after) if self.cron else self._by_interval(after):
            if self.ends_at is not None and fire > self.ends_at:
                return
            # Two times in one gap of the clocks are one moment; in the hour that comes twice, the first is over.
            if fire > last:
                yield fire
                last = fire

    def between(self, start: datetime, end: datetime, *, most: int) -> list[datetime]:
        """List the fires from ``start`` to ``end``, both included, and no more than ``most``."""
        found = islice(self.fires(start - timedelta(microseconds=1)), most)
        return [fire for fire in found if fire <= end]

    def offset_seconds(self, moment: datetime) -> int:
        """Tell how far the zone's clocks are ahead of UTC, by the rules that this process knows."""
        ahead = moment.astimezone(zone(self.timezone)).utcoffset()
        return int((ahead or timedelta()).total_seconds())

    def counted_from(self, moment: datetime, *, offset_seconds: int | None) -> datetime:
        """Give the moment after which fires count, if all up to ``moment`` were decided by other rules of the zone.

        A zone whose rules changed reads another time at that moment. What its clocks have shown already must not fire
        again.

        Parameters:
            offset_seconds: what ``offset_seconds`` told when ``moment`` was decided; None if nothing was.
        """
        if offset_seconds is None or not _has_fixed_time(self.cron) or offset_seconds == self.offset_seconds(moment):
            return moment
        shown = moment.astimezone(UTC).replace(tzinfo=None) + timedelta(seconds=offset_seconds)
        return max(moment, shown.replace(tzinfo=zone(self.timezone)).astimezone(UTC))

    def describe(self) -> str:
        """Say in words when it fires."""
        if self.cron:
            return f"{CronSim(ALIASES.get(self.cron, self.cron), self.anchor).explain()}, {self.timezone}"
        return f"Every {self.every_seconds:g} s"

    def _by_cron(self, after: datetime) -> Iterator[datetime]:
        simulation: Any = _simulation(ALIASES.get(self.cron, self.cron), after.astimezone(zone(self.timezone)))
        try:
            for fire in simulation:
                yield fire.astimezone(UTC)
        except (OverflowError, ValueError):
            # Past the last year of Python's calendar.
            return

    def _by_interval(self, after: datetime) -> Iterator[datetime]:
        every, anchor = timedelta(seconds=self.every_seconds or 0), self.starts_at or self.anchor
        number = max(0, (after - anchor) // every)
        try:
            while True:
                fire = anchor + number * every
                if fire > after:
                    yield fire
                number += 1
        except OverflowError:
            return


def _simulation(cron: str, start: datetime) -> CronSim:
    found: Any = CronSim(cron, start)
    if _has_fixed_time(cron) and found.dt.tzinfo not in (None, UTC):
        # cronsim itself heeds changes of the clocks only in expressions of five fields.
        found.fixup_tz, found.dt = found.dt.tzinfo, found.dt.replace(tzinfo=None)
    return found  # type: ignore[no-any-return]


def _has_fixed_time(cron: str) -> bool:
    fields = ALIASES.get(cron, cron).split()[-5:]
    return bool(fields) and not fields[0].startswith("*") and not fields[1].startswith("*")


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """Look up a time zone of IANA.

    Raises:
        ValueError: says what was expected.
    """
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        # Also the name of a folder, and one that leads out of the folder of zones.
        raise ValueError(f"expected the name of a time zone such as Europe/Berlin or UTC, got {name!r:.80}") from error


@lru_cache(maxsize=1024)
def check_cron(cron: str) -> None:
    """Refuse a cron expression that is not valid, or that names no day of any year.

    Raises:
        ValueError: says what was expected and what is wrong.
    """
    if len(cron) > LONGEST_CRON:
        raise ValueError(f"expected at most {LONGEST_CRON} characters, got {len(cron)}")
    if cron.startswith("@") and cron not in ALIASES:
        raise ValueError(f"{_EXPECTED}, got {cron!r:.80}")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    try:
        never = next(CronSim(ALIASES.get(cron, cron), start), None) is None
    except (CronSimError, AssertionError, TypeError) as error:
        what = str(error).lower() or "a step of what has no steps"
        why = f"{what}, or none of its months has that day" if "day-of-month" in what else what
        raise ValueError(f"{_EXPECTED}, got {cron!r:.80}: {why}") from error
    if never:
        raise ValueError(f"expected a time that comes, got {cron!r:.80}: no day within 50 years fits")


def split(text: str) -> tuple[str, str]:
    """Split what code declares, ``0 6 * * 1-5 Europe/Berlin``, into a cron expression and a zone; UTC if it has none.

    Raises:
        ValueError: one of them is not valid.
    """
    *fields, last = text.split() or [""]
    if fields and (len(fields) in (5, 6) or fields[0].startswith("@")) and last[:1].isalpha():
        cron = " ".join(fields)
        if len(fields) == 6 or fields[0].startswith("@") or not _is_cron(text):
            check_cron(cron)
            zone(last)
            return cron, last
    check_cron(text)
    return text, "UTC"


def _is_cron(text: str) -> bool:
    try:
        check_cron(text)
    except ValueError:
        return False
    return True
