"""Schedules: how a definition is read, how a schedule and its fires are written, and what a list can be filtered by."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from tasks import registry
from tasks.contract import fields
from tasks.contract.access import ADD_SCHEDULE, VIEW_TASK, Caller, find, visible
from tasks.contract.fields import Reader
from tasks.contract.filters import Filter
from tasks.contract.retry_bounds import retry_faults
from tasks.contract.sight import Lens, keep_secrets
from tasks.contract.submissions import READERS as OF_TASKS
from tasks.contract.values import number, timestamp
from tasks.errors import FieldError, InvalidTask, describe
from tasks.models import Schedule, ScheduleQuerySet, Task
from tasks.schedule_definition import LONGEST_JITTER_SECONDS, LONGEST_NAME, MOST_FAILURES, OPTIONS
from tasks.states import CatchUp, Overlap
from tasks.timetable import LONGEST_CRON, LONGEST_ZONE, SHORTEST_INTERVAL_SECONDS, check_cron, zone

#: Fires that one preview lists.
MOST_PREVIEWED, DEFAULT_PREVIEWED = 100, 10
#: Tasks that a schedule's last results show.
MOST_RESULTS = 10


def _checked(longest: int, check: Callable[[str], Any]) -> Reader:
    read_text = fields.text(longest)

    def read(value: Any) -> str:
        text: str = read_text(value)
        try:
            check(text)
        except ValueError as error:
            raise fields.InvalidValue("invalid", str(error)) from error
        return text

    return read


def _bounded(lowest: float, highest: float) -> Reader:
    read_seconds = fields.seconds()

    def read(value: Any) -> float:
        seconds: float = read_seconds(value)
        if not lowest <= seconds <= highest:
            raise fields.InvalidValue("out_of_range", f"expected {lowest:g} to {highest:.0f} seconds, got {seconds:g}")
        return seconds

    return read


def _choice(names: Iterable[str]) -> Reader:
    known = list(names)

    def read(value: Any) -> str:
        if value not in known or not isinstance(value, str):
            raise fields.InvalidValue("invalid", f"expected one of {', '.join(known)}, got {fields.quoted(value)}")
        return value

    return read


_OWN: Mapping[str, Reader] = {
    "name": fields.text(LONGEST_NAME),
    "actor": OF_TASKS["actor"],
    "payload": OF_TASKS["payload"],
    "cron": _checked(LONGEST_CRON, check_cron),
    "every_seconds": _bounded(SHORTEST_INTERVAL_SECONDS, 3_155_760_000),
    "timezone": _checked(LONGEST_ZONE, zone),
    "starts_at": fields.moment,
    "ends_at": fields.moment,
    "jitter_seconds": _bounded(0, LONGEST_JITTER_SECONDS),
    "overlap": _choice(Overlap.values),
    "catch_up": _choice(CatchUp.values),
    "catch_up_window_seconds": fields.seconds(),
    "pause_after_failures": fields.whole_number(1, MOST_FAILURES),
}
#: The reader of each field of a schedule; those of its tasks are read as in a submission.
READERS: Mapping[str, Reader] = {**_OWN, **{name: OF_TASKS[name] for name in OPTIONS}}
#: What null resets in a change.
NULLABLE = ("starts_at", "ends_at", "pause_after_failures", *OPTIONS)
#: What an edit gives to make a schedule code's again.
TAKEN_OVER = "taken_over"

FILTERS: Mapping[str, Filter] = {"actor": Filter(fields.text(255), ScheduleQuerySet.for_actor)}


def read_schedule(body: Mapping[str, Any], *, caller: Caller | None = None) -> tuple[str, dict[str, Any]]:
    """Read the name and the whole definition of a schedule; what is left out has its default.

    Parameters:
        caller: None for the operator on the machine, who may do everything.

    Raises:
        InvalidTask: with one error per field.
        UnknownActor: there is no such actor, or it is closed to the API.
        NotAllowed: the caller's token is not for the actor or queue.
    """
    values, errors = fields.read_fields(body, READERS, refused={})
    for name, wanted in (("name", "a name of its own"), ("actor", "an actor's name; GET /api/v1/actors lists them")):
        if body.get(name) is None:
            errors.append(FieldError(name, "required", f"expected {wanted}"))
    if body.get("cron") is None and body.get("every_seconds") is None:
        errors.append(FieldError("cron", "required", 'expected cron, such as "0 6 * * 1-5", or every_seconds'))
    if "cron" in values and "every_seconds" in values:
        errors.append(FieldError("every_seconds", "exclusive", "expected cron or every_seconds, got both"))
    if errors:
        raise InvalidTask(describe(errors), errors=errors)
    name = values.pop("name")
    options = {key: values.pop(key) for key in OPTIONS if key in values}
    if caller is not None:
        _check_work(values["actor"], options, caller=caller)
    # The whole set, so that a replacement brings every field back to its default that it leaves out.
    return name, Schedule(actor="").definition | values | {"options": options}


def read_change(body: Mapping[str, Any], *, schedule: Schedule, caller: Caller | None = None) -> dict[str, Any]:
    """Read a change of some fields; null brings a field back to its default where it has one.

    Raises:
        InvalidTask, UnknownActor, NotAllowed: as ``read_schedule``.
    """
    values, errors = fields.read_fields(body, READERS, refused={})
    nulls = [name for name, value in body.items() if value is None and name in READERS]
    message = "expected a value, got null; leave the field out to keep its value"
    errors += [FieldError(name, "invalid", message) for name in nulls if name not in NULLABLE and name not in _TIMES]
    for name, other in (_TIMES, _TIMES[::-1]):
        if name in nulls and getattr(schedule, name) and other not in values:
            errors.append(FieldError(name, "invalid", f"expected a value, got null; give {other} to replace it"))
    if "cron" in values and "every_seconds" in values:
        errors.append(FieldError("every_seconds", "exclusive", "expected cron or every_seconds, got both"))
    if errors:
        raise InvalidTask(describe(errors), errors=errors)
    if not values and not nulls:
        raise InvalidTask(f"expected at least one of {', '.join(READERS)}")
    change = {name: value for name, value in values.items() if name not in OPTIONS}
    change |= {name: None for name in nulls if name in NULLABLE and name not in OPTIONS}
    # One takes the place of the other.
    if "cron" in change and "every_seconds" not in change:
        change["every_seconds"] = None
    if "every_seconds" in change and "cron" not in change:
        change["cron"] = ""
    if any(name in OPTIONS for name in [*values, *nulls]):
        kept = {name: value for name, value in schedule.options.items() if name not in nulls}
        change["options"] = kept | {name: value for name, value in values.items() if name in OPTIONS}
    if caller is not None:
        if {"actor", "payload"} & {*change}:
            _check_work(change.get("actor", schedule.actor), change.get("options", schedule.options), caller=caller)
        elif "options" in change:
            _check_queue(schedule.actor, change["options"], caller=caller)
            _check_retries(schedule.actor, change["options"], caller=caller)
    return change


_TIMES = ("cron", "every_seconds")


def gives_back(body: Mapping[str, Any]) -> bool:
    """Tell whether an edit gives a schedule back to the code that declares it.

    Raises:
        InvalidTask: it does, and something else besides.
    """
    if TAKEN_OVER not in body:
        return False
    if body != {TAKEN_OVER: False}:
        message = "expected false, and no other fields; an edit takes a declared schedule over by itself"
        raise InvalidTask(errors=[FieldError(TAKEN_OVER, "invalid", message)])
    return True


def check_given_back(schedule: Schedule, *, caller: Caller) -> None:
    """Refuse to give a schedule back whose declaration makes tasks out of the reach of the caller's token.

    Raises:
        NotAllowed: it does.
    """
    if schedule.declared is not None:
        caller.require_reach(actor=schedule.declared["actor"])
        _check_queue(schedule.declared["actor"], schedule.declared["options"], caller=caller)


def checked_change(change: dict[str, Any], *, schedule: Schedule, caller: Caller, lens: Lens) -> dict[str, Any]:
    """Check a change against what its caller may do and sees, and leave out what they only send back.

    Parameters:
        lens: the caller's, of the schedule.

    Raises:
        InvalidTask: a secret is sent back as its mask.
        NotAllowed: other work runs then, as from a new schedule, which the caller may not add.
    """
    change = keep_secrets(change, task=schedule, lens=lens)
    if any(name in change and change[name] != getattr(schedule, name) for name in ("actor", "payload")):
        caller.require(ADD_SCHEDULE)
    return change


def visible_schedules(caller: Caller) -> ScheduleQuerySet:
    """Narrow schedules to those within the reach of the caller's token."""
    return Schedule.objects.within_reach(actors=caller.actors, queues=caller.queues)


def find_schedule(caller: Caller, text: str) -> Schedule:
    """Find a schedule within the reach of the caller's token.

    Raises:
        NotFound: there is none.
    """
    return find(visible_schedules(caller), text, kind="schedule")


def read_again(schedule: Schedule) -> Schedule:
    """Read a schedule again after a verb, also if it has left the reach of the caller's token.

    Raises:
        NotFound: somebody has removed it in the meantime.
    """
    return find(Schedule.objects.all(), str(schedule.pk), kind="schedule")


def visible_results(schedule: Schedule, *, caller: Caller, url: Callable[[str], str]) -> list[dict[str, Any]]:
    """Write the last tasks of a schedule that the caller may see, newest fire first."""
    return results_of(visible(last_tasks(schedule), caller, VIEW_TASK)[:MOST_RESULTS], url=url)


def _check_queue(actor: str, options: Mapping[str, Any], *, caller: Caller) -> None:
    caller.require_reach(queue=options.get("queue") or registry.get(actor).queue)


def _check_work(actor: str, options: Mapping[str, Any], *, caller: Caller) -> None:
    spec = registry.get_open(actor)
    caller.require_reach(actor=spec.name, queue=options.get("queue") or spec.queue)
    _check_retries(actor, options, caller=caller)


def _check_retries(actor: str, options: Mapping[str, Any], *, caller: Caller) -> None:
    if errors := [*retry_faults(options, caller=caller, spec=registry.get(actor))]:
        raise InvalidTask(describe(errors), errors=errors)


_RANGE: Mapping[str, Reader] = {"starts_at": fields.moment, "ends_at": fields.moment}


def read_range(body: Mapping[str, Any]) -> dict[str, datetime]:
    """Read the range of a backfill, both ends included.

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, _RANGE, refused={})
    missing = [name for name in _RANGE if body.get(name) is None]
    errors += [FieldError(name, "required", "expected a date and time with its zone") for name in missing]
    if errors:
        raise InvalidTask(describe(errors), errors=errors)
    return values


PREVIEW: Mapping[str, Reader] = {"after": fields.moment, "limit": fields.digits(1, MOST_PREVIEWED)}


def schedule_as_dict(schedule: Schedule, *, url: Callable[[str], str], lens: Lens) -> dict[str, Any]:
    """Write a schedule."""
    id = str(schedule.pk)
    return {
        "id": id,
        "url": url(id),
        "name": schedule.name,
        "actor": schedule.actor,
        "payload": lens.payload(),
        "hidden": lens.hidden("payload"),
        **{name: schedule.options.get(name) for name in OPTIONS},
        "cron": schedule.cron or None,
        "every_seconds": number(schedule.every_seconds),
        "timezone": schedule.timezone,
        "description": schedule.timetable.describe(),
        "starts_at": timestamp(schedule.starts_at),
        "ends_at": timestamp(schedule.ends_at),
        "jitter_seconds": number(schedule.jitter_seconds),
        "overlap": str(schedule.overlap),
        "catch_up": str(schedule.catch_up),
        "catch_up_window_seconds": number(schedule.catch_up_window_seconds),
        "pause_after_failures": schedule.pause_after_failures,
        "next_fire_at": None if schedule.paused_at else timestamp(schedule.next_fire_at),
        "buffered_fire_at": timestamp(schedule.buffered_fire_at),
        "last_fire_at": timestamp(schedule.last_fire_at),
        "last_task_id": str(schedule.last_task_id) if schedule.last_task_id else None,
        "skipped": schedule.skipped,
        "missed": schedule.missed,
        "problem": schedule.problem or None,
        "backfill": _backfill_as_dict(schedule),
        "paused_at": timestamp(schedule.paused_at),
        "paused_by": schedule.paused_by or None,
        "pause_reason": schedule.pause_reason or None,
        "declared": schedule.is_declared,
        TAKEN_OVER: schedule.taken_over_at is not None,
        "taken_over_at": timestamp(schedule.taken_over_at),
        "taken_over_by": schedule.taken_over_by or None,
        "version": schedule.version,
        "created_at": timestamp(schedule.created_at),
    }


def _backfill_as_dict(schedule: Schedule) -> dict[str, Any] | None:
    if schedule.backfill_from is None:
        return None
    return {"next_fire_at": timestamp(schedule.backfill_from), "last_fire_at": timestamp(schedule.backfill_until)}


def results_of(tasks: Iterable[Task], *, url: Callable[[str], str]) -> list[dict[str, Any]]:
    """Write the last tasks of a schedule, newest fire first.

    Parameters:
        tasks: those that the caller may see.
    """
    return [
        {
            "id": str(task.pk),
            "url": url(str(task.pk)),
            "status": str(task.status),
            "scheduled_at": timestamp(task.scheduled_at),
            "started_at": timestamp(task.started_at),
            "finished_at": timestamp(task.finished_at),
        }
        for task in tasks
    ]


def last_tasks(schedule: Schedule) -> Any:
    """Select the last tasks of a schedule, newest fire first; slice it."""
    return Task.objects.filter(schedule_id=schedule.pk).order_by("-scheduled_at")


def preview_as_list(schedule: Schedule, *, after: datetime, limit: int = DEFAULT_PREVIEWED) -> list[dict[str, Any]]:
    """Write the next fires after a moment: in UTC, and as the clocks of the zone show them."""
    local = zone(schedule.timezone)
    return [
        {"at": timestamp(fire.astimezone(UTC)), "local": fire.astimezone(local).isoformat()}
        for fire in islice(schedule.timetable.fires(after), limit)
    ]
