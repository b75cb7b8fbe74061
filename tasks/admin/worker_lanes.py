"""The lanes of a worker's page: what its threads did in the last minutes, to scale."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.urls import reverse

from tasks.admin.charts import Span, lane
from tasks.admin.formatting import duration, local, shortened, time_element
from tasks.models import Attempt, Task, Worker
from tasks.queries.worker_attempts import MINUTES, MOST_ATTEMPTS, Recent, recent_attempts

#: A worker with more threads has the others left out.
MOST_LANES = 32
#: Runs of one thread may seem to overlap by so much: a worker estimates the database's clock.
SLACK = timedelta(milliseconds=5)


class _Run(NamedTuple):
    start: datetime
    end: datetime
    kind: str
    label: str
    task_id: Any


def worker_lanes(worker: Worker, running: Sequence[Task]) -> dict[str, Any] | None:
    """Draw the newest attempts of a worker in as few lanes as their overlaps allow; None if there are none.

    Parameters:
        running: the tasks that it runs now.
    """
    found = recent_attempts(worker)
    runs = [*(_ended(one, found) for one in found.attempts), *(_open(one, found) for one in running)]
    if not runs:
        return None
    first = min(one.start for one in runs) if found.is_capped else max(found.since, worker.started_at)
    whole = (found.until - first).total_seconds() or 1.0

    def place(moment: datetime) -> float:
        return min(1.0, max(0.0, (moment - first).total_seconds() / whole))

    lanes = _packed(runs)
    return {
        "lanes": [
            lane(
                [Span(place(one.start), place(one.end), one.kind, one.label, _address(one.task_id)) for one in runs],
                label=f"Lane {number}: {len(runs)} attempt{'' if len(runs) == 1 else 's'}",
            )
            for number, runs in enumerate(lanes[:MOST_LANES], start=1)
        ],
        "first": time_element(first, local(first, "%H:%M:%S")),
        "last": "now" if worker.stopped_at is None else time_element(found.until, local(found.until, "%H:%M:%S")),
        "length": duration(whole),
        "said": "Since its start" if first == worker.started_at else _said(found),
        "left_out": max(0, len(lanes) - MOST_LANES),
    }


def _ended(attempt: Attempt, found: Recent) -> _Run:
    start = attempt.started_at or attempt.finished_at
    took = duration((attempt.finished_at - start).total_seconds())
    name = shortened(found.actors.get(attempt.task_id, "a removed task"), 60)
    label = f"{name}, attempt {attempt.number}: {attempt.get_outcome_display().lower()} after {took}"
    kind = attempt.outcome.lower().replace("_", "-")
    return _Run(start, attempt.finished_at, kind, label, attempt.task_id if attempt.task_id in found.actors else None)


def _open(task: Task, found: Recent) -> _Run:
    start = task.started_at or found.until
    ran = duration((found.until - start).total_seconds())
    label = f"{shortened(task.actor, 60)}, attempt {task.attempt}: runs for {ran}"
    return _Run(start, max(start, found.until), "running", label, task.pk)


def _packed(runs: Sequence[_Run]) -> list[list[_Run]]:
    """Put each run into the first lane that is free at its start: there are as many lanes as runs at one time."""
    lanes: list[list[_Run]] = []
    for run in sorted(runs, key=lambda one: (one.start, one.end)):
        free = next((one for one in lanes if one[-1].end <= run.start + SLACK), None)
        if free is None:
            lanes.append([run])
        else:
            free.append(run)
    return lanes


def _said(found: Recent) -> str:
    if found.is_capped:
        return f"The newest {MOST_ATTEMPTS} attempts"
    looked = (found.until - found.since).total_seconds()
    if looked < 60 * MINUTES:
        return (
            f"Only the last {duration(looked)}: so many attempts ended on all workers that older ones take long to find"
        )
    return f"The last {MINUTES} minutes"


def _address(task_id: Any) -> str:
    return reverse("admin:callboard_task_change", args=[task_id]) if task_id else ""
