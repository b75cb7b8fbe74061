"""What a waiting task waits for: each obstacle as its kind, its facts and a sentence."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tasks.models import Batch, Dependency, Journal, Task
from tasks.states import BatchStatus, EdgeState, ObjectKind, Obstacle
from tasks.unique import MAX_WAIT_SECONDS

#: These end only if an operator acts or a process starts.
_BLOCKING = {
    Obstacle.PARENTS,
    Obstacle.NO_SCHEDULER,
    Obstacle.QUEUE_PAUSED,
    Obstacle.ACTOR_NOT_SERVED,
    Obstacle.QUEUE_NOT_SERVED,
    Obstacle.SIGNAL_MISSING,
}

#: How many of the tasks that one waits for are named.
_MOST_NAMED = 3


class WaitingFor(NamedTuple):
    """An obstacle in a task's way."""

    kind: Obstacle
    message: str
    facts: Mapping[str, Any]

    @property
    def is_blocking(self) -> bool:
        """Whether it does not pass with time alone."""
        return self.kind in _BLOCKING


def parents(task: Task) -> WaitingFor:
    """It depends on tasks and batches that have not ended, or that failed with ``on_failure`` "block"."""
    edges = Dependency.objects.filter(child=task.pk, state__in=[EdgeState.NEW, EdgeState.OPEN]).order_by("parent_id")
    first = list(edges[:_MOST_NAMED])
    ids = [edge.parent_id for edge in first if not edge.is_batch]
    batches = [edge.parent_id for edge in first if edge.is_batch]
    found = Task.objects.filter(pk__in=ids).only("actor", "status").in_bulk()
    names = {id: f"{one.actor} {id} ({one.status})" for id, one in found.items()}
    if batches:
        names |= {one.pk: _progress(one) for one in Batch.objects.with_news().filter(pk__in=batches)}
    number = task.pending_parents or 0
    more = f" and {number - len(first):,} more" if number > len(first) else ""
    named = ", ".join(names.get(edge.parent_id, str(edge.parent_id)) for edge in first)
    # A batch says itself that it is one.
    kind = "tasks and batches" if batches else "task" if number == 1 else "tasks"
    which = "" if number == len(batches) else f"{number:,} {kind}: "
    facts = {"tasks": number, "parents": [str(id) for id in ids], "batches": [str(id) for id in batches]}
    return WaitingFor(Obstacle.PARENTS, f"waits for {which}{named}{more}", facts)


def _progress(batch: Batch) -> str:
    name = f"batch {batch.name} {batch.pk}" if batch.name else f"batch {batch.pk}"
    takes_more = ", still open" if batch.status == BatchStatus.OPEN else ""
    ended = batch.count("total") - batch.unfinished
    return f"{name} ({ended:,} of {batch.count('total'):,} ended{takes_more})"


def no_scheduler() -> WaitingFor:
    """No scheduler leads, so nothing is dispatched."""
    return WaitingFor(Obstacle.NO_SCHEDULER, "no scheduler is running", {})


def paused(queue: str, paused_at: datetime) -> WaitingFor:
    """The queue is paused; the journal says by whom and why, unless its entry is gone."""
    entry = Journal.objects.about(ObjectKind.QUEUE, queue).of_verb("pause").newest_first().first()
    by, reason = (entry.by, entry.reason) if entry else ("", "")
    since = f"{paused_at:%Y-%m-%d %H:%M:%S} UTC"
    message = f"queue {queue} is paused{f' by {by}' if by else ''} since {since}{f': {reason}' if reason else ''}"
    facts = {"queue": queue, "by": by or None, "since": paused_at, "reason": reason or None}
    return WaitingFor(Obstacle.QUEUE_PAUSED, message, facts)


def queue_not_served(task: Task) -> WaitingFor:
    """No live worker serves the queue, or the task's band of it."""
    message = f"no live worker serves the band {task.band} of queue {task.queue}"
    return WaitingFor(Obstacle.QUEUE_NOT_SERVED, message, {"queue": task.queue, "band": task.band})


def actor_not_served(task: Task) -> WaitingFor:
    """Live workers serve the queue, and none of them knows the actor."""
    message = f"no live worker that serves queue {task.queue} knows the actor {task.actor}"
    return WaitingFor(Obstacle.ACTOR_NOT_SERVED, message, {"queue": task.queue, "actor": task.actor})


def not_due(task: Task) -> WaitingFor:
    """Its time has not come: it was scheduled, or waits for its next attempt."""
    message = f"not due until {task.run_at:%Y-%m-%d %H:%M:%S} UTC{_postponed(task)}"
    facts: dict[str, Any] = {"run_at": task.run_at}
    if task.scheduled_at is None or task.failures:
        return WaitingFor(Obstacle.NOT_DUE, message, facts)
    fired = f"its schedule fired at {task.scheduled_at:%Y-%m-%d %H:%M:%S} UTC and starts tasks with jitter"
    facts |= {"schedule_id": str(task.schedule_id), "scheduled_at": task.scheduled_at}
    return WaitingFor(Obstacle.NOT_DUE, f"{message}: {fired}", facts)


def signal_missing(name: str, until: datetime | None) -> WaitingFor:
    """It waits for a signal."""
    message = f"waits for the signal {name}{f' until {until:%Y-%m-%d %H:%M:%S} UTC' if until else ''}"
    return WaitingFor(Obstacle.SIGNAL_MISSING, message, {"signal": name, "times_out_at": until})


def _postponed(task: Task) -> str:
    """Say how long submissions of its unique key can still postpone a task."""
    rule = task.unique_rule
    if task.unique_key is None or rule is None or rule["on_conflict"] != "replace":
        return ""
    latest = max(task.run_at, task.created_at + timedelta(seconds=rule.get("max_wait_seconds", MAX_WAIT_SECONDS)))
    return f"; submissions of its unique key postpone it, to {latest:%Y-%m-%d %H:%M:%S} UTC at the latest"


def tasks_ahead(number: int, *, is_capped: bool) -> WaitingFor:
    """Other tasks of the queue go first."""
    message = f"behind {'at least ' if is_capped else ''}{number:,} other {'task' if number == 1 else 'tasks'}"
    return WaitingFor(Obstacle.TASKS_AHEAD, message, {"tasks": number, "is_capped": is_capped})


def threads_busy(threads: int) -> WaitingFor:
    """All threads that could run it run something else."""
    which = "the only thread that serves it is" if threads == 1 else f"all {threads:,} threads that serve it are"
    return WaitingFor(Obstacle.THREADS_BUSY, f"{which} busy", {"threads": threads})
