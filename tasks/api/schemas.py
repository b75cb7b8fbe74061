"""The shapes of what the API takes and answers, as JSON Schema (the ``components`` of its OpenAPI description)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.contract.actors import DEFAULTS
from tasks.contract.idempotency_key import LONGEST as LONGEST_KEY
from tasks.contract.submissions import MOST_IN_BULK, NOT_SUPPORTED
from tasks.contract.tasks import REMOVED
from tasks.errors import STATUS_OF_CODE
from tasks.priority import BANDS, HIGHEST, LOWEST
from tasks.states import AttemptOutcome, DeathReason, Resolution, Status, WorkerStatus
from tasks.submission import (
    EDITABLE,
    FIELDS,
    JsonObject,
    Kind,
    Moment,
    Priority,
    Seconds,
    Tags,
    TaskField,
    Text,
    WholeNumber,
)

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Point at a shape."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """Allow null too."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def about(schema: Schema, description: str) -> Schema:
    """Say what something is, times with their unit."""
    return {**schema, "description": description}


def array(items: Schema, **more: Any) -> Schema:
    """Describe an array."""
    return {"type": "array", "items": items, **more}


def _object(properties: Mapping[str, Any], *, optional: Sequence[str] = ()) -> Schema:
    """All properties there are, all of them given unless optional."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


def _body(properties: Mapping[str, Any], *, required: Sequence[str] = ()) -> Schema:
    schema = _object(properties, optional=[name for name in properties if name not in required])
    return schema if required else {key: value for key, value in schema.items() if key != "required"}


def _page(items: str) -> Schema:
    link = or_null({"type": "string", "format": "uri"})
    return _object(
        {
            "results": array(ref(items), description="At most `limit` of them."),
            "next": about(link, "The page after this one; null: this is the last."),
            "previous": about(link, "The page before this one; null: this is the first."),
        }
    )


def enum(values: Any) -> Schema:
    """Describe a choice of words."""
    return {"type": "string", "enum": [str(value) for value in values]}


TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
ID: Schema = {"type": "string", "format": "uuid"}
URL: Schema = {"type": "string", "format": "uri"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANYTHING: Schema = {}
ANY_OBJECT: Schema = {"type": "object"}
PRIORITY: Schema = {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}
BAND = enum(band.name for band in BANDS)
KEY: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}

_BAND_IN_ANY_CASE = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in band.name) for band in BANDS)


def _taken(kind: Kind) -> Schema:
    """Describe what a submission may give."""
    match kind:
        case Text(longest):
            return {**TEXT, "minLength": 1, "maxLength": longest}
        case Priority():
            return {"oneOf": [PRIORITY, {**TEXT, "pattern": rf"^\s*({_BAND_IN_ANY_CASE})\s*$"}]}
        case Seconds(takes_zero, highest):
            return {**NUMBER, "minimum" if takes_zero else "exclusiveMinimum": 0, "maximum": highest}
        case WholeNumber(highest):
            return {**INTEGER, "maximum": highest}
        case Tags(most, longest):
            return array({**TEXT, "minLength": 1, "maxLength": longest}, maxItems=most)
    return _answered(kind)


def _answered(kind: Kind) -> Schema:
    """Describe what a task has."""
    match kind:
        case Text():
            return TEXT
        case JsonObject():
            return ANY_OBJECT
        case Moment():
            return TIME
        case Priority():
            return PRIORITY
        case Seconds():
            return NUMBER
        case WholeNumber():
            return INTEGER
        case Tags():
            return array(TEXT)


def _given(one: TaskField) -> Schema:
    """Describe a field of a task that its submission may give."""
    if not one.if_null:
        return about(_answered(one.kind), one.help)
    return about(or_null(_answered(one.kind)), f"{one.help} null: {one.if_null}.")


_HINTS = {"actor": "GET actors lists them.", "payload": "GET actors has its schema."}


def _help(one: TaskField) -> str:
    default = "Default: the actor's." if one.actor_option else ""
    return " ".join(filter(None, [one.help, default, _HINTS.get(one.name)]))


#: The fields of a submission; an edit has those that are editable.
SUBMISSION: Mapping[str, Schema] = {name: about(_taken(one.kind), _help(one)) for name, one in FIELDS.items()}


def _nullable(schema: Schema) -> Schema:
    """Allow null, which means "not given"."""
    if "oneOf" in schema:
        return {**schema, "oneOf": [*schema["oneOf"], {"type": "null"}]}
    return or_null(schema)


def _refused(why: str) -> Schema:
    """Describe a field that is known and not to be used: left out, null or empty."""
    return {"type": ["array", "null"], "items": ANYTHING, "maxItems": 0, "description": f"{why[0].upper()}{why[1:]}."}


def _submission(**more: Schema) -> Schema:
    properties = {
        name: schema if name in ("actor", "payload") else _nullable(schema) for name, schema in SUBMISSION.items()
    }
    refused = {name: _refused(why) for name, why in NOT_SUPPORTED.items()}
    return _body({**properties, **refused, **more}, required=["actor"])


_ONCE = "The same submission under the same key makes its tasks once within a day"
_LATER = "For a later release: nothing yet."

_ERROR = _object(
    {
        "type": about(TEXT, "The exception's class, or the limit that was reached; may be empty."),
        "message": about(TEXT, "What it said, shortened."),
    }
)
_TASK = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "Where it can be read again."),
    "status": about(enum(Status), "SUCCEEDED, DEAD and CANCELLED are final."),
    "band": about(BAND, "The third that its priority is in."),
    **{name: _given(one) for name, one in FIELDS.items() if one.is_column},
    "expected_start_seconds": about(
        or_null(NUMBER),
        "In how many seconds it starts, judged by what goes before it; null unless it waits, there is a worker for it, "
        "and it is read by itself.",
    ),
    "attempt": about(INTEGER, "Executions so far."),
    "failures": about(INTEGER, "Executions of this life that failed."),
    "crashes": about(INTEGER, "Workers that died under it in this life."),
    "result": about(ANYTHING, "What the actor returned; null until it has SUCCEEDED."),
    "progress": about(ANYTHING, "What the actor said of it while it ran."),
    "error": about(or_null(_ERROR), "Of the last failure."),
    "created_at": about(TIME, "When it was submitted."),
    "queued_at": about(or_null(TIME), "When it was handed to the broker last."),
    "started_at": about(or_null(TIME), "When its last execution began."),
    "finished_at": about(or_null(TIME), "When it became final."),
    "cancel_requested_at": about(or_null(TIME), "When somebody asked it to stop while it ran."),
    "trace_id": about(TEXT, "32 hexadecimal digits, on every log line about it."),
    "idempotency_key": about(or_null(TEXT), "The key it was submitted under."),
    # Capabilities of a later release; the shape stays.
    "depends_on": array(ID, description=_LATER),
    "waiting_for": array(ID, description=_LATER),
    "ref": about(or_null(TEXT), _LATER),
    "unique": about(or_null(ANY_OBJECT), _LATER),
    "concurrency_key": about(or_null(TEXT), _LATER),
    "fairness_key": about(or_null(TEXT), _LATER),
    "batch": about(or_null(TEXT), _LATER),
}
_ATTEMPT = {
    "number": about(INTEGER, "1 is the first."),
    "outcome": about(enum(AttemptOutcome), "How it ended."),
    "worker_id": about(ID, "Where it ran."),
    "started_at": about(or_null(TIME), "null: it was claimed and never began."),
    "finished_at": about(TIME, "When it ended."),
    "error": about(
        or_null(_object({**_ERROR["properties"], "traceback": about(TEXT, "The last lines of it.")})),
        "null: nothing went wrong.",
    ),
    "note": about(or_null(TEXT), "What else happened, as a result that could not be kept; null: nothing."),
}
_EVENT = {
    "verb": about(TEXT, "What was done: cancel, retry, redrive, edit, delete, rescue, …"),
    "by": about(or_null(TEXT), "Whose doing; null: a repair."),
    "at": about(TIME, "When."),
    "detail": about(ANY_OBJECT, "What the verb has to say."),
}
_ACTOR = {
    "name": about(TEXT, "For `actor` of a submission."),
    "description": about(TEXT, "Its docstring."),
    "queue": about(TEXT, "Where its tasks go unless they say otherwise."),
    "payload_schema": about(ANY_OBJECT, "JSON Schema of the payload."),
    "defaults": about(
        _object({name: _TASK[name] for name in DEFAULTS}),
        "What a task gets that does not say otherwise.",
    ),
}
_DEAD_LETTER = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "Where it can be read again."),
    "task_id": about(ID, "The task that died."),
    "task_url": about(URL, "404 once the task was removed."),
    "actor": about(TEXT, "What ran it."),
    "queue": about(TEXT, "Where it was."),
    "attempt": about(INTEGER, "Executions up to this death."),
    "reason": about(enum(DeathReason), "Why it died."),
    "error": about(or_null(_ERROR), "Of the last failure."),
    "fingerprint": about(TEXT, "The same for deaths of the same cause."),
    "died_at": about(TIME, "When."),
    "resolution": about(enum(Resolution.names), "What was done about it; OPEN: nothing yet."),
    "resolved_by": about(or_null(TEXT), "Who did it."),
    "resolved_at": about(or_null(TIME), "When."),
}
_WORKER = {
    "id": about(ID, "Fresh for each boot."),
    "host": about(TEXT, "The machine it runs on."),
    "pid": about(INTEGER, "Its process there."),
    "status": about(enum(WorkerStatus), "Its last word; one that went silent is judged by lease_expires_at."),
    "queues": array(TEXT, description="Each a queue, or one band of it (default.high)."),
    "actors": array(TEXT, description="What it can run."),
    "threads": about(INTEGER, "How many tasks it runs at a time."),
    "started_at": about(TIME, "When it booted."),
    "heartbeat_at": about(TIME, "When it was heard last."),
    "lease_expires_at": about(TIME, "From then on its tasks are given to others."),
    "stopped_at": about(or_null(TIME), "When it left, or was found gone."),
}
_QUEUE = {
    "name": about(TEXT, "As actors declare it."),
    "paused_at": about(or_null(TIME), "Since when nothing of it is handed over; null: it is not paused."),
    "waiting": about(INTEGER, "Tasks not handed to the broker, due or not."),
    "waiting_is_capped": about(BOOLEAN, "There may be more than were counted."),
    "queued": about(INTEGER, "Tasks handed to the broker."),
    "running": about(INTEGER, "Tasks that workers have."),
    "oldest_due_seconds": about(or_null(NUMBER), "How long the oldest due task has waited."),
    "threads": about(INTEGER, "Of live workers that serve it."),
}
_PERCENTILES = _object(
    {f"p{percent}": about(or_null(NUMBER), f"{percent} % were not longer.") for percent in (50, 95, 99)}
)
_RECENT = {
    "minutes": about(INTEGER, "How far back."),
    "attempts": {"type": "object", "additionalProperties": INTEGER, "description": "Number by outcome."},
    "attempts_per_second": about(NUMBER, "On average."),
    "is_capped": about(BOOLEAN, "There were more; the percentiles are of the latest."),
    "wait_seconds": about(_PERCENTILES, "From being due to the start."),
    "run_seconds": about(_PERCENTILES, "Of the actor."),
}
#: What ``errors`` says of a field in one word.
FIELD_CODES = (
    *("bad_text", "duplicate", "exclusive", "invalid", "no_zone", "not_allowed", "not_json", "not_supported"),
    *("out_of_range", "required", "too_deep", "too_large", "too_long", "unknown_actor", "unknown_field"),
    *("unknown_host", "unknown_parameter", "unknown_queue"),
)
_FIELD_ERROR = {
    "field": about(TEXT, "A dotted path (`tasks.3.payload.to`), a query parameter or a header."),
    "code": about(enum(FIELD_CODES), "What is wrong, for programs."),
    "message": about(TEXT, "What was expected, what came and what to do, for people."),
}
_PROBLEM = {
    "type": about({**TEXT, "pattern": "^urn:callboard:error:"}, "Ends in the code."),
    "title": about(TEXT, "What the code means."),
    "status": about(INTEGER, "The HTTP status."),
    "detail": about(TEXT, "What is the matter this time."),
    "code": about(enum(STATUS_OF_CODE), "What went wrong, for programs."),
    "trace_id": about(TEXT, "To find it in the logs; also in the header X-Trace-Id."),
    "errors": array(_object(_FIELD_ERROR), description="What is wrong with which field; the first hundred."),
}

SCHEMAS: Mapping[str, Schema] = {
    "Submission": _submission(idempotency_key=about(or_null(KEY), f"{_ONCE}; or the header Idempotency-Key.")),
    "BulkSubmission": _body(
        {
            "tasks": array(_submission(), minItems=1, maxItems=MOST_IN_BULK, description="Accepted all or none."),
            "idempotency_key": about(or_null(KEY), f"{_ONCE}, of all of them; or the header Idempotency-Key."),
        },
        required=["tasks"],
    ),
    "Edit": _body({name: SUBMISSION[name] for name in EDITABLE}),
    "Task": _object(_TASK),
    "RemovedTask": about(
        _object(
            {
                "id": _TASK["id"],
                "url": about(URL, "404 from now on."),
                "status": about({"const": REMOVED}, "It was pruned or deleted."),
            }
        ),
        "All that is known of a task that was submitted under this key and removed since.",
    ),
    "SubmittedTask": {"oneOf": [ref("Task"), ref("RemovedTask")]},
    "SubmittedTasks": _object({"tasks": array(ref("SubmittedTask"), description="In the order of the submission.")}),
    "TaskPage": _page("Task"),
    "Result": _object({name: _TASK[name] for name in ("id", "status", "result", "error", "finished_at")}),
    "Attempt": _object(_ATTEMPT),
    "AttemptPage": _page("Attempt"),
    "Event": _object(_EVENT),
    "EventPage": _page("Event"),
    "Actor": _object(_ACTOR),
    "Actors": _object({"results": array(ref("Actor"), description="By name.")}),
    "DeadLetter": _object(_DEAD_LETTER),
    "DeadLetterPage": _page("DeadLetter"),
    "RedrivenLetter": _object({**_DEAD_LETTER, "task_status": about(enum(Status), "Of its task, now.")}),
    "Worker": _object(_WORKER),
    "WorkerPage": _page("Worker"),
    "WorkerAtWork": _object({**_WORKER, "running": array(ID, description="Tasks that it runs.")}),
    "Queue": _object(_QUEUE),
    "Queues": _object({"results": array(ref("Queue"), description="By name.")}),
    "QueueChange": _body({"paused": about(BOOLEAN, "Whether nothing of it is handed over.")}, required=["paused"]),
    "Board": _object(
        {
            "tasks": about(_object({str(status): INTEGER for status in Status}), "Number by status."),
            "capped": array(enum(Status), description="Statuses of which there may be more than were counted."),
            "recent": about(_object(_RECENT), "What has happened lately."),
            "queues": array(ref("Queue"), description="By name."),
            "workers": array(ref("Worker"), description="Those that are present."),
        }
    ),
    "Health": about(
        {
            "type": "object",
            "properties": {
                "status": about(enum(["ok"]), "Anything else is a problem with status 503."),
                "components": {
                    "type": "object",
                    "additionalProperties": TEXT,
                    "description": "ok, down, missing or none, by part.",
                },
            },
            "required": ["status"],
            "additionalProperties": False,
        },
        "How this process is.",
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `code` is the contract; messages may change.",
        "properties": _PROBLEM,
        "required": list(_PROBLEM),
    },
}
