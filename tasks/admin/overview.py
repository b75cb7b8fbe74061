"""The overview page: tasks, queues, dead letters and workers in numbers, each at a bounded cost."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.db.models.functions import Now
from django.urls import reverse

from dlq.queries import open_causes
from tasks.admin import operator_log
from tasks.admin.formatting import count_text, escape_invisible, relative_time, shortened
from tasks.admin.queue import stats_as_text
from tasks.admin.worker import busy_threads, count_claimed, status_badge
from tasks.contract.access import VIEW_DEAD_LETTER, VIEW_JOURNAL, VIEW_QUEUE, VIEW_TASK, VIEW_WORKER, Caller
from tasks.contract.dead_letters import errors_of
from tasks.contract.sight import sight_of
from tasks.models import Lease, Worker
from tasks.queries import counts, queue_stats
from tasks.queries.queue_stats import QueueStats
from tasks.scheduler.leadership import LEASE
from tasks.states import Status

MAX_CAUSES = 8
MAX_ERROR_LENGTH = 100
MAX_WORKERS = 12


def overview(user: Any) -> dict[str, Any]:
    """Collect the numbers that this user may see."""
    sees_queues, sees_workers = user.has_perm(VIEW_QUEUE.permission), user.has_perm(VIEW_WORKER.permission)
    queues = queue_stats.all_queue_stats() if sees_queues else []
    return {
        "warnings": list(_warnings(queues, sees_workers=sees_workers)),
        "cards": _cards() if user.has_perm(VIEW_TASK.permission) else [],
        "queues": [_queue(one) for one in queues],
        "workers": _workers() if sees_workers else None,
        "dead_letters": _dead_letters(user) if user.has_perm(VIEW_DEAD_LETTER.permission) else None,
        "operator_log": operator_log.recent_entries() if user.has_perm(VIEW_JOURNAL.permission) else None,
    }


def _warnings(queues: list[QueueStats], *, sees_workers: bool) -> Iterator[str]:
    if not Lease.objects.filter(name=LEASE, expires_at__gt=Now()).exists():
        yield "No scheduler is running, so no tasks are dispatched. Start one with manage.py runscheduler."
    if sees_workers and not Worker.objects.taking().exists():
        yield "No worker is taking tasks. Start one with manage.py runworkers."
    if sees_workers and (silent := Worker.objects.silent().count()):
        yield f"{silent} {'workers are' if silent > 1 else 'worker is'} silent. Their tasks go back to other workers."
    unserved = [one.name for one in queues if one.waiting.number and not one.threads and not one.paused_at]
    if unserved and Worker.objects.taking().exists():
        yield f"Tasks wait in queues that no worker serves: {', '.join(map(escape_invisible, unserved))}."
    if paused := [one.name for one in queues if one.paused_at]:
        yield f"Paused queues: {', '.join(map(escape_invisible, paused))}."


def _cards() -> list[dict[str, str]]:
    address = reverse("admin:callboard_task_changelist")
    counted = counts.counts_by_status()
    return [
        {
            "label": str(status.label),
            "kind": status.value.lower(),
            "count": count_text(counted[status].number, is_capped=counted[status].is_capped),
            "url": f"{address}?{urlencode({'status': status.value})}",
        }
        for status in Status
    ]


def _queue(stats: QueueStats) -> dict[str, Any]:
    return {**stats_as_text(stats), "url": reverse("admin:callboard_queue_change", args=[quote(stats.name)])}


def _workers() -> dict[str, Any]:
    present = list(Worker.objects.present().order_by("-pk")[: MAX_WORKERS + 1])
    shown = present[:MAX_WORKERS]
    count_claimed(shown)
    return {
        "rows": [
            {
                "name": escape_invisible(str(worker)),
                "url": reverse("admin:callboard_worker_change", args=[worker.pk]),
                "state": status_badge(worker),
                "busy": busy_threads(worker),
                "heartbeat": relative_time(worker.heartbeat_at),
            }
            for worker in shown
        ],
        "are_more": len(present) > MAX_WORKERS,
    }


def _dead_letters(user: Any) -> dict[str, Any]:
    address = reverse("admin:dlq_deadletter_changelist")
    causes = open_causes(most=MAX_CAUSES)
    errors = errors_of(causes.rows, sees=sight_of(Caller(user)))
    return {
        "total": count_text(causes.letters, is_capped=causes.is_capped),
        "url": address,
        "causes": [
            {
                "actor": escape_invisible(cause.actor),
                "actor_url": f"{address}?{urlencode({'actor': cause.actor})}",
                "error": shortened(errors[cause.fingerprint], MAX_ERROR_LENGTH) or "No error",
                "url": f"{address}?{urlencode({'cause': cause.fingerprint})}",
                "count": count_text(cause.letters),
            }
            for cause in causes.rows
        ],
    }
