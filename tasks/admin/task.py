"""Pages on tasks: the list, and a task's story with what can be done about it."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from tasks import lifecycle
from tasks.admin.base import AnnotatedChangeList
from tasks.admin.display import display, display_json, display_time
from tasks.admin.filters import ActorFilter, BandFilter, CreatedFilter, QueueFilter, StatusFilter
from tasks.admin.formatting import (
    EMPTY,
    badge,
    code,
    duration,
    escape_invisible,
    exact_time,
    json_block,
    relative_time,
    shortened,
    tag_links,
    time_element,
    truncated,
)
from tasks.admin.operated import OperatedAdmin
from tasks.admin.timeline import between, timeline
from tasks.admin.verb import Verb
from tasks.models import Attempt, Task, TaskEvent
from tasks.states import DUE, Status

#: Attempts and events that one page shows.
MAX_SHOWN = 50
MAX_NAME_LENGTH = 60


class TaskList(AnnotatedChangeList):
    """Reads no payloads and results for a list that shows none."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Leave the big columns out."""
        rows = super().get_queryset(request, exclude_parameters)
        return rows.defer("payload", "args", "options", "result", "progress", "checkpoint", "error")


def _name(task: Task) -> str:
    return format_html(
        '<span class="name" title="{}">{}</span> <code title="{}">…{}</code>',
        escape_invisible(task.actor),
        shortened(task.actor, MAX_NAME_LENGTH),
        task.pk,
        str(task.pk)[-8:],
    )


def _state(task: Task) -> str:
    asked = format_html(' <span class="quiet">{}</span>', "cancel requested") if task.cancel_requested_at else ""
    return format_html("{}{}", badge(task.status, task.get_status_display()), asked)


def _priority(task: Task) -> str:
    return format_html('{} <span class="quiet">{}</span>', task.priority, task.band)


def _failures(task: Task) -> str:
    """Say how many of its tries failed: the attempt number counts hand-overs that never started, too."""
    tries = "∞" if task.max_retries is None else task.max_retries + 1
    return format_html('<span class="{}">{} of {}</span>', "" if task.failures else "quiet", task.failures, tries)


def _worker(task: Task) -> str:
    if task.worker_id is None:
        return EMPTY
    address = reverse("admin:tasks_worker_change", args=[task.worker_id])
    return format_html('<a href="{}"><code>…{}</code></a>', address, str(task.worker_id)[-8:])


def _timing(task: Task) -> str:
    """Say what its time is about: when it runs, for how long it has, or how long it took."""
    now = timezone.now()
    if task.finished_at and task.started_at:
        return time_element(task.finished_at, f"took {between(task.started_at, task.finished_at)}")
    if task.finished_at:
        return EMPTY
    if task.status == Status.RUNNING and task.started_at:
        return time_element(task.started_at, f"for {between(task.started_at, now)}")
    if task.status in DUE and task.run_at > now:
        return relative_time(task.run_at)
    return time_element(task.run_at, f"due for {between(task.run_at, now)}")


CANCEL = Verb(
    name="cancel",
    label="Cancel",
    done="cancelled",
    permission="tasks.cancel_task",
    effect="What waits ends at once. What runs is interrupted at its worker’s next heartbeat.",
    legal=lambda rows: rows.cancellable(),
    run=lambda ids, by: len(lifecycle.cancel_many(ids, by=by)),
    is_danger=True,
)
RETRY = Verb(
    name="retry",
    label="Run again",
    done="run again",
    permission="tasks.retry_task",
    effect="Dead and cancelled tasks get a second life, with all their retries; what waits for a retry runs now.",
    legal=lambda rows: rows.retryable(),
    run=lambda ids, by: len(lifecycle.retry_many(ids, by=by)),
)


@admin.register(Task)
class TaskAdmin(OperatedAdmin):
    """Tasks, and what happened to them."""

    change_form_template = "admin/tasks/task/change_form.html"
    verbs = (RETRY, CANCEL)
    empty_text = "No task is like that. Finished ones are removed after a while."
    list_display = (
        display("task", _name),
        display("status", _state),
        "queue",
        display("priority", _priority),
        display("failed", _failures),
        display("tags", lambda task: tag_links(task.tags)),
        display("created", lambda task: relative_time(task.created_at)),
        display("timing", _timing),
    )
    list_filter = (StatusFilter, BandFilter, QueueFilter, ActorFilter, CreatedFilter)
    search_fields = ("id",)
    search_help_text = "Id, trace id, tag, or first letters of an actor"
    summary_fields = (
        display("status", _state),
        display("queue", lambda task: escape_invisible(task.queue)),
        display("priority", _priority),
        display("failed", _failures),
        display("owner", lambda task: escape_invisible(str(task.owner or ""))),
        display("worker", _worker),
        display("tags", lambda task: tag_links(task.tags, most=100)),
        display("id", lambda task: code(task.pk)),
        display("trace id", lambda task: code(task.trace_id)),
    )
    fieldsets: ClassVar[Any] = (
        (
            "Data",
            {
                "fields": (
                    display_json("payload"),
                    display_json("args", label="positional arguments"),
                    display_json("result"),
                    display_json("progress"),
                    display_json("checkpoint"),
                )
            },
        ),
        (
            "Limits, counts and times",
            {
                "classes": ("collapse",),
                "fields": (
                    "max_retries",
                    "min_backoff_seconds",
                    "max_backoff_seconds",
                    "retry_for_seconds",
                    "time_limit_seconds",
                    "max_age_seconds",
                    "estimated_seconds",
                    "attempt",
                    "failures",
                    "crashes",
                    "dispatch",
                    "version",
                    display_time("created_at"),
                    display_time("run_at", label="run at"),
                    display_time("queued_at"),
                    display_time("started_at"),
                    display_time("finished_at"),
                    display_time("expires_at"),
                    display_time("cancel_requested_at"),
                ),
            },
        ),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Name the list's class."""
        return TaskList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[QuerySet[Task], bool]:
        """Search as the API does, and by what log lines and callers have: the trace id."""
        if not search_term:
            return queryset, False
        trace_id = search_term.replace("-", "").lower()
        return queryset.searched(search_term) | queryset.filter(trace_id=trace_id), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Go straight to the task whose whole id is searched for."""
        if self.has_view_permission(request) and (task := _exactly(request.GET.get("q", ""))):
            return HttpResponseRedirect(self.address_of(task.pk))
        return super().changelist_view(request, extra_context)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out data that there is none of."""
        (title, options), *others = self.fieldsets
        shown = [field for field in options["fields"] if obj is None or field(obj) != EMPTY]
        return [*([(title, {**options, "fields": shown})] if shown else []), *others]

    def page_context(self, request: HttpRequest, row: Task) -> Mapping[str, Any]:
        """Sum it up; add the attempts (their key has two columns, which the admin cannot list) and what people did."""
        events = TaskEvent.objects.filter(task_id=row.pk).order_by("-id")[:MAX_SHOWN]
        attempts = [_attempt(attempt) for attempt in row.attempts.order_by("-number")[:MAX_SHOWN]]
        return {
            "timeline": timeline(row),
            "error": "" if row.status == Status.SUCCEEDED else truncated(row.error),
            "is_open": row.status in {Status.DEAD, Status.RETRYING},
            "attempts": attempts,
            "events": [_event(event) for event in events],
            "max_shown": MAX_SHOWN,
        }


def _exactly(text: str) -> Task | None:
    try:
        return Task.objects.filter(pk=UUID(text.strip())).only("pk").first()
    except ValueError:
        return None


def _event(event: TaskEvent) -> dict[str, Any]:
    detail = json_block(event.detail) if event.detail else ""
    return {"verb": event.verb, "by": escape_invisible(event.by), "at": exact_time(event.at), "detail": detail}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    ran = attempt.finished_at - attempt.started_at if attempt.started_at else None
    return {
        "number": attempt.number,
        "outcome": badge(attempt.outcome, attempt.get_outcome_display()),
        "worker_id": str(attempt.worker_id),
        "started": relative_time(attempt.started_at),
        "took": duration(ran.total_seconds()) if ran is not None else EMPTY,
        "error": escape_invisible(f"{attempt.error_type}: {attempt.error_message}".strip(": ")),
        "traceback": truncated(attempt.traceback),
        "note": escape_invisible(attempt.note),
    }
