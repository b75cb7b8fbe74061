"""Queue pages: the numbers of each queue, pause and resume."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from tasks.admin.charts import line
from tasks.admin.display import Display, display, display_age
from tasks.admin.ended import chart
from tasks.admin.formatting import (
    EMPTY,
    badge,
    count_text,
    duration,
    escape_invisible,
    relative_time,
    shortened,
    task_link,
)
from tasks.admin.operated import OperatedAdmin
from tasks.admin.times import time_lines
from tasks.admin.verb import Verb, one_by_one
from tasks.contract.access import PAUSE_QUEUE, VIEW_DEAD_LETTER, VIEW_TASK
from tasks.errors import NotFound
from tasks.lifecycle import queues
from tasks.models import Queue, Task
from tasks.queries.forecast import expected_start
from tasks.queries.queue_stats import QueueStats, all_queue_stats, oldest_due
from tasks.queries.stats import Series, Window, by_actor, series
from tasks.states import ObjectKind, TaskOutcome

#: On a queue's page: running tasks, the tasks that are due longest, and the actors of most submissions.
MAX_SHOWN, MAX_OLDEST, MAX_SUBMITTERS = 20, 10, 5


def status_badge(paused_at: Any) -> str:
    """Show whether the queue is paused."""
    return badge("paused", "Paused") if paused_at else badge("alive", "Active")


_STATUS = display("status", lambda queue: status_badge(queue.paused_at))


def _stat(name: str, label: str) -> Display:
    return display(label, lambda queue: getattr(queue, "stats", {}).get(name, EMPTY))


_STATS = (
    _stat("waiting", "waiting"),
    _stat("queued", "dispatched"),
    _stat("running", "running"),
    _stat("oldest", "oldest wait"),
    _stat("threads", "threads"),
)

PAUSE = Verb(
    name="pause",
    label="Pause",
    command="Pause {}",
    outcome="be paused",
    done="paused",
    permission=PAUSE_QUEUE.permission,
    effect="Dispatching stops. Tasks that no worker has claimed go back to waiting; claimed tasks still run.",
    condition="Only queues that are not paused can be paused.",
    legal=lambda rows: rows.filter(paused_at=None),
    run=one_by_one(lambda name, by: queues.pause(name, by=by), refusals=(NotFound,)),
)
RESUME = Verb(
    name="resume",
    label="Resume",
    command="Resume {}",
    outcome="be resumed",
    done="resumed",
    permission=PAUSE_QUEUE.permission,
    effect="Waiting tasks are dispatched again at once.",
    condition="Only paused queues can be resumed.",
    legal=lambda rows: rows.exclude(paused_at=None),
    run=one_by_one(lambda name, by: queues.resume(name, by=by), refusals=(NotFound,)),
)


def stats_as_text(stats: QueueStats) -> dict[str, Any]:
    """Write a queue's numbers."""
    oldest = stats.oldest_due_seconds
    return {
        "name": escape_invisible(stats.name),
        "state": status_badge(stats.paused_at),
        "waiting": count_text(stats.waiting.number, is_capped=stats.waiting.is_capped),
        "queued": count_text(stats.queued),
        "running": count_text(stats.running),
        "oldest": EMPTY if oldest is None else duration(oldest),
        "threads": count_text(stats.threads),
    }


@admin.register(Queue)
class QueueAdmin(OperatedAdmin):
    """Queues."""

    change_form_template = "callboard/queue.html"
    verbs = (PAUSE, RESUME)
    kind = ObjectKind.QUEUE
    state_field = None
    empty_text = "No queues. A queue appears here when the scheduler or a worker starts with an actor that names it."
    list_display = (display("queue", lambda queue: escape_invisible(queue.name)), _STATUS, *_STATS)
    ordering = ("name",)
    summary_fields = (_STATUS, display_age("paused_at"), *_STATS)

    def annotate(self, rows: list[Queue]) -> None:
        """Add their numbers."""
        texts = {stats.name: stats_as_text(stats) for stats in all_queue_stats()}
        for queue in rows:
            queue.stats = texts.get(queue.name, {})  # type: ignore[attr-defined]

    def page_context(self, request: HttpRequest, row: Queue) -> Mapping[str, Any]:
        """Add the day's load and waits, and for users who may see tasks what runs and what waits."""
        window = Window.named(request.GET.get("window", Window.DAY.label))
        points = series(window, queue=row.name, with_times=True)
        sees_tasks = request.user.has_perm(VIEW_TASK.permission)
        sees_letters = request.user.has_perm(VIEW_DEAD_LETTER.permission)
        narrowed = urlencode({"queue": row.name})
        return {
            "tasks_url": f"{reverse('admin:callboard_task_changelist')}?{narrowed}" if sees_tasks else "",
            "letters_url": f"{reverse('admin:dlq_deadletter_changelist')}?{narrowed}" if sees_letters else "",
            "chart": chart(window, points, links=sees_tasks, acts=False, queue=row.name),
            "lines": [_busy(points, window), *time_lines(points, window, ("wait", 0.5), ("wait", 0.95))],
            "submitters": _submitters(row.name, window) if sees_tasks else [],
            "running": _running(row.name) if sees_tasks else None,
            "oldest_due": _oldest(row.name) if sees_tasks else None,
        }


def _busy(points: Series, window: Window) -> dict[str, str]:
    """Write and draw how many threads were busy on average."""
    busy = points.total().run_seconds / window.seconds
    return {
        "label": "Threads busy on average",
        "value": f"{busy:.1f}" if busy else EMPTY,
        "line": line([point.run_seconds for point in points], label=f"Threads busy, last {window.label}"),
    }


def _submitters(queue: str, window: Window) -> list[dict[str, str]]:
    """List the actors of most tasks that came in."""
    tallies = by_actor(seconds=window.seconds, queue=queue)
    counted = {name: tally.of(TaskOutcome.SUBMITTED) for name, tally in tallies.items()}
    most = sorted((name for name in counted if counted[name]), key=lambda name: (-counted[name], name))[:MAX_SUBMITTERS]
    whole = sum(counted.values())
    return [
        {
            "name": shortened(name, 60) or "others",
            "count": f"{counted[name]:,}",
            "share": f"{counted[name] / whole:.0%}",
        }
        for name in most
    ]


def _running(queue: str) -> list[dict[str, str]]:
    rows = Task.objects.running().in_queue(queue).order_by("started_at").only("actor", "started_at")
    return [
        {"link": task_link(task.pk, actor=task.actor), "started": relative_time(task.started_at)}
        for task in rows[:MAX_SHOWN]
    ]


def _oldest(queue: str) -> list[dict[str, str]]:
    """List the tasks that have been due longest and why they wait; those of one actor and band share the reason."""
    reasons: dict[tuple[str, str], str] = {}
    found = []
    for task in oldest_due(queue, most=MAX_OLDEST):
        key = (task.actor, task.band)
        if key not in reasons:
            reasons[key] = _reason(task)
        link = task_link(task.pk, actor=task.actor)
        found.append({"link": link, "due": relative_time(task.run_at), "why": reasons[key]})
    return found


def _reason(task: Task) -> str:
    forecast = expected_start(task)
    if forecast is None:
        return ""
    why = "; ".join(one.message for one in forecast.waiting_for)
    return escape_invisible(forecast.obstacle or why) or "about to start"
