"""add, edit, give back, remove, pause, resume, run, backfill: what people do to schedules."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from tasks.db.statements import fetch
from tasks.errors import FieldError, IllegalTransition, InvalidTask, NotFound, VersionMismatch, describe
from tasks.field_faults import moment
from tasks.lifecycle import fire
from tasks.lifecycle.journal import LONGEST_NAME, UNKNOWN, Author, record
from tasks.lifecycle.submit import Admit
from tasks.models import Schedule, Task
from tasks.schedule_definition import TIMING, faults
from tasks.states import ObjectKind
from tasks.submission import OwnerId

#: The most fires of one backfill.
MOST_BACKFILLED = 1_000


def database_now() -> datetime:
    """Read the database's clock, by which schedules fire."""
    ((now,),) = fetch("SELECT statement_timestamp()", {})
    return now  # type: ignore[no-any-return]


@transaction.atomic
def add(
    name: str,
    definition: Mapping[str, Any],
    *,
    owner_id: OwnerId | None = None,
    declared: Mapping[str, Any] | None = None,
    by: Author = UNKNOWN,
) -> Schedule:
    """Add a schedule; it fires from now on.

    Parameters:
        definition: some of ``DEFINITION``; the others have their defaults.
        declared: what code declares, if it does.

    Raises:
        InvalidTask: with one error per field.
        UnknownActor: no such actor.
    """
    _refuse([*faults({"name": name, **definition})])
    now = database_now()
    schedule = Schedule(name=name, created_at=now, failures_since=now, declared=declared, **definition)
    # A project chooses the type of its users' keys.
    schedule.owner_id = owner_id  # type: ignore[assignment]
    check(schedule)
    _count_from(schedule, now)
    try:
        with transaction.atomic():
            schedule.save(force_insert=True)
    except IntegrityError as error:
        message = f"expected a name of its own, but there is a schedule {name!r:.110}"
        raise InvalidTask(message, errors=[FieldError("name", "taken", message)]) from error
    schedule.refresh_from_db()
    _record(by, "add", schedule, {"actor": schedule.actor})
    return schedule


@transaction.atomic
def edit(schedule_id: UUID, change: Mapping[str, Any], *, version: int | None = None, by: Author = UNKNOWN) -> Schedule:
    """Change a schedule. One that code declares is taken over: from now on code changes it no more.

    Another time or zone counts from now on; fires that were due before are done or left out.

    Parameters:
        change: ``name`` and some of ``DEFINITION``.
        version: change it only if it still has this version.

    Raises:
        NotFound: no such schedule.
        InvalidTask, UnknownActor: as ``add``.
        VersionMismatch: it has another version by now.
    """
    _refuse([*faults(change)])
    schedule = _locked(schedule_id, version)
    changed = sorted(name for name, value in change.items() if getattr(schedule, name) != value)
    if not changed:
        return schedule
    if schedule.is_declared and "name" in changed:
        message = "expected the name that code declares; it finds its schedule by it"
        raise InvalidTask(message, errors=[FieldError("name", "invalid", message)])
    is_taken_over = schedule.is_declared and schedule.taken_over_at is None
    if is_taken_over:
        schedule.taken_over_at, schedule.taken_over_by = database_now(), by.name[:LONGEST_NAME]
    _apply(schedule, {name: change[name] for name in changed})
    _record(by, "edit", schedule, {"fields": changed} | ({"taken_over": True} if is_taken_over else {}))
    return schedule


@transaction.atomic
def give_back(schedule_id: UUID, *, version: int | None = None, by: Author = UNKNOWN) -> Schedule:
    """Let code own a schedule again that somebody took over: it is as code declares it.

    Raises:
        NotFound: no such schedule.
        IllegalTransition: no code declares it.
        VersionMismatch: it has another version by now.
    """
    schedule = _locked(schedule_id, version)
    if schedule.declared is None:
        raise IllegalTransition("give back", status="", detail="no code declares this schedule")
    if schedule.taken_over_at is not None:
        schedule.taken_over_at, schedule.taken_over_by = None, ""
        _apply(schedule, definition_of(schedule.declared))
        _record(by, "give_back", schedule, {})
    return schedule


@transaction.atomic
def remove(schedule_id: UUID, *, version: int | None = None, by: Author = UNKNOWN) -> None:
    """Remove a schedule; its tasks stay.

    Raises:
        NotFound: no such schedule.
        IllegalTransition: code declares it, and would bring it back.
        VersionMismatch: it has another version by now.
    """
    schedule = _locked(schedule_id, version)
    if schedule.is_declared:
        detail = "code declares this schedule and would bring it back; pause it, or remove it from the code"
        raise IllegalTransition("remove", status="", detail=detail)
    _record(by, "remove", schedule, {"actor": schedule.actor})
    schedule.delete()


@transaction.atomic
def pause(schedule_id: UUID, *, by: Author = UNKNOWN) -> Schedule:
    """Stop firing; tasks that are there go on. Pausing a paused schedule changes nothing.

    Raises:
        NotFound: no such schedule.
    """
    schedule = _locked(schedule_id)
    if schedule.paused_at is None:
        schedule.paused_at, schedule.paused_by = database_now(), by.name[:LONGEST_NAME]
        schedule.pause_reason = by.reason
        schedule.save(update_fields=["paused_at", "paused_by", "pause_reason"])
        _record(by, "pause", schedule, {})
    return schedule


@transaction.atomic
def resume(schedule_id: UUID, *, by: Author = UNKNOWN) -> Schedule:
    """Fire again from now on; what would have fired during the pause is not caught up.

    Raises:
        NotFound: no such schedule.
    """
    schedule = _locked(schedule_id)
    if schedule.paused_at is not None:
        now = database_now()
        schedule.paused_at, schedule.paused_by, schedule.pause_reason = None, "", ""
        schedule.failures_since = now
        _count_from(schedule, now)
        schedule.save()
        _record(by, "resume", schedule, {})
    return schedule


@transaction.atomic
def run(schedule_id: UUID, *, by: Author = UNKNOWN, admit: Admit | None = None) -> Task:
    """Submit one task of a schedule now, whether it is paused or its last task still runs.

    Raises:
        NotFound: no such schedule.
        InvalidTask, UnknownActor: its actor does not take its payload any more.
    """
    schedule = _locked(schedule_id)
    now = database_now()
    row = fire.row_of(schedule, now)
    if admit is not None:
        admit(1)
    fire.insert([row])
    schedule.last_fire_at, schedule.last_task_id = now, row["id"]
    schedule.save(update_fields=["last_fire_at", "last_task_id"])
    _record(by, "run", schedule, {"task": str(row["id"])})
    return Task.objects.get(pk=row["id"])


@transaction.atomic
def backfill(
    schedule_id: UUID, *, start: datetime, end: datetime, by: Author = UNKNOWN, admit: Admit | None = None
) -> int:
    """Let the leader make the tasks of past fires that have none, a few at a time; return how many fires there are.

    Parameters:
        start, end: of the range, both included.

    Raises:
        NotFound: no such schedule.
        InvalidTask: the range is empty, in the future, or has more than ``MOST_BACKFILLED`` fires.
        IllegalTransition: another range is being filled.
    """
    schedule = _locked(schedule_id)
    if schedule.backfill_from is not None:
        detail = f"a range is being filled, up to {schedule.backfill_until:%Y-%m-%d %H:%M:%S} UTC; wait for its end"
        raise IllegalTransition("backfill", status="", detail=detail)
    _refuse(
        [FieldError(name, *found) for name, at in (("starts_at", start), ("ends_at", end)) if (found := moment(at))]
    )
    fires = schedule.timetable.between(start, end, most=MOST_BACKFILLED + 1)
    _refuse([*_faults_of_range(start, end, len(fires))])
    if admit is not None:
        admit(len(fires))
    schedule.backfill_from, schedule.backfill_until = fires[0], fires[-1]
    schedule.save(update_fields=["backfill_from", "backfill_until"])
    noted = {"from": fires[0].isoformat(), "until": fires[-1].isoformat(), "fires": len(fires)}
    _record(by, "backfill", schedule, noted)
    return len(fires)


def _faults_of_range(start: datetime, end: datetime, fires: int) -> Iterator[FieldError]:
    if start > end:
        yield FieldError("ends_at", "invalid", f"expected a time from {start.isoformat()} on, got {end.isoformat()}")
    elif end > database_now():
        yield FieldError("ends_at", "out_of_range", f"expected a time in the past, got {end.isoformat()}")
    elif not fires:
        yield FieldError(
            "starts_at", "invalid", "expected a range in which the schedule fires; GET preview lists fires"
        )
    elif fires > MOST_BACKFILLED:
        yield FieldError(
            "ends_at", "out_of_range", f"expected a range of at most {MOST_BACKFILLED:,} fires; fill it in parts"
        )


def check(schedule: Schedule) -> None:
    """Refuse a schedule that cannot fire.

    Raises:
        InvalidTask: with one error per field.
        UnknownActor: no such actor.
    """
    _refuse([*faults({"name": schedule.name, **schedule.definition}), *_contradictions(schedule)])
    fire.row_of(schedule, database_now())


def _contradictions(schedule: Schedule) -> Iterator[FieldError]:
    if bool(schedule.cron) == (schedule.every_seconds is not None):
        yield FieldError("cron", "exclusive", "expected either cron or every_seconds")
    bounds = schedule.starts_at, schedule.ends_at
    if all(bounds) and not any(map(moment, bounds)) and schedule.starts_at > schedule.ends_at:  # type: ignore[operator]
        yield FieldError("ends_at", "invalid", f"expected a time after starts_at, {schedule.starts_at.isoformat()}")  # type: ignore[union-attr]


def _refuse(errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidTask(describe(errors), errors=errors)


def definition_of(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Read back what ``as_declared`` wrote."""
    times = {name: declared.get(name) for name in ("starts_at", "ends_at")}
    return {**declared, **{name: datetime.fromisoformat(text) if text else None for name, text in times.items()}}


def as_declared(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a definition with the defaults, and write it so that it can be kept as JSON and compared."""
    whole = Schedule(name="", **definition).definition
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in whole.items()}


def _apply(schedule: Schedule, change: Mapping[str, Any]) -> None:
    is_timing = any(name in TIMING and getattr(schedule, name) != value for name, value in change.items())
    for name, value in change.items():
        setattr(schedule, name, value)
    check(schedule)
    if is_timing:
        _count_from(schedule, database_now())
    schedule.version += 1
    schedule.problem = ""
    try:
        with transaction.atomic():
            schedule.save()
    except IntegrityError as error:
        message = f"expected a name of its own, but there is a schedule {schedule.name!r:.110}"
        raise InvalidTask(message, errors=[FieldError("name", "taken", message)]) from error


def _count_from(schedule: Schedule, now: datetime) -> None:
    table = schedule.timetable
    schedule.fired_until, schedule.fired_offset_seconds = now, table.offset_seconds(now)
    schedule.next_fire_at, schedule.buffered_fire_at = table.after(now), None


def _locked(schedule_id: UUID, version: int | None = None) -> Schedule:
    schedule = Schedule.objects.select_for_update().filter(pk=schedule_id).first()
    if schedule is None:
        raise NotFound(f"there is no schedule {schedule_id}")
    if version is not None and schedule.version != version:
        raise VersionMismatch(version, current=schedule.version, status="", kind="schedule")
    return schedule


def _record(by: Author, verb: str, schedule: Schedule, detail: Mapping[str, Any]) -> None:
    record(by, verb, ObjectKind.SCHEDULE, str(schedule.pk), name=schedule.name, detail=detail)


# --- What code declares ------------------------------------------------------------------------------------------

#: Why a schedule is paused that code declared once.
RETIRED = "no code declares it any more"
_DEPLOY = Author(reason="declared in code")


def declare(declarations: Mapping[str, Mapping[str, Any]], *, by: Author = _DEPLOY) -> dict[str, str]:
    """Bring the schedules that code declares up to date, and pause those that it no longer declares.

    What somebody took over stays as it is, and so do pauses. Return the declarations that are not valid, with the
    reason.

    Parameters:
        declarations: definitions by name.
    """
    problems = {}
    for name, definition in declarations.items():
        try:
            # One that is not valid must hold up no other, whatever was written in the code.
            _refuse([*faults({"name": name, **definition})])
            _declare(name, as_declared(definition), by)
        except InvalidTask as error:
            problems[name] = fire.reason_of(error)
    for schedule in Schedule.objects.filter(declared__isnull=False).exclude(name__in=declarations):
        _retire(schedule.pk, by)
    return problems


@transaction.atomic
def _declare(name: str, declared: dict[str, Any], by: Author) -> None:
    schedule = Schedule.objects.select_for_update().filter(name=name).first()
    if schedule is None:
        add(name, definition_of(declared), declared=declared, by=by)
        return
    is_retired = schedule.declared is None and schedule.pause_reason == RETIRED and not schedule.paused_by
    if schedule.declared == declared:
        return
    if schedule.declared is None and not is_retired:
        # People made it under the same name: theirs goes on, and they can give it to the code.
        schedule.taken_over_at = database_now()
    schedule.declared = declared
    if schedule.taken_over_at is not None:
        schedule.save(update_fields=["declared", "taken_over_at"])
        return
    _apply(schedule, definition_of(declared))
    _record(by, "edit", schedule, {"fields": ["declared"]})
    if is_retired:
        resume(schedule.pk, by=by)


@transaction.atomic
def _retire(schedule_id: UUID, by: Author) -> None:
    schedule = _locked(schedule_id)
    schedule.declared = None
    if schedule.taken_over_at is None:
        pause(schedule_id, by=Author(by.name, by.door, RETIRED))
        schedule.refresh_from_db()
        schedule.declared = None
    schedule.taken_over_at, schedule.taken_over_by = None, ""
    schedule.save()
