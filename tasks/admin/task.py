"""Task pages: the list, and each task with its timeline, attempts, data and verbs."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from tasks.admin import actors, submit, workflow
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
    code,
    escape_invisible,
    name_of_task,
    relative_time,
    tag_links,
    task_cell,
    time_element,
)
from tasks.admin.links import links_of
from tasks.admin.operated import OperatedAdmin
from tasks.admin.task_parts import parts_of, state_badge
from tasks.admin.task_verbs import CANCEL, CANCEL_WORKFLOW, RETRY, RETRY_WORKFLOW, RUN_NOW, SIGNAL
from tasks.admin.timeline import between
from tasks.contract.access import SUBMIT_TASK, VIEW_PAYLOAD, Caller
from tasks.contract.fields import InvalidValue
from tasks.contract.sight import Lens, sight_of
from tasks.contract.tasks import filters_for
from tasks.models import Task, TaskQuerySet
from tasks.states import DUE, ObjectKind, Status
from tasks.submission import FIELDS, Seconds, WholeNumber

#: A search that begins so is for a value in payloads.
PAYLOAD_PREFIX = "payload."


class TaskList(BoundedChangeList):
    """Leaves the big columns out of the list."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Defer columns that the list does not show."""
        rows = super().get_queryset(request, exclude_parameters)
        return rows.defer("payload", "args", "options", "result", "progress", "checkpoint", "log", "error")


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


#: Texts for a duration of 0.
_NO_TIME = {"time_limit_seconds": "no limit"}
_LIMITS = tuple(
    display_limit(field, zero=_NO_TIME.get(field.name, "0 s"))
    for field in FIELDS.values()
    if field.is_column and isinstance(field.kind, Seconds | WholeNumber)
)
_FAIRNESS_KEY = display("fairness key", lambda task: escape_invisible(task.fairness_key or EMPTY))
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
    verbs = (RUN_NOW, RETRY, SIGNAL, CANCEL, RETRY_WORKFLOW, CANCEL_WORKFLOW)
    kind = ObjectKind.TASK
    add_label = "Submit"
    # The history has more.
    has_operator_log = False
    empty_text = "No tasks yet. Submit one here, through the API or with manage.py callboard submit."
    no_match_text = "No tasks match. Finished tasks are removed after a while."
    list_display = (
        display("task", lambda task: task_cell(task.actor, task.pk)),
        display("status", state_badge),
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
        display("status", state_badge),
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
            {"classes": ("collapse",), "fields": (*_LIMITS, _FAIRNESS_KEY, *_COUNTS, *_TIMES)},
        ),
    )

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of workflows, and of actors: they have no table, and so no admin of their own."""
        view = self.admin_site.admin_view(self.workflow_view)
        whole = path("<path:object_id>/workflow/", view, name="callboard_task_workflow")
        return [*actors.urls_of(self.admin_site), whole, *super().get_urls()]

    def workflow_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the tasks that dependencies link to this one."""
        return workflow.page(self, request, self.get_object(request, unquote(object_id)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow with the permission to submit."""
        return request.user.has_perm(SUBMIT_TASK.permission)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the submission form; it is none of Django's, which would write a row."""
        return submit.page(self, request)

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
        return name_of_task(row.actor, row.pk)

    def page_context(self, request: HttpRequest, row: Task) -> Mapping[str, Any]:
        """Add what the task did, its relatives and its history."""
        return {**parts_of(row), "links": links_of(row), "copy_url": submit.copy_url(request, row)}


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
