"""What is failing: the causes of the newest open dead letters, each with its last hour; a bounded read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Left
from django.utils import timezone

from dlq.models import DeadLetter
from dlq.queries import MOST_LETTERS, Cause
from tasks.queries.stats import Tally
from tasks.states import TaskOutcome

#: Read of each error, so that what is cut off has been masked before.
_MOST_READ = 1_000
#: The trend: so many points of so many minutes, the last hour together.
TREND_POINTS, TREND_MINUTES = 12, 5


@dataclass(frozen=True)
class FailingCause:
    """A cause of open dead letters."""

    cause: Cause
    first_at: datetime
    last_at: datetime
    #: Deaths in each part of the last hour, the oldest first.
    trend: tuple[int, ...]

    @property
    def in_last_hour(self) -> int:
        """Deaths of the last hour that are still open."""
        return sum(self.trend)

    def share_of(self, actors: Mapping[str, Tally]) -> float | None:
        """Compare them with all runs of the actor in the last hour; None if it is not known to have run."""
        runs = actors[self.cause.actor].of(TaskOutcome.SUCCEEDED, TaskOutcome.DEAD) if self.cause.actor in actors else 0
        return min(1.0, self.in_last_hour / runs) if runs else None


@dataclass(frozen=True)
class Failing:
    """The causes, those with most deaths in the last hour first."""

    rows: list[FailingCause]
    letters: int
    is_capped: bool


def failing(*, most: int) -> Failing:
    """Group the newest open dead letters by their cause."""
    fields = ("fingerprint", "actor", "error_type", Left("error_message", _MOST_READ), "task_id", "died_at")
    letters = list(DeadLetter.objects.open().newest_first().values_list(*fields)[: MOST_LETTERS + 1])
    shown, now = letters[:MOST_LETTERS], timezone.now()
    groups: dict[str, list[Any]] = {}
    for fingerprint, *rest in shown:
        groups.setdefault(fingerprint, []).append(rest)
    rows = []
    for fingerprint, found in groups.items():
        actor, error_type, message, task_id, _ = found[0]
        died = [died_at for *_, died_at in found]
        cause = Cause(fingerprint, len(found), actor, error_type, message, task_id)
        rows.append(FailingCause(cause, min(died), max(died), _trend(died, now)))
    rows.sort(key=lambda one: (-one.in_last_hour, -one.cause.letters))
    return Failing(rows[:most], len(shown), is_capped=len(letters) > MOST_LETTERS)


def _trend(died: list[datetime], now: datetime) -> tuple[int, ...]:
    counts = [0] * TREND_POINTS
    for moment in died:
        ago = (now - moment) // timedelta(minutes=TREND_MINUTES)
        if 0 <= ago < TREND_POINTS:
            counts[-1 - ago] += 1
    return tuple(counts)
