"""The shapes of what the API takes and answers, as JSON Schema (the ``components`` of its OpenAPI description)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.api import fields, serializers
from tasks.api.idempotency import LONGEST as LONGEST_KEY
from tasks.priority import BANDS, HIGHEST, LOWEST
from tasks.states import AttemptOutcome, DeathReason, Resolution, Status, WorkerStatus

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Point at a shape."""
    return {"$ref": f"#/components/schemas/{name}"}


def or_null(schema: Schema) -> Schema:
    """Allow null too."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


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
    return _object({"results": array(ref(items)), "next": link, "previous": link})


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
TAGS = array({"type": "string", "minLength": 1, "maxLength": 100}, maxItems=fields.MOST_TAGS)
KEY: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}

_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": fields.LONGEST_SECONDS}
_BAND_IN_ANY_CASE = "|".join("".join(f"[{letter}{letter.upper()}]" for letter in band.name) for band in BANDS)
_GIVEN_PRIORITY: Schema = {
    "oneOf": [PRIORITY, {"type": "string", "pattern": f"^({_BAND_IN_ANY_CASE})$"}],
    "description": f"{LOWEST} to {HIGHEST}, {HIGHEST} runs first; or high (9), medium (5), low (2), in any case.",
}

#: What can be said of a task when it is submitted; which of them can be changed later, ``serializers`` knows.
SUBMISSION: Mapping[str, Schema] = {
    "actor": {"type": "string", "minLength": 1, "maxLength": 255, "description": "GET actors lists them."},
    "payload": {**ANY_OBJECT, "description": "The actor's keyword arguments; GET actors has its schema."},
    "priority": _GIVEN_PRIORITY,
    "queue": {"type": "string", "minLength": 1, "maxLength": 100},
    "run_at": {**TIME, "description": "Not started before; the past means now. Not with delay_seconds."},
    "delay_seconds": {**_SECONDS, "description": "Not started before so long from now."},
    "max_retries": {"type": "integer", "minimum": 0, "maximum": serializers.MOST_RETRIES},
    "min_backoff_seconds": {**_SECONDS, "description": "Before the first retry; it doubles with each."},
    "max_backoff_seconds": {**_SECONDS, "description": "Where that doubling ends."},
    "retry_for_seconds": {**_SECONDS, "description": "Give up this long after the first failure."},
    "time_limit_seconds": {**_SECONDS, "description": "One execution is interrupted after that; 0 means never."},
    "max_age_seconds": {
        **{name: value for name, value in _SECONDS.items() if name != "minimum"},
        "exclusiveMinimum": 0,
        "description": "Dies if it has not started this long after submission.",
    },
    "estimated_seconds": {**_SECONDS, "description": "How long it is expected to run."},
    "tags": TAGS,
}


def _nullable(schema: Schema) -> Schema:
    """Allow null, which means "not given"."""
    if "oneOf" in schema:
        return {**schema, "oneOf": [*schema["oneOf"], {"type": "null"}]}
    return or_null(schema)


_NOT_YET: Schema = {"type": ["array", "null"], "maxItems": 0, "description": "Not supported yet."}


def _submission(**more: Schema) -> Schema:
    properties = {
        name: schema if name in ("actor", "payload") else _nullable(schema) for name, schema in SUBMISSION.items()
    }
    later = dict.fromkeys(serializers.NOT_SUPPORTED, _NOT_YET)
    return _body({**properties, **later, **more}, required=["actor"])


#: What a task inherits from its actor, in seconds.
_LIMITS = (
    "min_backoff_seconds",
    "max_backoff_seconds",
    "retry_for_seconds",
    "time_limit_seconds",
    "max_age_seconds",
)
_ERROR = _object({"type": TEXT, "message": TEXT})
_TASK = {
    "id": ID,
    "url": URL,
    "actor": TEXT,
    "status": enum(Status),
    "payload": ANY_OBJECT,
    "priority": PRIORITY,
    "band": BAND,
    "queue": TEXT,
    "run_at": TIME,
    "max_retries": {**or_null(INTEGER), "description": "null: retries for ever."},
    "min_backoff_seconds": NUMBER,
    "max_backoff_seconds": NUMBER,
    "retry_for_seconds": or_null(NUMBER),
    "time_limit_seconds": NUMBER,
    "max_age_seconds": or_null(NUMBER),
    "estimated_seconds": or_null(NUMBER),
    "expected_start_seconds": {
        **or_null(NUMBER),
        "description": "In how many seconds it starts, judged by what goes before it; null unless it waits, there is a "
        "worker for it, and it is read by itself.",
    },
    "tags": array(TEXT),
    "attempt": {**INTEGER, "description": "Executions so far."},
    "failures": {**INTEGER, "description": "Executions of this life that failed."},
    "crashes": {**INTEGER, "description": "Workers that died under it in this life."},
    "result": {**ANYTHING, "description": "What the actor returned."},
    "progress": ANYTHING,
    "error": {**or_null(_ERROR), "description": "Of the last failure."},
    "created_at": TIME,
    "queued_at": or_null(TIME),
    "started_at": or_null(TIME),
    "finished_at": or_null(TIME),
    "cancel_requested_at": or_null(TIME),
    "trace_id": TEXT,
    "idempotency_key": or_null(TEXT),
    # Capabilities of a later release; the shape stays.
    "depends_on": array(ID),
    "waiting_for": array(ID),
    "ref": or_null(TEXT),
    "unique": or_null(ANY_OBJECT),
    "concurrency_key": or_null(TEXT),
    "fairness_key": or_null(TEXT),
    "batch": or_null(TEXT),
}
_DEAD_LETTER = {
    "id": ID,
    "url": URL,
    "task_id": ID,
    "task_url": {**URL, "description": "404 once the task was removed."},
    "actor": TEXT,
    "queue": TEXT,
    "attempt": INTEGER,
    "reason": enum(DeathReason),
    "error": or_null(_ERROR),
    "fingerprint": {**TEXT, "description": "The same for deaths of the same cause."},
    "died_at": TIME,
    "resolution": enum(Resolution.names),
    "resolved_by": or_null(TEXT),
    "resolved_at": or_null(TIME),
}
_WORKER = {
    "id": ID,
    "host": TEXT,
    "pid": INTEGER,
    "status": enum(WorkerStatus),
    "queues": array(TEXT, description="A queue, or one band of it (default.high)."),
    "actors": array(TEXT),
    "threads": INTEGER,
    "started_at": TIME,
    "heartbeat_at": TIME,
    "lease_expires_at": TIME,
    "stopped_at": or_null(TIME),
}
_PERCENTILES = _object({name: or_null(NUMBER) for name in ("p50", "p95", "p99")})

SCHEMAS: Mapping[str, Schema] = {
    "Submission": _submission(idempotency_key=or_null(KEY)),
    "BulkSubmission": _body(
        {
            "tasks": array(_submission(), minItems=1, maxItems=serializers.MOST_IN_BULK),
            "idempotency_key": or_null(KEY),
        },
        required=["tasks"],
    ),
    "Edit": _body({name: SUBMISSION[name] for name in serializers.EDITABLE_FIELDS}),
    "Task": _object(_TASK),
    "RemovedTask": _object({"id": ID, "url": URL, "status": {"const": serializers.REMOVED}})
    | {"description": "All that is known of a task that was submitted under this key and removed since."},
    "SubmittedTask": {"oneOf": [ref("Task"), ref("RemovedTask")]},
    "SubmittedTasks": _object({"tasks": array(ref("SubmittedTask"))}),
    "TaskPage": _page("Task"),
    "Result": _object({name: _TASK[name] for name in ("id", "status", "result", "error", "finished_at")}),
    "Attempt": _object(
        {
            "number": INTEGER,
            "outcome": enum(AttemptOutcome),
            "worker_id": ID,
            "started_at": or_null(TIME),
            "finished_at": TIME,
            "error": or_null(_object({"type": TEXT, "message": TEXT, "traceback": TEXT})),
        }
    ),
    "AttemptPage": _page("Attempt"),
    "Event": _object(
        {"verb": TEXT, "by": {**or_null(TEXT), "description": "null: a repair."}, "at": TIME, "detail": ANY_OBJECT}
    ),
    "EventPage": _page("Event"),
    "Actor": _object(
        {
            "name": TEXT,
            "description": TEXT,
            "queue": TEXT,
            "payload_schema": {**ANY_OBJECT, "description": "JSON Schema."},
            "defaults": _object({"priority": PRIORITY, **{name: _TASK[name] for name in ("max_retries", *_LIMITS)}}),
        }
    ),
    "Actors": _object({"results": array(ref("Actor"))}),
    "DeadLetter": _object(_DEAD_LETTER),
    "DeadLetterPage": _page("DeadLetter"),
    "RedrivenLetter": _object({**_DEAD_LETTER, "task_status": enum(Status)}),
    "Worker": _object(_WORKER),
    "WorkerPage": _page("Worker"),
    "WorkerAtWork": _object({**_WORKER, "running": array(ID, description="Tasks that it runs.")}),
    "Queue": _object(
        {
            "name": TEXT,
            "paused_at": or_null(TIME),
            "waiting": {**INTEGER, "description": "Not handed to the broker, due or not."},
            "waiting_is_capped": {**BOOLEAN, "description": "There may be more than were counted."},
            "queued": INTEGER,
            "running": INTEGER,
            "oldest_due_seconds": or_null(NUMBER),
            "threads": {**INTEGER, "description": "Of live workers that serve it."},
        }
    ),
    "Queues": _object({"results": array(ref("Queue"))}),
    "QueueChange": _body({"paused": BOOLEAN}, required=["paused"]),
    "Board": _object(
        {
            "tasks": _object({str(status): INTEGER for status in Status}),
            "capped": array(enum(Status), description="Statuses of which there may be more than were counted."),
            "recent": _object(
                {
                    "minutes": INTEGER,
                    "attempts": {"type": "object", "additionalProperties": INTEGER, "description": "By outcome."},
                    "attempts_per_second": NUMBER,
                    "is_capped": BOOLEAN,
                    "wait_seconds": {**_PERCENTILES, "description": "From being due to the start."},
                    "run_seconds": {**_PERCENTILES, "description": "Of the actor."},
                }
            ),
            "queues": array(ref("Queue")),
            "workers": array(ref("Worker")),
        }
    ),
    "Health": _object({"status": enum(["ok"]), "components": {"type": "object", "additionalProperties": TEXT}})
    | {"required": ["status"]},
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `code` is the contract; messages may change.",
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": INTEGER,
            "detail": TEXT,
            "code": TEXT,
            "trace_id": TEXT,
            "errors": array(_object({"field": TEXT, "code": TEXT, "message": TEXT})),
        },
        "required": ["type", "title", "status", "detail", "code", "trace_id", "errors"],
    },
}
