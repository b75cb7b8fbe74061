"""JSON Schemas of schedules: the bodies that requests bring, and the answers."""

from collections.abc import Mapping

from tasks.api.bodies import REASON, SUBMISSION
from tasks.api.json_schema import (
    ANY_OBJECT,
    BOOLEAN,
    ID,
    INTEGER,
    NUMBER,
    TEXT,
    TIME,
    URL,
    Schema,
    about,
    an_object,
    array,
    body,
    change,
    enum,
    or_null,
    ref,
    text,
)
from tasks.api.schemas import page_of
from tasks.api.task_schemas import answered
from tasks.contract.schedules import NULLABLE
from tasks.lifecycle.schedules import MOST_BACKFILLED
from tasks.retry import MOST_SECONDS
from tasks.schedule_definition import LONGEST_JITTER_SECONDS, LONGEST_NAME, MOST_FAILURES, OPTIONS
from tasks.states import CatchUp, Overlap, Status
from tasks.submission import FIELDS
from tasks.timetable import LONGEST_CRON, LONGEST_ZONE, SHORTEST_INTERVAL_SECONDS

_WHY = about(or_null(REASON), "Why you do this, in one line; the journal keeps it.")
_SECONDS: Schema = {**NUMBER, "minimum": 0, "maximum": MOST_SECONDS}

_OWN: Mapping[str, Schema] = {
    "name": about(text(LONGEST_NAME), "A name of its own."),
    "actor": about(text(255), "The actor that its tasks run; GET actors lists them."),
    "payload": about(
        SUBMISSION["payload"],
        "Keyword arguments of the actor. In texts, `{scheduled_at}` and `{scheduled_date}` stand for the fire as the "
        "zone's clocks show it.",
    ),
    "cron": about(
        text(LONGEST_CRON),
        "Minute, hour, day of month, month, day of week; six fields begin with seconds; or @hourly, @daily, @weekly, "
        "@monthly, @yearly. Give this or every_seconds.",
    ),
    "every_seconds": about(
        {**NUMBER, "minimum": SHORTEST_INTERVAL_SECONDS, "maximum": MOST_SECONDS},
        "The interval, counted from starts_at, or else from when the schedule was added.",
    ),
    "timezone": about(text(LONGEST_ZONE), "A time zone of IANA such as Europe/Berlin, in which cron is read."),
    "starts_at": about(TIME, "No fire is before this."),
    "ends_at": about(TIME, "No fire is after this."),
    "jitter_seconds": about(
        {**NUMBER, "minimum": 0, "maximum": LONGEST_JITTER_SECONDS},
        "A task starts up to this long after its fire, so that many schedules do not start at once.",
    ),
    "overlap": about(enum(Overlap), "What happens at a fire while the last task has not ended."),
    "catch_up": about(enum(CatchUp), "What happens to fires that came while no scheduler ran."),
    "catch_up_window_seconds": about(_SECONDS, "Missed fires that are older are left out."),
    "pause_after_failures": about(
        {**INTEGER, "minimum": 1, "maximum": MOST_FAILURES},
        "The schedule pauses itself when so many of its tasks died in a row.",
    ),
}
_GIVEN: Mapping[str, Schema] = {**_OWN, **{name: SUBMISSION[name] for name in OPTIONS}}


def _nullable(schema: Schema) -> Schema:
    if "oneOf" in schema:
        return {**schema, "oneOf": [*schema["oneOf"], {"type": "null"}]}
    return or_null(schema)


def _one_of(*alternatives: Schema) -> Schema:
    return {"anyOf": list(alternatives)}


_TIMED = _one_of(
    {"required": ["cron"], "properties": {"cron": TEXT}},
    {"required": ["every_seconds"], "properties": {"every_seconds": NUMBER}},
)
_BOTH: Schema = {"required": ["cron", "every_seconds"], "properties": {"cron": TEXT, "every_seconds": NUMBER}}

#: Bodies of requests.
BODIES: Mapping[str, Schema] = {
    "NewSchedule": {
        **body(
            {
                **{name: schema if name in ("name", "actor") else _nullable(schema) for name, schema in _GIVEN.items()},
                "reason": _WHY,
            },
            required=["name", "actor"],
        ),
        **_TIMED,
        "not": _BOTH,
    },
    "ScheduleChange": change(
        {
            **{
                name: _nullable(schema) if name in (*NULLABLE, "cron", "every_seconds") else schema
                for name, schema in _GIVEN.items()
            },
            "taken_over": about({"const": False}, "Alone: give the schedule back to the code that declares it."),
            "reason": _WHY,
        },
        some_of=(*_GIVEN, "taken_over"),
    ),
    "Backfill": body(
        {
            "starts_at": about(TIME, "The first moment of the range."),
            "ends_at": about(TIME, f"The last one, in the past; a range has at most {MOST_BACKFILLED:,} fires."),
            "reason": _WHY,
        },
        required=["starts_at", "ends_at"],
    ),
}

_SCHEDULE: Mapping[str, Schema] = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "The address of this resource."),
    "name": about(TEXT, "A name of its own."),
    "actor": about(TEXT, "The actor that its tasks run."),
    "payload": about(or_null(ANY_OBJECT), "Keyword arguments of the actor. null: hidden."),
    "hidden": array(TEXT, description="The fields that are null because the caller may not see payloads."),
    **{
        name: about(or_null(answered(FIELDS[name].kind)), f"{FIELDS[name].help} null: as a task that does not say it.")
        for name in OPTIONS
    },
    "cron": about(or_null(TEXT), "The cron expression; null: it fires at intervals."),
    "every_seconds": about(or_null(NUMBER), "The interval; null: it fires by cron."),
    "timezone": about(TEXT, "The zone in which cron is read."),
    "description": about(TEXT, "When it fires, in words."),
    "starts_at": about(or_null(TIME), "No fire is before this."),
    "ends_at": about(or_null(TIME), "No fire is after this."),
    "jitter_seconds": about(NUMBER, "A task starts up to this long after its fire."),
    "overlap": about(enum(Overlap), "What happens at a fire while the last task has not ended."),
    "catch_up": about(enum(CatchUp), "What happens to fires that came while no scheduler ran."),
    "catch_up_window_seconds": about(NUMBER, "Missed fires that are older are left out."),
    "pause_after_failures": about(or_null(INTEGER), "It pauses itself when so many of its tasks died in a row."),
    "next_fire_at": about(or_null(TIME), "The next fire; null: it is paused, or has ended."),
    "buffered_fire_at": about(or_null(TIME), "A fire that waits until the last task has ended."),
    "last_fire_at": about(or_null(TIME), "The last fire that became a task."),
    "last_task_id": about(or_null(ID), "The task of that fire; it may be removed."),
    "skipped": about(INTEGER, "Fires that were left out because the last task had not ended."),
    "missed": about(INTEGER, "Fires within the window that were left out because no scheduler ran."),
    "problem": about(or_null(TEXT), "Why its last fire has made no task yet; it is tried again."),
    "backfill": about(
        or_null(
            an_object(
                {"next_fire_at": about(TIME, "The next fire to make."), "last_fire_at": about(TIME, "The last one.")}
            )
        ),
        "The range that is being filled.",
    ),
    "paused_at": about(or_null(TIME), "When it was paused; null: it is not paused."),
    "paused_by": about(or_null(TEXT), "Who paused it; null: it paused itself, or nobody said."),
    "pause_reason": about(or_null(TEXT), "Why it is paused."),
    "declared": about(BOOLEAN, "Whether code declares it."),
    "taken_over": about(BOOLEAN, "Whether somebody changed what code declares; code then leaves it as it is."),
    "taken_over_at": about(or_null(TIME), "When it was taken over."),
    "taken_over_by": about(or_null(TEXT), "Who took it over."),
    "version": about(INTEGER, "Raised by edits; the ETag."),
    "created_at": about(TIME, "When it was added."),
}
_RESULT: Mapping[str, Schema] = {
    "id": about(ID, "The task."),
    "url": about(URL, "Its address."),
    "status": about(enum(Status), "Its status."),
    "scheduled_at": about(or_null(TIME), "The fire that made it."),
    "started_at": about(or_null(TIME), "When its last execution began."),
    "finished_at": about(or_null(TIME), "When it ended."),
}
_FIRE: Mapping[str, Schema] = {
    "at": about(TIME, "The fire, in UTC."),
    "local": about(TIME, "The same moment as the clocks of the schedule's zone show it."),
}

#: All of them by name.
SCHEMAS: Mapping[str, Schema] = {
    **BODIES,
    "Schedule": an_object(_SCHEDULE),
    "SchedulePage": page_of("Schedule"),
    "ScheduleDetail": an_object(
        {
            **_SCHEDULE,
            "last_results": array(
                an_object(_RESULT), description="Its last tasks that you may see, the newest fire first."
            ),
        }
    ),
    "StartedBackfill": an_object(
        {
            "fires": about(INTEGER, "How many fires the range has."),
            "schedule": about(ref("Schedule"), "The schedule as it is now."),
        }
    ),
    "Preview": an_object({"results": array(an_object(_FIRE), description="In order.")}),
}
