"""What is failing: the causes of the newest open dead letters, each with its last hour; a bounded read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from dlq.queries import Cause, open_causes
from tasks.queries.stats import Tally
from tasks.states import TaskOutcome

#: The trend: so many points of so many minutes, the last hour together.
TREND_POINTS, TREND_MINUTES = 12, 5


@dataclass(frozen=True)
class FailingCause:
    """A cause of open dead letters."""

    cause: Cause
    #: Deaths in each part of the last hour, the oldest first.
    trend: tuple[int, ...]

    @property
    def first_at(self) -> datetime:
        """When the first of them died."""
        return min(self.cause.died_at)

    @property
    def last_at(self) -> datetime:
        """When the last of them died."""
        return max(self.cause.died_at)

    @property
    def in_last_hour(self) -> int:
        """Deaths of the last hour that are still open."""
        return sum(self.trend)

    def share_of(self, actors: Mapping[str, Tally]) -> float | None:
        """Compare them with all runs of the actor in the last hour; None if it is not known to have run."""
        runs = actors.get(self.cause.actor, Tally()).of(TaskOutcome.SUCCEEDED, TaskOutcome.DEAD)
        return min(1.0, self.in_last_hour / runs) if runs else None


@dataclass(frozen=True)
class Failing:
    """The causes, those with most deaths in the last hour first."""

    rows: list[FailingCause]
    letters: int
    is_capped: bool


def failing(*, most: int) -> Failing:
    """Group the newest open dead letters by their cause."""
    found, now = open_causes(), timezone.now()
    rows = [FailingCause(cause, _trend(cause.died_at, now)) for cause in found.rows]
    rows.sort(key=lambda one: (-one.in_last_hour, -one.cause.letters))
    return Failing(rows[:most], found.letters, is_capped=found.is_capped)


def _trend(died: Sequence[datetime], now: datetime) -> tuple[int, ...]:
    counts = [0] * TREND_POINTS
    for moment in died:
        ago = (now - moment) // timedelta(minutes=TREND_MINUTES)
        if 0 <= ago < TREND_POINTS:
            counts[-1 - ago] += 1
    return tuple(counts)
