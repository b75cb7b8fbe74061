"""The Gantt strip of a task's page: a track for each attempt, to scale, with flags for what people did."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone

from tasks.admin.charts import Mark
from tasks.admin.formatting import clock_time, css_class, duration, escape_invisible, time_element
from tasks.admin.tracks import Part, Scale
from tasks.models import Attempt, Journal, Task
from tasks.states import AttemptOutcome, Status

#: The newest attempts that have a track.
MOST_TRACKS = 20
#: The newest acts that have a flag.
MOST_FLAGS = 20


class _Track(NamedTuple):
    """One attempt, or the wait for the next one."""

    name: str
    parts: Sequence[Part]
    note: str


def gantt(task: Task, attempts: Sequence[Attempt], events: Sequence[Journal]) -> dict[str, Any] | None:
    """Draw the tracks of a task's newest attempts; None if nothing has happened yet.

    Parameters:
        attempts, events: the newest first.
    """
    now = task.finished_at or timezone.now()
    shown = list(reversed(attempts[:MOST_TRACKS]))
    tracks = [*_ended(task, shown, is_cut=len(attempts) > MOST_TRACKS), *_open(task, shown, now)]
    parts = [part for one in tracks for part in one.parts]
    if not parts:
        return None
    scale = Scale(min(part.start for part in parts), max(part.end for part in parts))
    acts = [event for event in events if scale.first <= event.at <= scale.last][:MOST_FLAGS]
    flags = [Mark(scale.place(event.at), _said(event)) for event in acts]
    return {
        "tracks": [
            {
                "name": one.name,
                "note": one.note,
                "svg": scale.draw(one.parts, flags, label="; ".join(part.label for part in one.parts)),
            }
            for one in tracks
        ],
        "first": clock_time(scale.first),
        "last": clock_time(scale.last) if task.finished_at else time_element(scale.last, "now"),
        "length": duration(scale.seconds),
        "flags": [{"at": clock_time(event.at), "said": _said(event)} for event in acts[::-1]],
        "is_cut": len(attempts) > MOST_TRACKS,
    }


def _track(name: str, parts: Sequence[Part], note: str) -> _Track:
    """Leave out parts that took no time."""
    return _Track(name, [one for one in parts if one.end > one.start], note)


def _ended(task: Task, attempts: Sequence[Attempt], *, is_cut: bool) -> Iterator[_Track]:
    """Give a track to each attempt that has ended: what came before it, and its run."""
    before: Attempt | None = None
    for attempt in attempts:
        started = attempt.started_at or attempt.finished_at
        waited = [] if before is None and is_cut else list(_waited(task, before, started))
        took = duration((attempt.finished_at - started).total_seconds())
        outcome = attempt.get_outcome_display().lower()
        said = f"attempt {attempt.number} {outcome} after {took}"
        ran = Part(started, attempt.finished_at, css_class(attempt.outcome), said)
        notes = [waited[-1].label] if before is not None and waited else []
        yield _track(f"Attempt {attempt.number}", [*waited, ran], ", ".join([*notes, f"{outcome} after {took}"]))
        before = attempt


def _waited(task: Task, before: Attempt | None, until: datetime) -> Iterator[Part]:
    """Tell what was between the end of one attempt, or the task's creation, and the next start."""
    if before is not None:
        gap = duration((until - before.finished_at).total_seconds())
        is_backoff = before.outcome in {AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT}
        label = f"retried after {gap}" if is_backoff else f"ran again after {gap}"
        yield Part(before.finished_at, until, "backoff" if is_backoff else "in-row", label)
        return
    # After the first attempt, run_at is when a later one was due.
    due = min(max(task.created_at, task.run_at), until) if task.attempt <= 1 else task.created_at
    yield Part(task.created_at, due, "ground", f"not due for {duration((due - task.created_at).total_seconds())}")
    queued = task.queued_at if task.attempt <= 1 and task.queued_at and due < task.queued_at <= until else until
    yield Part(due, queued, "in-row", f"waited for {duration((queued - due).total_seconds())}")
    yield Part(queued, until, "queued", f"dispatched for {duration((until - queued).total_seconds())}")


def _open(task: Task, attempts: Sequence[Attempt], now: datetime) -> Iterator[_Track]:
    """Give a track to the attempt that runs, or to the wait for the next one."""
    last = attempts[-1] if attempts else None
    if task.status == Status.RUNNING and task.started_at:
        ran = duration((now - task.started_at).total_seconds())
        waited = list(_waited(task, last, task.started_at))
        run = Part(task.started_at, now, "running", f"attempt {task.attempt} runs for {ran}")
        yield _track(f"Attempt {task.attempt}", [*waited, run], f"runs for {ran}")
    elif not task.is_final:
        since = last.finished_at if last else task.created_at
        kind = "backoff" if task.status == Status.RETRYING and task.run_at > now else "in-row"
        ahead = f"next attempt in {duration((task.run_at - now).total_seconds())}" if task.run_at > now else ""
        said = ahead or f"waits for {duration((now - since).total_seconds())}"
        queued = task.queued_at if task.status == Status.QUEUED and task.queued_at else now
        parts = [Part(since, queued, kind, said), Part(queued, now, "queued", "dispatched")]
        yield _track("Next", parts, said)


def _said(event: Journal) -> str:
    by = escape_invisible(event.by) or event.get_door_display()
    return f"{event.verb} by {by}" if by else event.verb
