"""The Gantt strip of a task's page: a lane for each attempt, to scale, with flags for what people did."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from tasks.admin.charts import Mark, Span, lane
from tasks.admin.formatting import duration, escape_invisible, local, time_element
from tasks.models import Attempt, Journal, Task
from tasks.states import AttemptOutcome, Status

#: The newest attempts that have a lane.
MOST_LANES = 20
#: The newest acts that have a flag.
MOST_FLAGS = 20

Part = tuple[datetime, datetime, str, str]


class _Lane:
    """One attempt, or the wait for the next one."""

    def __init__(self, name: str, parts: Sequence[Part], note: str) -> None:
        self.name, self.note = name, note
        self.parts = [(start, end, kind, label) for start, end, kind, label in parts if end > start]


def gantt(task: Task, attempts: Sequence[Attempt], events: Sequence[Journal]) -> dict[str, Any] | None:
    """Draw the lanes of a task's newest attempts; None if nothing has happened yet.

    Parameters:
        attempts, events: the newest first.
    """
    now = task.finished_at or timezone.now()
    shown = list(reversed(attempts[:MOST_LANES]))
    lanes = [*_ended(task, shown, is_cut=len(attempts) > MOST_LANES), *_open(task, shown, now)]
    parts = [part for one in lanes for part in one.parts]
    if not parts:
        return None
    first, last = min(part[0] for part in parts), max(part[1] for part in parts)
    whole = (last - first).total_seconds() or 1.0

    def place(moment: datetime) -> float:
        return min(1.0, max(0.0, (moment - first).total_seconds() / whole))

    acts = [event for event in events if first <= event.at <= last][:MOST_FLAGS]
    flags = [Mark(place(event.at), _said(event)) for event in acts]
    return {
        "lanes": [
            {
                "name": one.name,
                "note": one.note,
                "svg": lane(
                    [Span(place(start), place(end), kind, label) for start, end, kind, label in one.parts],
                    flags,
                    label="; ".join(label for *_, label in one.parts),
                ),
            }
            for one in lanes
        ],
        "first": time_element(first, local(first, "%H:%M:%S")),
        "last": time_element(last, local(last, "%H:%M:%S") if task.finished_at else "now"),
        "length": duration(whole),
        "flags": [
            {"at": time_element(event.at, local(event.at, "%H:%M:%S")), "said": _said(event)} for event in acts[::-1]
        ],
        "is_cut": len(attempts) > MOST_LANES,
    }


def _ended(task: Task, attempts: Sequence[Attempt], *, is_cut: bool) -> Iterator[_Lane]:
    """Give a lane to each attempt that has ended: what came before it, and its run."""
    before: Attempt | None = None
    for attempt in attempts:
        started = attempt.started_at or attempt.finished_at
        waited = [] if before is None and is_cut else list(_waited(task, before, started))
        kind = attempt.outcome.lower().replace("_", "-")
        took = duration((attempt.finished_at - started).total_seconds())
        outcome = attempt.get_outcome_display().lower()
        ran: Part = (started, attempt.finished_at, kind, f"attempt {attempt.number} {outcome} after {took}")
        notes = [waited[-1][3]] if before is not None and waited else []
        yield _Lane(f"Attempt {attempt.number}", [*waited, ran], ", ".join([*notes, f"{outcome} after {took}"]))
        before = attempt


def _waited(task: Task, before: Attempt | None, until: datetime) -> Iterator[Part]:
    """Tell what was between the end of one attempt, or the task's creation, and the next start."""
    if before is not None:
        gap = duration((until - before.finished_at).total_seconds())
        is_backoff = before.outcome in {AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT}
        label = f"retried after {gap}" if is_backoff else f"ran again after {gap}"
        yield before.finished_at, until, "backoff" if is_backoff else "in-row", label
        return
    # After the first attempt, run_at is when a later one was due.
    due = min(max(task.created_at, task.run_at), until) if task.attempt <= 1 else task.created_at
    yield task.created_at, due, "ground", f"not due for {duration((due - task.created_at).total_seconds())}"
    queued = task.queued_at if task.attempt <= 1 and task.queued_at and due < task.queued_at <= until else until
    yield due, queued, "in-row", f"waited for {duration((queued - due).total_seconds())}"
    yield queued, until, "queued", f"in the broker for {duration((until - queued).total_seconds())}"


def _open(task: Task, attempts: Sequence[Attempt], now: datetime) -> Iterator[_Lane]:
    """Give a lane to the attempt that runs, or to the wait for the next one."""
    last = attempts[-1] if attempts else None
    if task.status == Status.RUNNING and task.started_at:
        ran = duration((now - task.started_at).total_seconds())
        waited = list(_waited(task, last, task.started_at))
        run: Part = (task.started_at, now, "running", f"attempt {task.attempt} runs for {ran}")
        yield _Lane(f"Attempt {task.attempt}", [*waited, run], f"runs for {ran}")
    elif not task.is_final:
        since = last.finished_at if last else task.created_at
        kind = "backoff" if task.status == Status.RETRYING and task.run_at > now else "in-row"
        ahead = f"next attempt in {duration((task.run_at - now).total_seconds())}" if task.run_at > now else ""
        said = ahead or f"waits for {duration((now - since).total_seconds())}"
        queued = task.queued_at if task.status == Status.QUEUED and task.queued_at else now
        yield _Lane("Next", [(since, queued, kind, said), (queued, now, "queued", "in the broker")], said)


def _said(event: Journal) -> str:
    by = escape_invisible(event.by) or event.get_door_display()
    return f"{event.verb} by {by}" if by else event.verb
