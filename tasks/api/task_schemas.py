"""JSON Schemas of tasks, their attempts and workflows, and of the actors that they name: the answers."""

from collections.abc import Mapping

from tasks.api.bodies import BAND, PRIORITY
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
from tasks.api.schemas import ERROR, HIDDEN, SEARCHED, TRACE_ID, page_of
from tasks.contract.actors import DEFAULTS
from tasks.contract.tasks import REMOVED
from tasks.lifecycle.submit_unique import CREATED, EXISTING, REPLACED
from tasks.priority import BANDS
from tasks.states import AttemptOutcome, EdgeState, Obstacle, OnFailure, Status
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

SCHEMAS: Mapping[str, Schema] = {
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
    "WaitingFor": an_object(_WAITING_FOR, optional=[name for name in _WAITING_FOR if name not in {"kind", "message"}]),
    "Actor": an_object(_ACTOR),
    "Actors": an_object({"results": array(ref("Actor"), description="Sorted by name.")}),
}
