"""The methods of schedules: each validates, calls one verb and writes the answer."""

from collections.abc import Callable, Mapping
from typing import Any

from tasks.contract import fields
from tasks.contract import schedules as contract
from tasks.contract.access import (
    ADD_SCHEDULE,
    CHANGE_SCHEDULE,
    DELETE_SCHEDULE,
    PAUSE_SCHEDULE,
    RUN_SCHEDULE,
    VIEW_SCHEDULE,
)
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.contract.sight import Lens
from tasks.contract.tasks import task_as_dict
from tasks.lifecycle import schedules
from tasks.models import Schedule
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import schedule_pb2 as pb
from tasks.rpc.messages import as_parameters, take_cleared
from tasks.rpc.pages import page_as_dict


def list_schedules(call: Call, asked: Values) -> Mapping[str, Any]:
    """List schedules, newest first."""
    parameters = as_parameters(asked)
    found = page(filtered(contract.visible_schedules(call.caller), parameters, contract.FILTERS), parameters)
    return page_as_dict("schedules", found, lambda schedule: _as_dict(call, schedule))


def add_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """Add a schedule; it fires from now on, and its tasks belong to the caller."""
    by = call.author(asked)
    name, definition = contract.read_schedule(asked.get("schedule", {}), caller=call.caller)
    return {"schedule": _as_dict(call, schedules.add(name, definition, owner_id=call.caller.owner_id, by=by))}


def get_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """Read one schedule, with the results of its last tasks that the caller may see."""
    schedule = _find(call, asked)
    results = contract.visible_results(schedule, caller=call.caller, url=str)
    return {"schedule": _as_dict(call, schedule), "last_results": results}


def edit_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """Change some fields, or give a schedule back to the code that declares it."""
    schedule, by, version = _find(call, asked), call.author(asked), asked.get("version")
    body = take_cleared(asked, asked.get("schedule", {}))
    if contract.TAKEN_OVER in asked:
        body[contract.TAKEN_OVER] = asked[contract.TAKEN_OVER]
    if contract.gives_back(body):
        contract.check_given_back(schedule, caller=call.caller)
        schedules.give_back(schedule.pk, version=version, by=by)
        return _answer(call, schedule)
    change = contract.read_change(body, schedule=schedule, caller=call.caller)
    change = contract.checked_change(change, schedule=schedule, caller=call.caller, lens=_lens(call, schedule))
    # The change was made for this version.
    schedules.edit(schedule.pk, change, version=schedule.version if version is None else version, by=by)
    return _answer(call, schedule)


def remove_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """Remove a schedule; its tasks stay."""
    schedules.remove(_find(call, asked).pk, version=asked.get("version"), by=call.author(asked))
    return {}


def _acting(verb: Callable[..., Any]) -> Callable[[Call, Values], Mapping[str, Any]]:
    """Do a verb to one schedule, which takes nothing but a reason."""

    def act(call: Call, asked: Values) -> Mapping[str, Any]:
        schedule = _find(call, asked)
        verb(schedule.pk, by=call.author(asked))
        return _answer(call, schedule)

    return act


def run_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """Submit one task now, whether the schedule is paused or its last task still runs."""
    task = schedules.run(_find(call, asked).pk, by=call.author(asked), admit=call.limit)
    return {"task": task_as_dict(task, url=str, sees=call.sees)}


def backfill_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """Make the tasks of past fires that have none."""
    schedule, by = _find(call, asked), call.author(asked)
    wanted = contract.read_range({name: value for name, value in asked.items() if name != "id"})
    fires = schedules.backfill(schedule.pk, start=wanted["starts_at"], end=wanted["ends_at"], by=by, admit=call.limit)
    return {"fires": fires, **_answer(call, schedule)}


def preview_schedule(call: Call, asked: Values) -> Mapping[str, Any]:
    """List the next fires, whether the schedule is paused or not."""
    schedule = _find(call, asked)
    wanted = fields.read_parameters(as_parameters(asked, without="id"), contract.PREVIEW)
    after = wanted.pop("after", None) or schedules.database_now()
    return {"fires": contract.preview_as_list(schedule, after=after, **wanted)}


def _find(call: Call, asked: Values) -> Schedule:
    return contract.find_schedule(call.caller, asked.get("id", ""))


def _lens(call: Call, schedule: Schedule) -> Lens:
    return Lens(call.sees(schedule.owner_id), schedule)


def _as_dict(call: Call, schedule: Schedule) -> dict[str, Any]:
    return contract.schedule_as_dict(schedule, url=str, lens=_lens(call, schedule))


def _answer(call: Call, schedule: Schedule) -> Mapping[str, Any]:
    return {"schedule": _as_dict(call, contract.read_again(schedule))}


METHODS = {
    "ListSchedules": Method(VIEW_SCHEDULE, list_schedules, pb.ListSchedulesRequest, pb.ListSchedulesResponse),
    "AddSchedule": Method(ADD_SCHEDULE, add_schedule, pb.AddScheduleRequest, pb.AddScheduleResponse),
    "GetSchedule": Method(VIEW_SCHEDULE, get_schedule, pb.GetScheduleRequest, pb.GetScheduleResponse),
    "EditSchedule": Method(CHANGE_SCHEDULE, edit_schedule, pb.EditScheduleRequest, pb.EditScheduleResponse),
    "RemoveSchedule": Method(DELETE_SCHEDULE, remove_schedule, pb.RemoveScheduleRequest, pb.RemoveScheduleResponse),
    "PauseSchedule": Method(
        PAUSE_SCHEDULE, _acting(schedules.pause), pb.PauseScheduleRequest, pb.PauseScheduleResponse
    ),
    "ResumeSchedule": Method(
        PAUSE_SCHEDULE, _acting(schedules.resume), pb.ResumeScheduleRequest, pb.ResumeScheduleResponse
    ),
    "RunSchedule": Method(RUN_SCHEDULE, run_schedule, pb.RunScheduleRequest, pb.RunScheduleResponse),
    "BackfillSchedule": Method(
        RUN_SCHEDULE, backfill_schedule, pb.BackfillScheduleRequest, pb.BackfillScheduleResponse
    ),
    "PreviewSchedule": Method(VIEW_SCHEDULE, preview_schedule, pb.PreviewScheduleRequest, pb.PreviewScheduleResponse),
}
