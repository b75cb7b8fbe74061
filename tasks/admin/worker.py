"""Worker pages: live workers, the tasks that each runs, and drain."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, DurationField, ExpressionWrapper, F, Q
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from tasks.admin.charts import squares
from tasks.admin.display import display, display_age, display_list
from tasks.admin.filters import WorkerStatusFilter
from tasks.admin.formatting import (
    badge,
    build_code,
    code,
    escape_invisible,
    json_block,
    memory_text,
    relative_time,
    task_link,
)
from tasks.admin.operated import OperatedAdmin
from tasks.admin.verb import Verb
from tasks.admin.worker_tracks import worker_tracks
from tasks.contract.access import DRAIN_WORKER, VIEW_TASK
from tasks.lifecycle import workers
from tasks.masking import masked
from tasks.models import Task, Worker
from tasks.states import ObjectKind

#: Running tasks that one page shows.
MAX_SHOWN = 50


def status_badge(worker: Worker) -> str:
    """Show the status; a silent worker has missed its heartbeats but is not declared gone yet."""
    if worker.stopped_at is None and worker.lease_expires_at < timezone.now():
        return badge("silent", "Silent")
    return badge(worker.status, worker.get_status_display())


_STATUS = display("status", status_badge)


def busy_threads(worker: Any) -> str:
    """Show how many threads are busy, and how many claimed tasks wait for one."""
    ahead = worker.claimed - worker.threads
    if ahead <= 0:
        return f"{worker.claimed} of {worker.threads}"
    return format_html(
        '{0} of {0} <span class="quiet" title="Claimed tasks that wait for a thread">+{1}</span>', worker.threads, ahead
    )


_BUSY = display("busy threads", busy_threads)
_BUILD = display("build", lambda worker: build_code(worker.build))
_MEMORY = display("memory", lambda worker: memory_text(worker.memory_bytes))

DRAIN = Verb(
    name="drain",
    label="Drain",
    command="Drain {}",
    outcome="drain",
    done="asked to drain",
    permission=DRAIN_WORKER.permission,
    effect="The worker takes no more tasks, finishes the running ones, and exits. Its supervisor may start a new one.",
    condition="Only live workers can be drained, and only once.",
    legal=lambda rows: rows.taking(),
    run=lambda ids, by: workers.ask_to_drain(ids, by=by),
    is_danger=True,
)


@admin.register(Worker)
class WorkerAdmin(OperatedAdmin):
    """Worker processes and the tasks that each runs."""

    change_form_template = "callboard/worker.html"
    verbs = (DRAIN,)
    kind = ObjectKind.WORKER
    empty_text = "No workers. Start one with manage.py runworkers."
    list_display = (
        display("worker", lambda worker: escape_invisible(str(worker))),
        _STATUS,
        display_list("queues"),
        _BUSY,
        _BUILD,
        _MEMORY,
        display_age("heartbeat_at", label="last heartbeat"),
        display_age("started_at"),
    )
    list_filter = (WorkerStatusFilter,)
    summary_fields = (
        _STATUS,
        _BUSY,
        _BUILD,
        _MEMORY,
        display_age("heartbeat_at", label="last heartbeat"),
        display_age("started_at"),
        display_age("stopped_at"),
        display("ID", lambda worker: code(worker.pk)),
        display_list("queues"),
        display_list("actors"),
    )

    def annotate(self, rows: list[Worker]) -> None:
        """Add the numbers of their claimed tasks."""
        count_claimed(rows)

    def page_context(self, request: HttpRequest, row: Worker) -> Mapping[str, Any]:
        """Add the running tasks and what it did last, for users who may see tasks, and the crash report."""
        may_see = request.user.has_perm(VIEW_TASK.permission)
        held = Task.objects.held_by(row.pk).newest_first().only("actor", "started_at", "attempt")
        running = list(held[:MAX_SHOWN]) if may_see else []
        return {
            "crash": json_block(masked(row.crash)) if row.crash else "",
            "gantt": worker_tracks(row, running) if may_see else None,
            "running": [_running(task) for task in running] if may_see else None,
        }


def _running(task: Task) -> dict[str, str]:
    return {"link": task_link(task.pk, actor=task.actor), "started": relative_time(task.started_at)}


def worker_names(ids: Iterable[UUID]) -> dict[UUID, dict[str, str]]:
    """Read the name and build of each of these workers whose row is still there, in one query."""
    found = Worker.objects.filter(pk__in={*ids}).only("host", "pid", "build")
    return {one.pk: {"name": escape_invisible(str(one)), "build": build_code(one.build)} for one in found}


def count_claimed(workers: list[Worker]) -> None:
    """Set ``claimed`` to the number of tasks that each worker holds, and ``late`` to those past their time limit."""
    rows = Task.objects.running().filter(worker_id__in=[worker.pk for worker in workers])
    limit = ExpressionWrapper(F("time_limit_seconds") * timedelta(seconds=1), DurationField())
    is_late = Q(time_limit_seconds__gt=0, started_at__lt=Now() - limit)
    counted = rows.order_by().values_list("worker_id").annotate(n=Count("*"), late=Count("pk", filter=is_late))
    claimed = {worker_id: (n, late) for worker_id, n, late in counted}
    for worker in workers:
        worker.claimed, worker.late = claimed.get(worker.pk, (0, 0))  # type: ignore[attr-defined]


def thread_squares(worker: Any) -> str:
    """Draw a square for each thread: past its limit, busy or idle."""
    late, busy = min(worker.late, worker.threads), min(worker.claimed, worker.threads)
    kinds = ["late"] * late + ["busy"] * (busy - late) + ["idle"] * (worker.threads - busy)
    said = f"{busy} of {worker.threads} threads busy" + (f", {late} past the time limit" if late else "")
    return squares(kinds, label=said)
