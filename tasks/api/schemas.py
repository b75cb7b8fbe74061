"""JSON Schemas of answers, and with the ``bodies`` of requests the ``components`` of the OpenAPI description."""

from collections.abc import Mapping

from tasks.api.bodies import BAND, BODIES, PRIORITY
from tasks.api.json_schema import (
    ANY_OBJECT,
    ANYTHING,
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
    enum,
    or_null,
    ref,
)
from tasks.contract.actors import DEFAULTS
from tasks.contract.dead_letter_export import COLUMNS, MOST_EXPORTED
from tasks.contract.tasks import REMOVED
from tasks.errors import STATUS_OF_CODE
from tasks.lifecycle.submit_unique import CREATED, EXISTING, REPLACED
from tasks.priority import BANDS
from tasks.queries.stats import Window
from tasks.states import (
    AttemptOutcome,
    DeathReason,
    Door,
    EdgeState,
    ObjectKind,
    Obstacle,
    OnFailure,
    Resolution,
    Status,
    WorkerStatus,
)
from tasks.submission import (
    FIELDS,
    BatchId,
    Dependencies,
    JsonObject,
    Kind,
    Moment,
    Priority,
    Reference,
    Seconds,
    Tags,
    TaskField,
    Text,
    UniqueRule,
    WholeNumber,
)
from tasks.unique import ON_CONFLICT, UNTIL

TRACE_ID: Schema = {**TEXT, "pattern": "^[0-9a-f]{32}$"}


_EDGE = an_object(
    {
        "id": about(or_null(ID), "The task that this one depends on; it may have been removed since. null: a batch."),
        "batch": about(or_null(ID), "The batch that it depends on; null: a task."),
        "on_failure": about(enum(OnFailure), "What its failure does to this task: death, cancellation, FAILED."),
        "state": about(
            enum(EdgeState),
            "NEW and OPEN: this task waits for it. MET: it need not wait any longer. FAILED: it was cancelled with it.",
        ),
    }
)


def answered(kind: Kind) -> Schema:
    """Describe a value as an answer gives it."""
    match kind:
        case Text() | Reference():
            return TEXT
        case JsonObject() | UniqueRule():
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
        case Dependencies():
            return array(_EDGE)
        case BatchId():
            return ID


def _given(one: TaskField) -> Schema:
    """Describe a field of a task as an answer gives it."""
    if not one.if_null:
        return about(answered(one.kind), one.help)
    return about(or_null(answered(one.kind)), f"{one.help} null: {one.if_null}.")


_LATER = "Reserved; empty in this release."

ERROR = an_object(
    {
        "type": about(TEXT, "The exception's class, or the limit that was exceeded; may be empty."),
        "message": about(or_null(TEXT), "The exception's message, shortened; null: hidden."),
    }
)
HIDDEN = array(
    TEXT,
    description="The fields that are null because the caller may not see other people's payloads. Those who may see "
    'them get secrets as "********"; owners see all.',
)


def page_of(items: str, **more: Schema) -> Schema:
    """Describe a page of a list."""
    link = or_null({"type": "string", "format": "uri"})
    return an_object(
        {
            "results": array(ref(items), description="At most `limit` entries."),
            "next": about(link, "The next page; null on the last one."),
            "previous": about(link, "The previous page; null on the first one."),
            **more,
        }
    )


SEARCHED = about(
    an_object(
        {
            "is_complete": about(BOOLEAN, "Whether every entry that belongs on the page was found."),
            "until": about(or_null(TIME), "When the last entry that was looked at was made; null on a complete page."),
        }
    ),
    "How far the page looked. A page looks at a bounded part of the list; if few entries match, it may be short, or "
    "empty, and `next` (`previous`, going back) looks further.",
)


_UNIQUE = {
    "key": about(or_null(TEXT), "null: hidden."),
    "until": about(enum(UNTIL), "When the task gives the key up."),
    "ttl_seconds": about(or_null(NUMBER), "How long after its submission it gives the key up at the latest."),
    "on_conflict": about(enum(ON_CONFLICT), "What a submission does that finds the key taken by another."),
    "max_wait_seconds": about(or_null(NUMBER), "How far replacements may postpone it; null: 86400 with replace."),
    "outcome": about(
        or_null(enum((CREATED, EXISTING, REPLACED))), "What this submission did; null where the task is only read."
    ),
}

_TASK = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "The address of this resource."),
    "status": about(enum(Status), "SUCCEEDED, DEAD and CANCELLED are final."),
    "band": about(BAND, "The band of the priority."),
    **{name: _given(one) for name, one in FIELDS.items() if one.is_column},
    "payload": about(or_null(ANY_OBJECT), f"{FIELDS['payload'].help} null: hidden."),
    "expected_start_seconds": about(
        or_null(NUMBER),
        "The expected time until the task starts, judged by the tasks ahead of it. Given only if the task waits, is "
        "read by itself, and a live worker can run it; otherwise null.",
    ),
    "attempt": about(INTEGER, "Claims by workers so far; a claim that was put back unstarted counts too."),
    "failures": about(
        INTEGER, "Failed executions of its current life; a re-drive, or a retry after cancellation, starts a new life."
    ),
    "crashes": about(INTEGER, "Workers that died while they ran the task, in its current life."),
    "result": about(ANYTHING, "The actor's return value; null until the task has SUCCEEDED."),
    "progress": about(
        or_null(
            an_object(
                {
                    "done": about(NUMBER, "How much is done, in any unit."),
                    "total": about(or_null(NUMBER), "How much there is to do; null: unknown."),
                    "note": about(TEXT, "What the actor says about it."),
                }
            )
        ),
        "What the actor last showed of its progress; null: nothing.",
    ),
    "checkpointed_at": about(or_null(TIME), "When the task last kept a checkpoint, or the cursor of a loop."),
    "error": about(or_null(ERROR), "The last failure."),
    "hidden": HIDDEN,
    "created_at": about(TIME, "When the task was submitted."),
    "queued_at": about(or_null(TIME), "When the task was last handed to the broker."),
    "started_at": about(or_null(TIME), "When the last execution began; while RUNNING, the time of the claim."),
    "finished_at": about(or_null(TIME), "When the task became final."),
    "cancel_requested_at": about(or_null(TIME), "When the running task was asked to stop."),
    "trace_id": about(TRACE_ID, "Every log line about the task has it."),
    "schedule_id": about(or_null(ID), "The schedule that made the task; null: none did."),
    "scheduled_at": about(or_null(TIME), "The fire of the schedule that made it."),
    "idempotency_key": about(or_null(TEXT), "The idempotency key of its submission."),
    "waiting_for": array(
        ref("WaitingFor"),
        description="Why the waiting task does not run yet. Complete only if the task is read by itself: in lists it "
        "says what the row alone tells.",
    ),
    "depends_on": array(
        _EDGE,
        description="The tasks and batches that it depends on: the oldest 100. GET tasks/{id}/workflow has all.",
    ),
    "cause_id": about(or_null(ID), "The task or batch whose failure cancelled this one; null: none did."),
    "cause": about(
        or_null(TEXT), "The same as a sentence, which names the task and its actor, or the batch; null: none did."
    ),
    # Reserved for later releases, so that the format stays the same.
    "ref": about(or_null(TEXT), _LATER),
    "unique": about(or_null(an_object(_UNIQUE)), "The unique key of its submission; null: none."),
    "concurrency_key": about(or_null(TEXT), _LATER),
    "fairness_key": about(or_null(TEXT), _LATER),
    "batch": about(or_null(ID), "The batch that counts the task; null: none does."),
}
_NODE = {
    **{name: _TASK[name] for name in ("id", "url", "actor", "queue", "status", "depends_on")},
    "pending_parents": about(INTEGER, "How many of the tasks and batches that it depends on it still waits for."),
    **{name: _TASK[name] for name in ("cause_id", "cause", "created_at", "run_at", "started_at", "finished_at")},
}
_WORKFLOW = {
    "tasks": about(INTEGER, "How many tasks were found, on all pages."),
    "statuses": about(
        an_object({str(status): INTEGER for status in Status}, optional=[str(status) for status in Status]),
        "How many of them have each status; without those that none has.",
    ),
    "batches": array(
        ref("Batch"), description="The batches that they wait for: the first 100. Their tasks are not of the workflow."
    ),
    "is_complete": about(BOOLEAN, "Whether these are all. The search stops at 20,000 tasks."),
}
_ATTEMPT = {
    "number": about(INTEGER, "The claim's number, from 1. Claims that were put back leave gaps."),
    "outcome": about(or_null(enum(AttemptOutcome)), "How the attempt ended; null: it is running."),
    "worker_id": about(ID, "The worker that ran it."),
    "started_at": about(
        or_null(TIME),
        "When it began; while it is running, the time of the claim. null: it was claimed and never began.",
    ),
    "finished_at": about(or_null(TIME), "When the attempt ended; null: it is running."),
    "error": about(
        or_null(
            an_object(
                {
                    **ERROR["properties"],
                    "traceback": about(or_null(TEXT), "The last lines of the traceback; null: hidden."),
                }
            )
        ),
        "null: no error.",
    ),
    "log": about(
        or_null(array(an_object({"at": about(TIME, "When it was logged."), "line": about(TEXT, "The line.")}))),
        "The newest lines that the actor logged, oldest first; null: hidden. Those of a running attempt come "
        "about once a second.",
    ),
    "log_dropped": about(INTEGER, "How many older lines were dropped."),
    "note": about(or_null(TEXT), "A remark, for example that the result could not be stored; null: none."),
    "hidden": HIDDEN,
}
_ACT = {
    "verb": about(TEXT, "The verb: cancel, retry, redrive, edit, delete, rescue, …"),
    "by": about(or_null(TEXT), "Who did it; null: a repair, or code that did not say."),
    "door": about(or_null(enum(Door)), "By which way; null: not recorded by an earlier release."),
    "reason": about(or_null(TEXT), "Why; null: nobody said."),
    "at": about(TIME, "When it was done."),
    "detail": about(ANY_OBJECT, "Details; they depend on the verb."),
}
_ENTRY = {
    "id": about(INTEGER, "Grows with time."),
    **_ACT,
    "kind": about(enum(ObjectKind), "What it was done to."),
    "object": about(or_null(TEXT), "The object's id, or the name of the queue; null: the sum of an act on many."),
    "name": about(or_null(TEXT), "The host and process of a worker, or the name of a token."),
    "task_id": about(or_null(ID), "The task that it was done to, if only by its dead letter."),
    "actor": about(or_null(TEXT), "The task's actor."),
    "queue": about(or_null(TEXT), "The task's queue, or the queue itself."),
    "operation_id": about(or_null(ID), "The same for all entries of one act on many."),
    "count": about(or_null(INTEGER), "Of the sum of an act on many: how many objects it changed."),
}
_WAITING_FOR = {
    "kind": about(enum(Obstacle), "The kind of obstacle, for programs."),
    "message": about(TEXT, "The obstacle, for people."),
    "queue": about(TEXT, "The queue that is paused or not served."),
    "band": about(enum(band.name for band in BANDS), "The band that no live worker serves."),
    "actor": about(TEXT, "The actor that no live worker of its queue knows."),
    "by": about(or_null(TEXT), "Who paused the queue; null: unknown."),
    "since": about(TIME, "Since when the queue is paused."),
    "reason": about(or_null(TEXT), "Why the queue is paused; null: nobody said."),
    "run_at": about(TIME, "When the task is due."),
    "tasks": about(
        INTEGER, "How many tasks go first, or how many tasks and batches it depends on and still waits for."
    ),
    "parents": array(ID, description="Of the first of those: the tasks."),
    "batches": array(ID, description="Of the first of those: the batches."),
    "schedule_id": about(ID, "The schedule whose jitter it waits for."),
    "scheduled_at": about(TIME, "The fire of that schedule."),
    "signal": about(TEXT, "The signal that the task waits for."),
    "times_out_at": about(or_null(TIME), "When its wait for the signal ends; null: never."),
    "is_capped": about(BOOLEAN, "Whether counting them stopped at a bound."),
    "threads": about(INTEGER, "How many threads serve the task; all of them are busy."),
}
_ACTOR = {
    "name": about(TEXT, "The value for `actor` in a submission."),
    "description": about(TEXT, "The actor's docstring."),
    "queue": about(TEXT, "The default queue of its tasks."),
    "payload_schema": about(ANY_OBJECT, "The JSON Schema of the payload."),
    "defaults": about(
        an_object({name: _TASK[name] for name in DEFAULTS}),
        "The values of fields that a submission leaves out.",
    ),
    "bounds": about(
        ANY_OBJECT,
        "By field, what you may ask for: `maximum` of max_retries, `minimum` of min_backoff_seconds and "
        "max_backoff_seconds. Fields without an entry have the bounds of a submission only.",
    ),
}
_DEAD_LETTER = {
    "id": about(ID, "A UUIDv7: ids grow with time."),
    "url": about(URL, "The address of this resource."),
    "task_id": about(ID, "The task that died."),
    "task_url": about(URL, "The address of the task; 404 once the task is removed."),
    "actor": about(TEXT, "The task's actor."),
    "queue": about(TEXT, "The task's queue when it died."),
    "attempt": about(INTEGER, "Claims by workers up to this death; those put back unstarted count too."),
    "reason": about(enum(DeathReason), "Why the task died."),
    "error": about(or_null(ERROR), "The last failure."),
    "hidden": HIDDEN,
    "fingerprint": about(TEXT, "Deaths with the same cause have the same fingerprint."),
    "died_at": about(TIME, "When the task died."),
    "resolution": about(enum(Resolution.names), "How the dead letter was resolved; OPEN: not yet."),
    "resolved_by": about(or_null(TEXT), "Who resolved it."),
    "resolved_at": about(or_null(TIME), "When it was resolved."),
}
_EXPORTED = {
    **{name: _DEAD_LETTER[name] for name in COLUMNS if name in _DEAD_LETTER},
    "error_type": about(TEXT, "The exception's class."),
    "error_message": about(or_null(TEXT), "Its message, without secrets; null: it is hidden."),
    "payload": about(or_null(ANY_OBJECT), "The task's payload, without secrets; null: it is hidden, or removed."),
}
_WORKER = {
    "id": about(ID, "A new id for each start of the process."),
    "host": about(TEXT, "The host that it runs on."),
    "pid": about(INTEGER, "Its process id on that host."),
    "status": about(
        enum(WorkerStatus),
        "The last reported status; after lease_expires_at the worker counts as lost.",
    ),
    "queues": array(TEXT, description="Queues that it serves, or single bands of them (default.high)."),
    "actors": array(TEXT, description="Actors that it can run."),
    "threads": about(INTEGER, "How many tasks it can run at the same time."),
    "build": about(or_null(TEXT), "The build of your code that it runs; null: unknown."),
    "memory_bytes": about(or_null(INTEGER), "The memory that it held at its last heartbeat; null: unknown."),
    "started_at": about(TIME, "When it started."),
    "heartbeat_at": about(TIME, "Its last heartbeat."),
    "lease_expires_at": about(TIME, "Without a heartbeat until then, other workers get its tasks."),
    "stopped_at": about(or_null(TIME), "When it stopped, or was declared gone."),
}
_QUEUE = {
    "name": about(TEXT, "The name that actors declare."),
    "paused_at": about(or_null(TIME), "When the queue was paused; null: it is not paused."),
    "waiting": about(INTEGER, "Tasks that are not in the broker yet, due or not."),
    "waiting_is_capped": about(BOOLEAN, "Whether counting stopped at a bound, so that there may be more."),
    "queued": about(INTEGER, "Tasks in the broker."),
    "running": about(INTEGER, "Tasks that workers have claimed."),
    "oldest_due_seconds": about(or_null(NUMBER), "How long the oldest due task has been due; null: none is due."),
    "threads": about(INTEGER, "Threads of live workers that serve the queue."),
}
_PERCENTILES = an_object(
    {f"p{percent}": about(or_null(NUMBER), f"{percent} % took no longer; null: no data.") for percent in (50, 95, 99)}
)
_TALLY = {
    "submitted": about(INTEGER, "Tasks that were submitted, or brought back by a retry or re-drive."),
    "succeeded": about(INTEGER, "Tasks that succeeded."),
    "retried": about(INTEGER, "Attempts that failed and will be retried."),
    "dead": about(INTEGER, "Tasks that died."),
    "cancelled": about(INTEGER, "Tasks that were cancelled."),
    "failure_share": about(or_null(NUMBER), "The part that was retried or died; null: nothing ended."),
    "busy_seconds": about(NUMBER, "The sum of the actors' run times."),
    "wait_seconds": about(_PERCENTILES, "From the time a task was due to its start, estimated from a histogram."),
    "run_seconds": about(_PERCENTILES, "The actors' run times, estimated from a histogram."),
}
_RECENT = {
    "minutes": about(INTEGER, "The period that was measured, up to now."),
    "attempts": {"type": "object", "additionalProperties": INTEGER, "description": "Attempts that ended, by outcome."},
    "attempts_per_second": about(NUMBER, "The average over the measured part of the period."),
    "is_capped": about(BOOLEAN, "Whether only the latest part of the period was measured: too many attempts ended."),
    "wait_seconds": about(_PERCENTILES, "From the time a task was due to its start."),
    "run_seconds": about(_PERCENTILES, "The actor's run time."),
}
#: The codes in ``errors`` of a problem.
FIELD_CODES = (
    *("bad_text", "cycle", "duplicate", "exclusive", "invalid", "masked", "no_zone", "not_allowed", "not_json"),
    *("not_supported", "out_of_range", "required", "taken", "too_deep", "too_large", "too_long", "unknown_actor"),
    *("unknown_batch", "unknown_field", "unknown_host", "unknown_parameter", "unknown_queue", "unknown_ref"),
    "unknown_task",
)
_FIELD_ERROR = {
    "field": about(TEXT, "The dotted path of a field (`tasks.3.payload.to`), a query parameter or a header."),
    "code": about(enum(FIELD_CODES), "The kind of error, for programs."),
    "message": about(TEXT, "What was expected, what was received and what to do, for people."),
}
_PROBLEM = {
    "type": about({**TEXT, "pattern": "^urn:callboard:error:"}, "A URN that ends in the code."),
    "title": about(TEXT, "The meaning of the code."),
    "status": about(INTEGER, "The HTTP status."),
    "detail": about(TEXT, "The error in this request, for people."),
    "code": about(enum(STATUS_OF_CODE), "The kind of problem, for programs."),
    "trace_id": about(TRACE_ID, "The id of the request in the logs; also in the header X-Trace-Id."),
    "errors": array(an_object(_FIELD_ERROR), description="Errors of single fields; the first hundred."),
}

SCHEMAS: Mapping[str, Schema] = {
    **BODIES,
    "Task": an_object(_TASK),
    "RemovedTask": about(
        an_object(
            {
                "id": _TASK["id"],
                "url": about(URL, "The address of the task; it answers 404."),
                "status": about({"const": REMOVED}, "The task was pruned or deleted."),
            }
        ),
        "A task that was submitted under this key and has been removed since.",
    ),
    "SubmittedTask": {"oneOf": [ref("Task"), ref("RemovedTask")]},
    "SubmittedTasks": an_object({"tasks": array(ref("SubmittedTask"), description="In the order of the submission.")}),
    "WorkflowTask": an_object(_NODE),
    "WorkflowPage": page_of("WorkflowTask", **_WORKFLOW),
    "TaskPage": page_of("Task", searched=SEARCHED),
    "Result": an_object({name: _TASK[name] for name in ("id", "status", "result", "error", "hidden", "finished_at")}),
    "Attempt": an_object(_ATTEMPT),
    "AttemptPage": page_of("Attempt"),
    "JournalEntry": an_object(_ENTRY),
    "JournalPage": page_of("JournalEntry"),
    "WaitingFor": an_object(_WAITING_FOR, optional=[name for name in _WAITING_FOR if name not in {"kind", "message"}]),
    "Actor": an_object(_ACTOR),
    "Actors": an_object({"results": array(ref("Actor"), description="Sorted by name.")}),
    "DeadLetter": an_object(_DEAD_LETTER),
    "DeadLetterPage": page_of("DeadLetter", searched=SEARCHED),
    "DeadLetterExport": an_object(
        {
            "results": array(an_object(_EXPORTED), description=f"The newest {MOST_EXPORTED} at most."),
            "note": about(or_null(TEXT), "Says so if more match; null: these are all."),
        }
    ),
    "RedrivenDeadLetter": an_object(
        {**_DEAD_LETTER, "task_status": about(enum(Status), "The task's status after the re-drive.")}
    ),
    "Worker": an_object(_WORKER),
    "WorkerPage": page_of("Worker"),
    "WorkerDetail": an_object({**_WORKER, "running": array(ID, description="The tasks that it has claimed.")}),
    "Queue": an_object(_QUEUE),
    "Queues": an_object({"results": array(ref("Queue"), description="Sorted by name.")}),
    "Stats": an_object(
        {
            "tasks": about(an_object({str(status): INTEGER for status in Status}), "Tasks by status."),
            "capped": array(enum(Status), description="Statuses whose count stopped at a bound."),
            "recent": about(an_object(_RECENT), "Throughput and latencies of the last minutes."),
            "queues": array(ref("Queue"), description="Sorted by name."),
            "workers": array(ref("Worker"), description="Workers that are present, newest first."),
        }
    ),
    "StatsSeries": an_object(
        {
            "window": about({**TEXT, "enum": [one.label for one in Window]}, "How far back the points go."),
            "step_seconds": about(INTEGER, "The length of one point's period."),
            "points": array(
                an_object({"start": about(TIME, "The start of its period."), **_TALLY}),
                description="The oldest first, without gaps; the period of the last one is not over.",
            ),
            "total": about(an_object(_TALLY), "The sums over all points."),
        }
    ),
    "Health": about(
        {
            "type": "object",
            "properties": {
                "status": about(enum(["ok"]), "Always ok; a component that is down makes the answer a 503 problem."),
                "components": {
                    "type": "object",
                    "additionalProperties": TEXT,
                    "description": "The state of each component: ok, down, missing or none.",
                },
            },
            "required": ["status"],
            "additionalProperties": False,
        },
        "The health of this process.",
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `code` is the contract; messages may change.",
        "properties": _PROBLEM,
        "required": list(_PROBLEM),
    },
}
