"""What a worker did in its last minutes: a bounded read, since attempts have no index by worker."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.utils import timezone

from tasks.models import Attempt, Task, Worker

#: How far back the read goes at most.
MINUTES = 15
#: The newest attempts that it returns.
MOST_ATTEMPTS = 200
#: It goes back step by step: a busy worker has enough attempts in the first ones.
_STEPS_SECONDS = (15, 60, 240, 60 * MINUTES)
#: After this time it goes no further: the next step reads up to four times as much.
LONGEST_SECONDS = 0.1
#: The attempts of a worker that is gone may have been ended by its rescue, which comes after.
_RESCUE_SECONDS = 60


class Recent(NamedTuple):
    """The newest attempts of a worker, and the time that was looked at."""

    attempts: list[Attempt]
    #: By the ids of their tasks; those of tasks that were removed are missing.
    actors: dict[UUID, str]
    since: datetime
    until: datetime
    #: There are more in this time.
    is_capped: bool


def recent_attempts(worker: Worker) -> Recent:
    """Read the newest attempts that a worker ended in the last minutes, or in those before it was gone."""
    now = timezone.now()
    until = min(now, worker.stopped_at + timedelta(seconds=_RESCUE_SECONDS)) if worker.stopped_at else now
    ends: Sequence[datetime] = [until - timedelta(seconds=seconds) for seconds in _STEPS_SECONDS]
    rows = Attempt.objects.filter(worker_id=worker.pk).order_by("-finished_at").defer("traceback", "log", "note")
    found: list[Attempt] = []
    since, began = until, time.monotonic()
    for earlier in ends:
        # Each attempt is in one step; the first one also has what ends while this is read.
        step = rows.filter(finished_at__gte=earlier)
        step = step.filter(finished_at__lt=since) if since < until else step
        found += step[: MOST_ATTEMPTS + 1 - len(found)]
        since = earlier
        if len(found) > MOST_ATTEMPTS or time.monotonic() - began > LONGEST_SECONDS:
            break
    shown = found[:MOST_ATTEMPTS]
    actors = dict(Task.objects.filter(pk__in={one.task_id for one in shown}).values_list("pk", "actor"))
    return Recent(shown, actors, since, until, is_capped=len(found) > MOST_ATTEMPTS)
