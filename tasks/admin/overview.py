"""The overview page: what is wrong, what changed, what fails, and where tasks wait; each panel at a bounded cost."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from dlq.queries import open_letters
from tasks.admin import charts, operator_log
from tasks.admin.alarms import LONG_WAIT_SECONDS, RECENT_SECONDS, Observed, alarms
from tasks.admin.ended import chart, ended_shares, numbers, undecided
from tasks.admin.formatting import (
    EMPTY,
    build_code,
    count_text,
    duration,
    escape_invisible,
    memory_text,
    relative_time,
    shortened,
)
from tasks.admin.queue import stats_as_text
from tasks.admin.worker import busy_threads, count_claimed, status_badge, thread_squares
from tasks.contract import readiness
from tasks.contract.access import (
    PAUSE_QUEUE,
    VIEW_DEAD_LETTER,
    VIEW_FAILURE,
    VIEW_JOURNAL,
    VIEW_QUEUE,
    VIEW_SCHEDULE,
    VIEW_TASK,
    VIEW_WORKER,
    Caller,
)
from tasks.contract.failures import errors_of
from tasks.contract.sight import sight_of
from tasks.models import Lease, Schedule, Term, Worker
from tasks.queries import counts, queue_stats, stats
from tasks.queries.failing import Failing, failing
from tasks.queries.queue_stats import QueueStats
from tasks.queries.stats import Tally, Window
from tasks.scheduler.leadership import LEASE
from tasks.states import TaskOutcome, WorkerStatus

MAX_CAUSES = 8
MAX_ERROR_LENGTH = 100
MAX_WORKERS = 12
MAX_ACTORS = 8
MAX_SCHEDULES = 5
#: The rates of queues are averages of so many seconds.
FLOW_SECONDS = 300
#: A schedule is late when it should have fired more than so long ago.
LATE_SECONDS = 60


def overview(user: Any, *, window: str | None = None) -> dict[str, Any]:
    """Collect what this user may see.

    Parameters:
        window: the name of the chart's window; an hour by default.
    """
    sees_tasks, sees_queues = user.has_perm(VIEW_TASK.permission), user.has_perm(VIEW_QUEUE.permission)
    queues = queue_stats.all_queue_stats() if sees_queues else []
    health = _health()
    sees_failures = user.has_perm(VIEW_FAILURE.permission)
    found = failing(most=MAX_CAUSES) if sees_failures else []
    errors = errors_of([one.failure for one in found], sees=sight_of(Caller(user)))
    hour = stats.by_actor(seconds=Window.HOUR.seconds) if sees_tasks or found else {}
    seen = Observed(
        queues=queues,
        failing=found,
        errors=errors,
        recent=stats.by_actor(seconds=RECENT_SECONDS) if sees_tasks else {},
        hour=hour,
        leads_until=health["leads_until"],
        now=health["now"],
        components=health["components"],
    )
    return {
        "alarms": alarms(user, seen),
        **(_of_tasks(user, window, hour, health["now"]) if sees_tasks else {}),
        "failing": _failing(found, errors, hour) if sees_failures else None,
        "failures_url": reverse("admin:dlq_failure_changelist"),
        "queues": _queues(queues, may_pause=user.has_perm(PAUSE_QUEUE.permission)) if sees_queues else [],
        "workers": _workers() if user.has_perm(VIEW_WORKER.permission) else None,
        "schedules": _schedules() if user.has_perm(VIEW_SCHEDULE.permission) else None,
        "operator_log": operator_log.recent_entries() if user.has_perm(VIEW_JOURNAL.permission) else None,
        "health": _health_as_text(health),
    }


def _of_tasks(user: Any, window: str | None, hour: Mapping[str, Tally], now: datetime) -> dict[str, Any]:
    chosen = Window.named(window)
    points = stats.series(Window.HOUR, with_times=True)
    shown = numbers(points, now)
    if user.has_perm(VIEW_DEAD_LETTER.permission):
        shown.append(undecided(count_text(open_letters()), reverse("admin:dlq_deadletter_changelist"), points))
    drawn = points if chosen is Window.HOUR else stats.series(chosen)
    return {
        "numbers": shown,
        "chart": chart(chosen, drawn, links=True, acts=user.has_perm(VIEW_JOURNAL.permission)),
        "statuses": _statuses(),
        "actors": _actors(hour),
    }


def _statuses() -> list[dict[str, str]]:
    """Count the tasks of each status that an index can count; leave out statuses without tasks."""
    address = reverse("admin:callboard_task_changelist")
    counted = counts.counts_by_status(indexed_only=True)
    return [
        {
            "label": str(status.label),
            "kind": status.value.lower(),
            "count": count_text(count.number, is_capped=count.is_capped),
            "url": f"{address}?{urlencode({'status': status.value})}",
        }
        for status, count in counted.items()
        if count.number
    ]


def _failing(found: Sequence[Failing], errors: Mapping[str, str], hour: Mapping[str, Tally]) -> list[dict[str, Any]]:
    return [
        {
            "actor": escape_invisible(one.failure.actor),
            "actor_url": f"{reverse('admin:dlq_failure_changelist')}?{urlencode({'actor': one.failure.actor})}",
            "error": shortened(errors[one.failure.pk], MAX_ERROR_LENGTH) or "No error",
            "url": reverse("admin:dlq_failure_change", args=[one.failure.pk]),
            "open": count_text(max(one.failure.count("open"), 0)),
            "share": EMPTY if (share := one.share_of(hour)) is None else f"{share:.0%}",
            "trend": charts.line(one.trend, label=f"{one.in_last_hour:,} deaths in the last hour", kind="bad"),
            "first": relative_time(one.failure.first_seen_at),
            "last": relative_time(one.failure.last_seen_at),
        }
        for one in found
    ]


def _queues(queues: Sequence[QueueStats], *, may_pause: bool) -> list[dict[str, Any]]:
    flows = stats.by_queue(seconds=FLOW_SECONDS)
    most = max((one.running + one.queued + one.waiting.number for one in queues), default=0)
    return [_queue(one, flows.get(one.name, Tally()), most=most, may_pause=may_pause) for one in queues]


def _queue(one: QueueStats, flow: Tally, *, most: int, may_pause: bool) -> dict[str, Any]:
    text = stats_as_text(one)
    comes, goes = flow.of(TaskOutcome.SUBMITTED), flow.ended + flow.of(TaskOutcome.CANCELLED)
    parts = [("running", one.running), ("queued", one.queued), ("waiting", one.waiting.number)]
    said = f"{text['running']} running, {text['queued']} dispatched, {text['waiting']} waiting"
    verb = "resume" if one.paused_at else "pause"
    return {
        **text,
        "url": reverse("admin:callboard_queue_change", args=[quote(one.name)]),
        "bar": charts.load(parts, most=most, label=said),
        "said": said,
        "is_old": (one.oldest_due_seconds or 0) > LONG_WAIT_SECONDS,
        "comes": _per_minute(comes),
        "goes": _per_minute(goes),
        "empty_in": _empty_in(
            one, per_second=(flow.of(TaskOutcome.SUCCEEDED, TaskOutcome.DEAD) - comes) / FLOW_SECONDS
        ),
        "verb": verb.capitalize(),
        "verb_url": reverse("admin:callboard_queue_do", args=[quote(one.name), verb]) if may_pause else "",
    }


def _per_minute(count: int) -> str:
    rate = count * 60 / FLOW_SECONDS
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.1f}"


def _empty_in(one: QueueStats, *, per_second: float) -> str:
    """Say when nothing is due any more, if tasks come and go as in the last minutes."""
    if one.paused_at:
        return "paused"
    if one.oldest_due_seconds is None and not one.queued:
        return EMPTY
    if per_second <= 0:
        return "grows"
    bound = "≥" if one.waiting.is_capped else "≈"
    return f"{bound} {duration((one.waiting.number + one.queued) / per_second)}"


def _workers() -> dict[str, Any]:
    present = list(Worker.objects.present().order_by("-pk")[: MAX_WORKERS + 1])
    shown = present[:MAX_WORKERS]
    count_claimed(shown)
    return {
        "rows": [
            {
                "name": escape_invisible(str(worker)),
                "url": reverse("admin:callboard_worker_change", args=[worker.pk]),
                "state": "" if worker.status == WorkerStatus.ALIVE else status_badge(worker),
                "squares": thread_squares(worker),
                "busy": busy_threads(worker),
                "build": build_code(worker.build),
                "memory": memory_text(worker.memory_bytes),
                "heartbeat": relative_time(worker.heartbeat_at),
            }
            for worker in shown
        ],
        "are_more": len(present) > MAX_WORKERS,
    }


def _actors(hour: Mapping[str, Tally]) -> list[dict[str, Any]]:
    """Choose the actors that failed most and those that ran longest in the last hour."""
    by_time = sorted(hour, key=lambda name: -hour[name].run_seconds)[: MAX_ACTORS // 2]
    by_failures = sorted(hour, key=lambda name: -hour[name].of(TaskOutcome.DEAD, TaskOutcome.RETRYING))
    names = [*dict.fromkeys([*by_time, *by_failures[: MAX_ACTORS // 2]])]
    names = [name for name in names if name and hour[name].ended]
    if not names:
        return []
    timed = stats.by_actor(seconds=Window.HOUR.seconds, actors=names, with_times=True)
    address = reverse("admin:callboard_task_changelist")
    return [
        {
            "name": escape_invisible(name),
            "url": f"{address}?{urlencode({'actor': name})}",
            **ended_shares(timed.get(name, hour[name])),
        }
        for name in names
    ]


def _schedules() -> list[dict[str, Any]]:
    found = Schedule.objects.active().filter(next_fire_at__isnull=False).order_by("next_fire_at")[:MAX_SCHEDULES]
    now = timezone.now()
    return [
        {
            "name": escape_invisible(one.name),
            "url": reverse("admin:callboard_schedule_change", args=[quote(one.pk)]),
            "next": relative_time(one.next_fire_at),
            "is_late": (now - one.next_fire_at).total_seconds() > LATE_SECONDS if one.next_fire_at else False,
        }
        for one in found
    ]


def _health() -> dict[str, Any]:
    began = time.perf_counter()
    lease = Lease.objects.filter(name=LEASE).annotate(now=Now()).values("holder", "expires_at", "now").first()
    milliseconds = (time.perf_counter() - began) * 1000
    return {
        "leads_until": lease["expires_at"] if lease else None,
        "now": lease["now"] if lease else timezone.now(),
        "holder": lease["holder"] if lease else None,
        "milliseconds": milliseconds,
        "components": readiness.state(),
        "term": Term.objects.filter(name=LEASE).values_list("term", flat=True).first(),
    }


def _health_as_text(health: Mapping[str, Any]) -> list[dict[str, Any]]:
    leads = health["leads_until"] is not None and health["leads_until"] > health["now"]
    rest = {name: state for name, state in health["components"].items() if name not in ("database", "migrations")}
    return [
        {"name": "Leader", "value": f"…{str(health['holder'])[-8:]}" if leads else "none", "is_bad": not leads},
        {"name": "Term", "value": EMPTY if health["term"] is None else f"{health['term']:,}"},
        {"name": "PostgreSQL", "value": f"{health['milliseconds']:.1f} ms"},
        *(
            {
                "name": name.capitalize(),
                "value": "answers" if state == readiness.OK else state,
                "is_bad": state != readiness.OK,
            }
            for name, state in rest.items()
        ),
    ]
