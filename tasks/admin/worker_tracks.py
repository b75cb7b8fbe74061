"""The tracks of a worker's page: what its threads did in the last minutes, to scale."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.urls import reverse

from tasks.admin.formatting import MAX_NAME_LENGTH, clock_time, css_class, duration, shortened
from tasks.admin.tracks import Part, Scale
from tasks.models import Attempt, Task, Worker
from tasks.queries.worker_attempts import MINUTES, MOST_ATTEMPTS, Recent, recent_attempts

#: A worker with more threads has the others left out.
MOST_TRACKS = 32
#: Runs of one thread may seem to overlap by so much: a worker estimates the database's clock.
SLACK = timedelta(milliseconds=5)


def worker_tracks(worker: Worker, running: Sequence[Task]) -> dict[str, Any] | None:
    """Draw the newest attempts of a worker in as few tracks as their overlaps allow; None if there are none.

    Parameters:
        running: the tasks that it runs now.
    """
    found = recent_attempts(worker)
    runs = [*(_ended(one, found) for one in found.attempts), *(_open(one, found) for one in running)]
    if not runs:
        return None
    first = min(one.start for one in runs) if found.is_capped else max(found.since, worker.started_at)
    scale, tracks = Scale(first, found.until), _packed(runs)
    return {
        "tracks": [
            scale.draw(one, label=f"Track {number}: {len(one)} attempt{'' if len(one) == 1 else 's'}")
            for number, one in enumerate(tracks[:MOST_TRACKS], start=1)
        ],
        "first": clock_time(first),
        "last": "now" if worker.stopped_at is None else clock_time(found.until),
        "length": duration(scale.seconds),
        "said": "Since its start" if first == worker.started_at else _said(found),
        "left_out": max(0, len(tracks) - MOST_TRACKS),
    }


def _ended(attempt: Attempt, found: Recent) -> Part:
    start = attempt.started_at or attempt.finished_at
    took = duration((attempt.finished_at - start).total_seconds())
    name = shortened(found.actors.get(attempt.task_id, "a removed task"), MAX_NAME_LENGTH)
    label = f"{name}, attempt {attempt.number}: {attempt.get_outcome_display().lower()} after {took}"
    url = _address(attempt.task_id) if attempt.task_id in found.actors else ""
    return Part(start, attempt.finished_at, css_class(attempt.outcome), label, url)


def _open(task: Task, found: Recent) -> Part:
    start = task.started_at or found.until
    ran = duration((found.until - start).total_seconds())
    label = f"{shortened(task.actor, MAX_NAME_LENGTH)}, attempt {task.attempt}: runs for {ran}"
    return Part(start, max(start, found.until), "running", label, _address(task.pk))


def _packed(runs: Sequence[Part]) -> list[list[Part]]:
    """Put each run into the first track that is free at its start: there are as many tracks as runs at one time."""
    tracks: list[list[Part]] = []
    for run in sorted(runs, key=lambda one: (one.start, one.end)):
        free = next((one for one in tracks if one[-1].end <= run.start + SLACK), None)
        if free is None:
            tracks.append([run])
        else:
            free.append(run)
    return tracks


def _said(found: Recent) -> str:
    if found.is_capped:
        return f"The newest {MOST_ATTEMPTS} attempts"
    looked = (found.until - found.since).total_seconds()
    if looked < 60 * MINUTES:
        return f"Only the last {duration(looked)}: too many attempts ended on all workers to look further back"
    return f"The last {MINUTES} minutes"


def _address(task_id: UUID) -> str:
    return reverse("admin:callboard_task_change", args=[task_id])
