"""What is failing: the failures with open dead letters, each with its last hour; a bounded read."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.utils import timezone

from dlq.models import Failure
from tasks.queries.deaths import curves
from tasks.queries.stats import Tally
from tasks.states import TaskOutcome

#: The trend: so many points of so many minutes, the last hour together.
TREND_POINTS, TREND_MINUTES = 12, 5
#: The failures that were last seen, from which those with most deaths are chosen.
MOST_LOOKED_AT = 200


@dataclass(frozen=True)
class Failing:
    """A failure with open dead letters that is not snoozed."""

    failure: Failure
    #: Deaths in each part of the last hour, the oldest first, resolved ones too.
    trend: tuple[int, ...]

    @property
    def in_last_hour(self) -> int:
        """Deaths of the last hour."""
        return sum(self.trend)

    def share_of(self, actors: Mapping[str, Tally]) -> float | None:
        """Compare them with all runs of the actor in the last hour; None if it is not known to have run."""
        runs = actors.get(self.failure.actor, Tally()).of(TaskOutcome.SUCCEEDED, TaskOutcome.DEAD)
        return min(1.0, self.in_last_hour / runs) if runs else None


def failing(*, most: int) -> list[Failing]:
    """Choose from the failures that were last seen those with most deaths in the last hour."""
    now = timezone.now()
    found = list(Failure.objects.with_news().open().awake(now=now).order_by("-last_seen_at")[:MOST_LOOKED_AT])
    trends = curves([one.pk for one in found], now=now, points=TREND_POINTS, minutes=TREND_MINUTES)
    rows = [Failing(one, tuple(trends[one.pk].counts)) for one in found]
    rows.sort(key=lambda one: (-one.in_last_hour, -one.failure.count("open")))
    return rows[:most]
