"""Schedule pages: the next fires and last results; add, edit, pause, resume, run now, give back to the code."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from tasks.admin.display import Display, display, display_age, display_json, display_time
from tasks.admin.formatting import (
    EMPTY,
    badge,
    count_text,
    escape_invisible,
    exact_time,
    local,
    relative_time,
    shortened,
    time_element,
)
from tasks.admin.operated import OperatedAdmin
from tasks.admin.operator_log import author_of
from tasks.admin.refusals import faults_of
from tasks.admin.schedule_form import ScheduleForm
from tasks.admin.verb import Verb, one_by_one
from tasks.contract.access import (
    ADD_SCHEDULE,
    CHANGE_SCHEDULE,
    PAUSE_SCHEDULE,
    RUN_SCHEDULE,
    VIEW_TASK,
    Caller,
    visible,
)
from tasks.contract.schedules import last_tasks
from tasks.contract.sight import Lens, sight_of
from tasks.errors import CallboardError, IllegalTransition, InvalidTask, NotFound
from tasks.lifecycle import schedules
from tasks.models import Schedule, Task
from tasks.states import ObjectKind, Status
from tasks.timetable import zone

MAX_NAME_LENGTH = 60
#: Fires and tasks on a schedule's page.
MAX_SHOWN = 5


def status_badge(schedule: Any) -> str:
    """Show whether it fires, and whether it deviates from the code."""
    if schedule.paused_at:
        state = badge("paused", "Paused")
    elif schedule.problem:
        state = badge("silent", "Cannot fire")
    else:
        state = badge("alive", "Active") if schedule.next_fire_at else badge("gone", "Ended")
    if schedule.taken_over_at:
        return format_html("{} {}", state, badge("retrying", "Taken over from code"))
    return format_html("{} {}", state, badge("gone", "Code")) if schedule.is_declared else state


def _pause_note(schedule: Any) -> str:
    if not schedule.paused_at:
        return EMPTY
    by = escape_invisible(schedule.paused_by) or "itself"
    why = f": {escape_invisible(schedule.pause_reason)}" if schedule.pause_reason else ""
    return format_html("by {}, {}{}", by, relative_time(schedule.paused_at), why)


def _taken_over_note(schedule: Any) -> str:
    if not schedule.taken_over_at:
        return EMPTY
    return format_html(
        "by {}, {}", escape_invisible(schedule.taken_over_by) or "unknown", relative_time(schedule.taken_over_at)
    )


def _task_link(task: Task) -> str:
    status = Status(task.status)
    return format_html(
        '<a href="{}">{}</a>',
        reverse("admin:callboard_task_change", args=[task.pk]),
        badge(status.value, str(status.label)),
    )


def _last_result(schedule: Any) -> str:
    task = getattr(schedule, "last_task", None)
    return EMPTY if task is None else _task_link(task)


def _last_results(schedule: Any) -> str:
    rows = ((exact_time(task.scheduled_at), _task_link(task)) for task in getattr(schedule, "last_tasks", ()))
    return format_html_join("", "<div>{} {}</div>", rows) or EMPTY


def _next_fires(schedule: Any) -> str:
    """List the next fires as the clocks of the schedule's zone show them, and those of the viewer's if they differ."""
    fires = islice(schedule.timetable.fires(timezone.now()), MAX_SHOWN)
    return (
        format_html_join("", "<div>{}</div>", ((_in_both_zones(at, zone(schedule.timezone)),) for at in fires)) or EMPTY
    )


def _in_both_zones(at: datetime, its_zone: tzinfo) -> str:
    its, viewers = at.astimezone(its_zone), timezone.localtime(at)
    shown = time_element(its, f"{its:%a %Y-%m-%d %H:%M:%S} {its_zone}")
    if its.utcoffset() == viewers.utcoffset():
        return shown
    return format_html("{} · {} for you", shown, time_element(at, local(at, "%a %H:%M:%S %Z")))


def _next(schedule: Any) -> str:
    return EMPTY if schedule.paused_at else relative_time(schedule.next_fire_at)


def _count(name: str) -> Display:
    return display(name, lambda schedule: count_text(getattr(schedule, name)))


_STATUS = display("status", status_badge)
_WHEN = display("when", lambda schedule: escape_invisible(schedule.timetable.describe()))
_REFUSALS = (NotFound, InvalidTask, IllegalTransition)

PAUSE = Verb(
    name="pause",
    label="Pause",
    command="Pause {}",
    outcome="be paused",
    done="paused",
    permission=PAUSE_SCHEDULE.permission,
    effect="No tasks are submitted until it is resumed. Existing tasks still run.",
    condition="Only schedules that are not paused can be paused.",
    legal=lambda rows: rows.active(),
    run=one_by_one(lambda id, by: schedules.pause(id, by=by), refusals=_REFUSALS),
    is_danger=True,
)
RESUME = Verb(
    name="resume",
    label="Resume",
    command="Resume {}",
    outcome="be resumed",
    done="resumed",
    permission=PAUSE_SCHEDULE.permission,
    effect="It fires again from now on. Fires missed during the pause are skipped.",
    condition="Only paused schedules can be resumed.",
    legal=lambda rows: rows.paused(),
    run=one_by_one(lambda id, by: schedules.resume(id, by=by), refusals=_REFUSALS),
)
RUN = Verb(
    name="run",
    label="Run now",
    command="Run {} now",
    outcome="run now",
    done="run",
    permission=RUN_SCHEDULE.permission,
    effect="One task is submitted at once, even if the schedule is paused or its last task is still running.",
    condition="The actor must be declared and take the payload.",
    legal=lambda rows: rows,
    run=one_by_one(lambda id, by: schedules.run(id, by=by), refusals=_REFUSALS),
)
GIVE_BACK = Verb(
    name="give_back",
    label="Give back to code",
    command="Give {} back to the code",
    outcome="be given back",
    done="given back to the code",
    permission=CHANGE_SCHEDULE.permission,
    effect="The schedule is again as the code declares it. Changes made here are lost.",
    condition="Only schedules that were taken over from code can be given back.",
    legal=lambda rows: rows.filter(taken_over_at__isnull=False),
    run=one_by_one(lambda id, by: schedules.give_back(id, by=by), refusals=_REFUSALS),
)


@admin.register(Schedule)
class ScheduleAdmin(OperatedAdmin):
    """Schedules."""

    change_form_template = "callboard/editable_form.html"
    form = ScheduleForm
    verbs = (RUN, PAUSE, RESUME, GIVE_BACK)
    kind = ObjectKind.SCHEDULE
    state_field = None
    empty_text = "No schedules. Add one here, by the API, or beside an actor: @dramatiq.actor(schedule=…)."
    list_display = (
        display("schedule", lambda schedule: shortened(schedule.name, MAX_NAME_LENGTH)),
        display("actor", lambda schedule: shortened(schedule.actor, MAX_NAME_LENGTH)),
        _WHEN,
        _STATUS,
        display("next fire", _next),
        display_age("last_fire_at"),
        display("last result", _last_result),
    )
    summary_fields = (
        _STATUS,
        _WHEN,
        display("paused", _pause_note),
        display("taken over", _taken_over_note),
        display("problem", lambda schedule: escape_invisible(schedule.problem) or EMPTY),
        display("next fires", _next_fires),
        display_time("buffered_fire_at", label="buffered fire"),
        display("last results", _last_results),
        _count("skipped"),
        _count("missed"),
        display_time("backfill_from", label="backfill from"),
        display_time("backfill_until", label="backfill until"),
        display_json("declared", label="declared in code"),
        display_age("created_at"),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow with the permission."""
        return request.user.has_perm(ADD_SCHEDULE.permission)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow with the permission."""
        return request.user.has_perm(CHANGE_SCHEDULE.permission)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the form's fields, but no payload to those from whom it is hidden."""
        hidden = {"payload"} if obj is not None and obj.payload is None else set()
        names = [name for name in ScheduleForm.Meta.fields if name not in hidden]
        return [(None, {"fields": [*names, "version"] if self.has_change_permission(request, obj) else names})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Fix the name of one that code declares."""
        return ["name"] if obj is not None and obj.is_declared else []

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Tell the form who fills it in."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.user = request.user
        return form

    def hide_data(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Replace payloads, those of the code too."""
        sees = sight_of(Caller(request.user))
        for row in rows:
            lens = Lens(sees(row.owner_id), row)
            declared = row.declared and {**row.declared, "payload": lens.value(row.declared.get("payload"))}
            row.payload, row.declared = lens.payload(), declared

    def name_of(self, row: Any) -> str:
        """Name it."""
        return shortened(row.name, MAX_NAME_LENGTH)

    def annotate(self, rows: list[Any]) -> None:
        """Add the last task of each."""
        found = Task.objects.only("id", "status").in_bulk([row.last_task_id for row in rows if row.last_task_id])
        for row in rows:
            row.last_task = found.get(row.last_task_id)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Find a schedule, with its last tasks that the user may see."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            row.last_tasks = list(visible(last_tasks(row), Caller(request.user), VIEW_TASK)[:MAX_SHOWN])
        return row

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page, or save; say so if somebody changed something between the form's check and the verb."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except CallboardError as refusal:
            if request.method != "POST":
                raise
            self.message_user(request, f"Nothing was saved: {faults_of(refusal)}.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        """Call the verb; it checks once more, under a lock."""
        by, values = author_of(request), dict(form.cleaned_data)
        if change:
            schedules.edit(obj.pk, values, version=form.checked_version, by=by)
        else:
            obj.pk = schedules.add(values.pop("name"), values, owner_id=request.user.pk, by=by).pk
