"""Series, rates, percentiles and baselines, read from the statistics of tasks; the tables of tasks are not touched."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from tasks.db.statements import fetch
from tasks.histogram import percentile
from tasks.lifecycle.stats import MINUTE, PERIODS
from tasks.states import TaskOutcome

#: What ends an attempt or a task, and so counts as a run in rates of failure.
RUNS = (TaskOutcome.SUCCEEDED, TaskOutcome.RETRYING, TaskOutcome.DEAD)


class Window(Enum):
    """How far back a series goes, in steps of how many seconds; steps are multiples of the periods of rows so old."""

    HOUR = ("1h", 3_600, 60)
    DAY = ("24h", 86_400, 1_800)
    WEEK = ("7d", 604_800, 10_800)

    @classmethod
    def named(cls, name: str | None) -> "Window":
        """Find a window by its name; the hour if there is none of that name."""
        return next((one for one in cls if one.label == name), cls.HOUR)

    @property
    def label(self) -> str:
        """As in addresses."""
        return self.value[0]

    @property
    def seconds(self) -> int:
        """Of the whole window."""
        return self.value[1]

    @property
    def step(self) -> int:
        """Seconds of one point."""
        return self.value[2]


@dataclass
class Tally:
    """Counts by outcome, and how long tasks waited and ran."""

    counts: dict[str, int] = field(default_factory=dict)
    run_seconds: float = 0.0
    waits: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)

    def of(self, *outcomes: str) -> int:
        """Count what ended in one of these ways."""
        return sum(self.counts.get(outcome, 0) for outcome in outcomes)

    @property
    def ended(self) -> int:
        """Attempts that ended with a success or a failure, and deaths without an attempt."""
        return self.of(*RUNS)

    @property
    def failure_share(self) -> float | None:
        """The part of these that failed; None without any."""
        return self.of(TaskOutcome.RETRYING, TaskOutcome.DEAD) / self.ended if self.ended else None

    @property
    def death_share(self) -> float | None:
        """The part of these that died; None without any."""
        return self.of(TaskOutcome.DEAD) / self.ended if self.ended else None

    def wait(self, part: float) -> float | None:
        """Estimate a percentile of the waits in seconds."""
        return percentile(self.waits, part)

    def run(self, part: float) -> float | None:
        """Estimate a percentile of the run times in seconds."""
        return percentile(self.runs, part)

    def add(self, other: "Tally") -> None:
        """Add what another one counted."""
        for outcome, count in other.counts.items():
            self.counts[outcome] = self.counts.get(outcome, 0) + count
        self.run_seconds += other.run_seconds
        self.waits, self.runs = _sum(self.waits, other.waits), _sum(self.runs, other.runs)


def _sum(mine: Sequence[int], others: Sequence[int]) -> list[int]:
    longest = max(len(mine), len(others))
    padded = ([*one, *[0] * (longest - len(one))] for one in (mine, others))
    return [sum(pair) for pair in zip(*padded, strict=True)]


@dataclass
class Point(Tally):
    """What a series says of one step."""

    start: datetime = field(kw_only=True)


class Series(list[Point]):
    """Points without a gap, the oldest first; the last one is not over."""

    def total(self, last: int | None = None) -> Tally:
        """Add up all points, or the last ones."""
        sums = Tally()
        for point in self[-last:] if last else self:
            sums.add(point)
        return sums


def _start_of_step(moment: str) -> str:
    return f"date_bin(%(step)s * interval '1 second', {moment}, 'epoch')"


_STEP = _start_of_step("stat.start")
_SINCE = _start_of_step("statement_timestamp() - %(ago)s * interval '1 second'")
_UNTIL = _start_of_step("statement_timestamp() - %(until)s * interval '1 second'")
#: The key begins with the period, and rows of each are few.
_ROWS = f"""
    FROM callboard_taskstat AS stat
    WHERE stat.span_seconds IN {PERIODS} AND stat.start > {_SINCE} AND stat.start < {_UNTIL}
      + %(step)s * interval '1 second'
      AND (%(actors)s::text[] IS NULL OR stat.actor = ANY(%(actors)s::text[]))
      AND (%(queue)s IS NULL OR stat.queue = %(queue)s)"""

_COUNTS = f"""
SELECT {{key}}, stat.outcome, sum(stat.count)::bigint, sum(stat.run_seconds) {_ROWS}
GROUP BY 1, 2
"""
_HISTOGRAMS = f"""
SELECT key, array_agg(COALESCE(waits, 0)::bigint ORDER BY bucket), array_agg(COALESCE(runs, 0)::bigint ORDER BY bucket)
FROM (
    SELECT opened.key, pair.bucket, sum(pair.waits) AS waits, sum(pair.runs) AS runs
    FROM (SELECT {{key}} AS key, stat.waits, stat.runs {_ROWS}) AS opened
    CROSS JOIN LATERAL unnest(opened.waits, opened.runs) WITH ORDINALITY AS pair (waits, runs, bucket)
    GROUP BY opened.key, pair.bucket
) AS summed
GROUP BY key
"""
_BOUNDS = f"SELECT {_SINCE}, {_UNTIL}"


def series(
    window: Window, *, actor: str | None = None, queue: str | None = None, with_times: bool = False, back: int = 0
) -> Series:
    """Read a window's points.

    Parameters:
        with_times: also histograms.
        back: how many seconds before now the window ends.
    """
    bounds = {
        "step": window.step,
        "ago": window.seconds + back,
        "until": back,
        "actors": None if actor is None else [actor],
        "queue": queue,
    }
    ((since, until),) = fetch(_BOUNDS, bounds)
    points = {moment: Point(start=moment) for moment in _moments(since, until, window.step)}
    _fill(points.get, _STEP, bounds, with_times=with_times)
    return Series(points.values())


def _moments(since: datetime, until: datetime, step: int) -> Iterator[datetime]:
    """Give the starts of all steps after the first moment."""
    moment = since + timedelta(seconds=step)
    while moment <= until:
        yield moment
        moment += timedelta(seconds=step)


def _fill(tally_of: Callable[[Any], Tally | None], key: str, bounds: Mapping[str, object], *, with_times: bool) -> None:
    """Read the tallies of all values of a key; those for which ``tally_of`` gives None are left out."""
    for name, outcome, count, seconds in fetch(_COUNTS.format(key=key), bounds):
        if (tally := tally_of(name)) is not None:
            tally.counts[outcome] = count
            tally.run_seconds += seconds
    if with_times:
        for name, waits, runs in fetch(_HISTOGRAMS.format(key=key), bounds):
            if (tally := tally_of(name)) is not None:
                tally.waits, tally.runs = waits, runs


def by_actor(
    *, seconds: int, actors: Sequence[str] | None = None, queue: str | None = None, with_times: bool = False
) -> dict[str, Tally]:
    """Add up the last ``seconds``, to the minute, for each actor, or for each of these."""
    return _by("stat.actor", seconds, actors, queue, with_times=with_times)


def by_queue(*, seconds: int, with_times: bool = False) -> dict[str, Tally]:
    """Add up the last ``seconds``, to the minute, for each queue."""
    return _by("stat.queue", seconds, None, None, with_times=with_times)


def _by(
    key: str, seconds: int, actors: Sequence[str] | None, queue: str | None, *, with_times: bool
) -> dict[str, Tally]:
    found: dict[str, Tally] = defaultdict(Tally)
    names = None if actors is None else list(actors)
    bounds = {"step": MINUTE, "ago": seconds, "until": 0, "actors": names, "queue": queue}
    _fill(found.__getitem__, key, bounds, with_times=with_times)
    return dict(found)


_QUEUES_OF = f"""
SELECT stat.queue {_ROWS} AND stat.outcome <> 'SUBMITTED'
GROUP BY 1 ORDER BY sum(stat.count) FILTER (WHERE stat.outcome = 'DEAD') DESC NULLS LAST, 1
"""


def queues_of(actor: str, *, seconds: int) -> list[str]:
    """List the queues in which tasks of an actor ended in the last ``seconds``, those with most deaths first."""
    bounds = {"step": MINUTE, "ago": seconds, "until": 0, "actors": [actor], "queue": None}
    return [queue for (queue,) in fetch(_QUEUES_OF, bounds)]


def baseline() -> Tally:
    """Add up the same hour of yesterday; if nothing ended in it, the hour before the last one."""
    yesterday = series(Window.HOUR, back=86_400, with_times=True).total()
    return yesterday if yesterday.ended else series(Window.HOUR, back=3_600, with_times=True).total()
