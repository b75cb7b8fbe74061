"""Task pages: the list, and each task with its timeline, attempts, data and verbs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html

from tasks import lifecycle
from tasks.admin import actors
from tasks.admin.change_list import BoundedChangeList
from tasks.admin.display import display, display_json, display_limit, display_time
from tasks.admin.filters import (
    ActorFilter,
    BandFilter,
    CreatedFilter,
    EndedFilter,
    ErrorTypeFilter,
    OwnerFilter,
    QueueFilter,
    StatusFilter,
    TagFilter,
    WaitingFilter,
)
from tasks.admin.formatting import (
    EMPTY,
    badge,
    code,
    count_text,
    duration,
    escape_invisible,
    exact_time,
    json_block,
    local,
    relative_time,
    shortened,
    tag_links,
    time_element,
    truncated,
)
from tasks.admin.gantt import gantt
from tasks.admin.operated import OperatedAdmin
from tasks.admin.timeline import between, timeline
from tasks.admin.verb import Verb, Whole, one_by_one
from tasks.admin.worker import worker_names
from tasks.contract.access import CANCEL_TASK, RETRY_TASK, SIGNAL_TASK, VIEW_PAYLOAD, Action, Caller
from tasks.contract.causes import causes_of
from tasks.contract.fields import InvalidValue
from tasks.contract.sight import Lens, Sight, sight_of
from tasks.contract.signals import send_awaited
from tasks.contract.tasks import filters_for, log_as_dict, running_log
from tasks.contract.workflows import whole_of
from tasks.errors import CallboardError
from tasks.masking import masked
from tasks.models import Attempt, Batch, Journal, Step, Task, TaskQuerySet
from tasks.queries.dependencies import workflow_of
from tasks.states import DUE, ObjectKind, OperationVerb, Status
from tasks.submission import FIELDS, Seconds, WholeNumber

#: Attempts and events that one page shows.
MAX_SHOWN = 50
#: Parents, and children, on a task's page.
MAX_RELATIVES = 20
MAX_NAME_LENGTH = 60
#: A search that begins so is for a value in payloads.
PAYLOAD_PREFIX = "payload."


class TaskList(BoundedChangeList):
    """Leaves the big columns out of the list."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Defer columns that the list does not show."""
        rows = super().get_queryset(request, exclude_parameters)
        return rows.defer("payload", "args", "options", "result", "progress", "checkpoint", "log", "error")


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
    """Show failed executions against those allowed; the attempt number also counts claims that never started."""
    allowed = "∞" if task.max_retries is None else f"{task.max_retries + 1:,}"
    return format_html(
        '<span class="{}" title="Failed executions, of those allowed">{} of {}</span>',
        "" if task.failures else "quiet",
        task.failures,
        allowed,
    )


def _worker(task: Task) -> str:
    if task.worker_id is None:
        return EMPTY
    address = reverse("admin:callboard_worker_change", args=[task.worker_id])
    return format_html('<a href="{}"><code>…{}</code></a>', address, str(task.worker_id)[-8:])


def _timing(task: Task) -> str:
    """Show when the task runs, how long it has waited or run, or how long it took."""
    now = timezone.now()
    if task.finished_at and task.started_at:
        return time_element(task.finished_at, f"took {between(task.started_at, task.finished_at)}")
    if task.finished_at:
        return EMPTY
    if task.status == Status.RUNNING and task.started_at:
        return time_element(task.started_at, f"running for {between(task.started_at, now)}")
    if task.status in DUE and task.run_at > now:
        return relative_time(task.run_at)
    return time_element(task.run_at, f"waiting for {between(task.run_at, now)}")


CANCEL = Verb(
    name="cancel",
    label="Cancel",
    command="Cancel {}",
    outcome="be cancelled",
    done="cancelled",
    permission=CANCEL_TASK.permission,
    effect="Waiting tasks end at once. Running tasks are interrupted at their worker’s next heartbeat.",
    condition="Only tasks that have not ended can be cancelled, and only once.",
    legal=lambda rows: rows.cancellable(),
    run=lambda ids, by: len(lifecycle.cancel_many(ids, by=by)),
    many=OperationVerb.CANCEL,
    is_danger=True,
)
RETRY = Verb(
    name="retry",
    label="Run again",
    command="Run {} again",
    outcome="run again",
    done="set to run again",
    permission=RETRY_TASK.permission,
    effect="Dead and cancelled tasks run again with a fresh set of retries. Retrying tasks skip their delay.",
    condition="Only dead, cancelled and retrying tasks can run again, if their arguments still fit the actor.",
    legal=lambda rows: rows.retryable(),
    run=lambda ids, by: len(lifecycle.retry_many(ids, by=by)),
    many=OperationVerb.RETRY,
)


#: Tasks of a workflow that its buttons are decided by: more would make a page slow.
_MOST_LOOKED_AT = 200


def _beginning(task: Task) -> tuple[Sequence[UUID], bool]:
    found = workflow_of(task.pk, most=_MOST_LOOKED_AT)
    return found.ids, found.is_complete


def _workflow(action: Action) -> Whole:
    return Whole(
        name="workflow",
        beginning=_beginning,
        ids_of=lambda row, caller: whole_of(row, caller=caller, action=action),
    )


CANCEL_WORKFLOW = replace(
    CANCEL,
    name="cancel_workflow",
    label="Cancel workflow",
    effect="This acts on all tasks that dependencies link to this one. " + CANCEL.effect,
    run=lambda ids, by: len(lifecycle.cancel_workflow(ids, by=by)),
    whole=_workflow(CANCEL_TASK),
)
RETRY_WORKFLOW = replace(
    RETRY,
    name="retry_workflow",
    label="Retry workflow",
    effect="This acts on all tasks that dependencies link to this one. Those that died or were cancelled run again "
    "with fresh retries, each after its parents; what was cancelled because a parent failed follows that parent.",
    condition="Only dead and cancelled tasks can run again, if their arguments still fit the actor.",
    legal=lambda rows: rows.retryable_with_workflow(),
    following=lambda rows: rows.cancelled_by_parents(),
    run=lambda ids, by: len(lifecycle.retry_workflow(ids, by=by)),
    whole=_workflow(RETRY_TASK),
)
SIGNAL = Verb(
    name="signal",
    label="Send signal",
    command="Send the signal to {}",
    outcome="go on",
    done="sent the signal that it waits for",
    permission=SIGNAL_TASK.permission,
    effect="The task goes on with your name and reason as the signal’s payload.",
    condition="Only tasks that wait for a signal can get it here.",
    legal=lambda rows: rows.waiting_for_signal(),
    run=one_by_one(send_awaited, refusals=(CallboardError,)),
)


#: Texts for a duration of 0.
_NO_TIME = {"time_limit_seconds": "no limit"}
_LIMITS = tuple(
    display_limit(field, zero=_NO_TIME.get(field.name, "0 s"))
    for field in FIELDS.values()
    if field.is_column and isinstance(field.kind, Seconds | WholeNumber)
)
_COUNTS = (
    display("attempt number", lambda task: f"{task.attempt:,}"),
    display("dispatch number", lambda task: f"{task.dispatch:,}"),
    display("failures", lambda task: f"{task.failures:,}"),
    display("crashes", lambda task: f"{task.crashes:,}"),
    display("version", lambda task: f"{task.version:,}"),
)
_TIMES = (
    display_time("created_at"),
    display_time("run_at", label="run at"),
    display_time("queued_at"),
    display_time("started_at"),
    display_time("finished_at"),
    display_time("checkpointed_at"),
    display_time("expires_at"),
    display_time("cancel_requested_at"),
)


@admin.register(Task)
class TaskAdmin(OperatedAdmin):
    """Tasks with their timelines and attempts."""

    change_form_template = "callboard/task.html"
    verbs = (RETRY, SIGNAL, CANCEL, RETRY_WORKFLOW, CANCEL_WORKFLOW)
    kind = ObjectKind.TASK
    # The history has more.
    has_operator_log = False
    empty_text = "No tasks yet. Submit one through the API or with manage.py callboard submit."
    no_match_text = "No tasks match. Finished tasks are removed after a while."
    list_display = (
        display("task", _name),
        display("status", _state),
        display("queue", lambda task: escape_invisible(task.queue)),
        display("priority", _priority),
        display("failures", _failures),
        display("tags", lambda task: tag_links(task.tags)),
        display("created", lambda task: relative_time(task.created_at)),
        display("timing", _timing),
    )
    list_filter = (
        *(StatusFilter, WaitingFilter, CreatedFilter, BandFilter, QueueFilter, ActorFilter),
        *(TagFilter, OwnerFilter, ErrorTypeFilter, EndedFilter),
    )
    search_fields = ("id",)
    search_help_text = "ID, trace ID, tag, actor, or payload.user.id:42"
    summary_fields = (
        display("status", _state),
        display("queue", lambda task: escape_invisible(task.queue)),
        display("priority", _priority),
        display("failures", _failures),
        display("owner", lambda task: escape_invisible(str(task.owner or ""))),
        display("worker", _worker),
        display("tags", lambda task: tag_links(task.tags, most=100)),
        display("ID", lambda task: code(task.pk)),
        display("trace ID", lambda task: code(task.trace_id)),
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
                    display_json("unique_rule", label="unique key"),
                )
            },
        ),
        (
            "Limits, counts and times",
            {"classes": ("collapse",), "fields": (*_LIMITS, *_COUNTS, *_TIMES)},
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of actors: they have no table, and so no admin of their own."""
        return [*actors.urls_of(self.admin_site), *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Name the list's class."""
        return TaskList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[QuerySet[Task], bool]:
        """Search as the API does, which has a filter for values in payloads."""
        if search_term.startswith(PAYLOAD_PREFIX):
            return self._by_payload(request, queryset, search_term.removeprefix(PAYLOAD_PREFIX)), False
        return (queryset.searched(search_term) if search_term else queryset), False

    def _by_payload(self, request: HttpRequest, rows: TaskQuerySet, text: str) -> QuerySet[Task]:
        caller = Caller(request.user)
        by_payload = filters_for(caller)["payload"]
        try:
            wanted = by_payload.read(text)
        except InvalidValue as refused:
            self._note(request, f"Payloads were not searched: {refused}.")
            return rows.none()
        if not caller.is_permitted(VIEW_PAYLOAD):
            self._note(request, "Only payloads of your own tasks were searched; you may not see others.")
        return by_payload.apply(rows, [wanted])  # type: ignore[no-any-return]

    def _note(self, request: HttpRequest, text: str) -> None:
        # A POST builds the list more than once.
        if request.method == "GET":
            self.message_user(request, text, messages.WARNING)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Go straight to the task if the search is a complete ID."""
        if self.has_view_permission(request) and (task := _exactly(request.GET.get("q", ""))):
            return HttpResponseRedirect(self.address_of(task.pk))
        return super().changelist_view(request, extra_context)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave out data fields without a value."""
        (title, options), *others = self.fieldsets
        shown = [field for field in options["fields"] if obj is None or field(obj) != EMPTY]
        return [*([(title, {**options, "fields": shown})] if shown else []), *others]

    def hide_data(self, request: HttpRequest, rows: Sequence[Task]) -> None:
        """Replace payload, arguments, results and errors; lists do not read them."""
        sees = sight_of(Caller(request.user))
        for task in rows:
            if "payload" not in task.get_deferred_fields():
                _hide_data(task, Lens(sees(task.owner_id), task))

    def name_of(self, row: Task) -> str:
        """Name it by its actor and the end of its ID."""
        return f"{shortened(row.actor, MAX_NAME_LENGTH)} …{str(row.pk)[-8:]}"

    def page_context(self, request: HttpRequest, row: Task) -> Mapping[str, Any]:
        """Add the timeline, the attempts (the admin cannot list rows with a composite key) and the history."""
        events = list(Journal.objects.filter(task_id=row.pk).newest_first()[:MAX_SHOWN])
        lens: Lens = row.lens  # type: ignore[attr-defined]
        rows = list(row.attempts.order_by("-number")[:MAX_SHOWN])
        names = worker_names(attempt.worker_id for attempt in rows)
        attempts = [_attempt(attempt, lens) | {"worker": names.get(attempt.worker_id)} for attempt in rows]
        return {
            "timeline": timeline(row, is_first_start=all(one["number"] == row.attempt for one in attempts)),
            "gantt": gantt(row, rows, events),
            "cause": _cause(row),
            "error": "" if row.status == Status.SUCCEEDED else truncated(row.error),
            "is_open": row.status in {Status.DEAD, Status.RETRYING},
            "attempts": attempts,
            "log": _log(running_log(row), lens),
            "steps": [_step(step, lens) for step in row.steps.all()[:MAX_SHOWN]],
            "is_hidden": lens.sight is Sight.NOTHING,
            "events": [_event(event) for event in events],
            "kin": [
                _relatives("Depends on", row.parent_edges, "parent"),
                _relatives("Needed by", row.child_edges, "child"),
            ],
            "max_shown": MAX_SHOWN,
        }


def _cause(task: Task) -> str:
    """Say whose end cancelled a task, with a link to it."""
    for cause in causes_of([task]).values():
        before, name, after = cause.sentence.partition(cause.name)
        address = _batch_address(cause.id) if cause.is_batch else _address(cause.id)
        link = format_html('<a href="{}"><bdi>{}</bdi></a>', address, escape_invisible(name))
        return format_html("{}{}{}", before, link if cause.status else name, after)
    return ""


def _batch_address(batch_id: UUID) -> str:
    return reverse("admin:callboard_batch_change", args=[batch_id])


def _address(task_id: UUID) -> str:
    return reverse("admin:callboard_task_change", args=[task_id])


def _relatives(title: str, edges: Any, side: str) -> dict[str, Any]:
    """List the first parents, or children, of a task; one that was removed has an id only."""
    found = list(edges.order_by(f"{side}_id")[: MAX_RELATIVES + 1])
    ids = [getattr(edge, f"{side}_id") for edge in found[:MAX_RELATIVES]]
    tasks = Task.objects.only("actor", "status").in_bulk(ids)
    batches = _batches([id for id, edge in zip(ids, found, strict=False) if side == "parent" and edge.is_batch])
    return {
        "title": title,
        "is_cut": len(found) > MAX_RELATIVES,
        "rows": [
            {
                "id": str(id),
                "address": _address(id),
                "actor": shortened(tasks[id].actor, MAX_NAME_LENGTH) if id in tasks else "",
                "status": _state(tasks[id]) if id in tasks else "removed",
                "on_failure": edge.get_on_failure_display(),
                **batches.get(id, {}),
            }
            for id, edge in zip(ids, found, strict=False)
        ],
    }


def _batches(ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Describe the batches among the parents of a task."""
    found: dict[UUID, dict[str, Any]] = {id: {"actor": "batch", "address": _batch_address(id)} for id in ids}
    for batch in Batch.objects.with_news().filter(pk__in=ids):
        ended = f"{count_text(batch.count('total') - batch.unfinished)} of {count_text(batch.count('total'))} ended"
        name = shortened(batch.name, MAX_NAME_LENGTH) or "batch"
        status = badge(batch.status, batch.get_status_display())
        found[batch.pk] |= {"actor": name, "status": status, "progress": ended}
    return found


def _exactly(text: str) -> Task | None:
    try:
        return Task.objects.filter(pk=UUID(text.strip())).only("pk").first()
    except ValueError:
        return None


def _hide_data(task: Task, lens: Lens) -> None:
    seen = {name: lens.value(getattr(task, name)) for name in ("result", "progress", "checkpoint", "unique_rule")}
    seen |= {"payload": lens.payload(), "args": lens.arguments(), "error": lens.text(task.error) or "", "lens": lens}
    for name, value in seen.items():
        setattr(task, name, value)


def _event(event: Journal) -> dict[str, Any]:
    return {
        "verb": event.verb,
        "by": escape_invisible(event.by),
        "door": event.get_door_display(),
        "reason": escape_invisible(event.reason),
        "at": exact_time(event.at),
        "detail": json_block(masked(event.detail)) if event.detail else "",
    }


def _log(log: Mapping[str, Any] | None, lens: Lens) -> list[dict[str, str]]:
    lines = log_as_dict(log, lens=lens)["log"] or ()
    return [
        {"at": local(datetime.fromisoformat(one["at"]), "%H:%M:%S"), "line": escape_invisible(one["line"])}
        for one in lines
    ]


def _step(step: Step, lens: Lens) -> dict[str, Any]:
    result = lens.value(step.result)
    return {
        "kind": step.get_kind_display(),
        "name": escape_invisible(step.name),
        "at": exact_time(step.created_at),
        "until": exact_time(step.ends_at) if step.ends_at else "",
        "is_timeout": step.is_timeout,
        "result": "" if result is None else json_block(result),
    }


def _attempt(attempt: Attempt, lens: Lens) -> dict[str, Any]:
    ran = attempt.finished_at - attempt.started_at if attempt.started_at else None
    return {
        "number": attempt.number,
        "outcome": badge(attempt.outcome, attempt.get_outcome_display()),
        "worker_id": str(attempt.worker_id),
        "started": relative_time(attempt.started_at),
        "took": duration(ran.total_seconds()) if ran is not None else EMPTY,
        "error": escape_invisible(f"{attempt.error_type}: {lens.text(attempt.error_message) or ''}".strip(": ")),
        "traceback": truncated(lens.text(attempt.traceback) or ""),
        "note": escape_invisible(lens.text(attempt.note) or ""),
        "log": _log(attempt.log, lens),
    }
