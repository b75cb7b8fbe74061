"""The operations of the REST API: one row for each method of each address, with its parameters, body and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import get_script_prefix, resolve, reverse

from tasks.api import idempotency_key, preconditions
from tasks.api.bodies import BAND, PRIORITY
from tasks.api.event_schemas import EVENT_ID
from tasks.api.json_schema import FINGERPRINT, ID, TEXT, TIME, Schema, array, enum, text
from tasks.contract.access import Action
from tasks.contract.dead_letter_export import Format
from tasks.contract.failures import DEFAULT_LIMIT as DEFAULT_FAILURES
from tasks.contract.failures import MOST_LISTED as MOST_FAILURES
from tasks.contract.filters import LONGEST_PAYLOAD_VALUE
from tasks.contract.pages import CURSOR_PATTERN, DEFAULT_LIMIT, MOST_PER_PAGE
from tasks.contract.schedules import DEFAULT_PREVIEWED, MOST_PREVIEWED
from tasks.contract.stats import DEFAULT_MINUTES, LONGEST_MINUTES
from tasks.queries.stats import Window
from tasks.states import (
    LISTED_OBSTACLES,
    BatchStatus,
    DeathReason,
    Door,
    ItemState,
    ObjectKind,
    OperationState,
    OperationVerb,
    Resolution,
    Status,
    WorkerStatus,
)

BASE = "/api/v1"

# --- Parameters --------------------------------------------------------------------------------------------------


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_IN_ANY_CASE = "Upper or lower case."
_PAGING = [
    _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE, "default": DEFAULT_LIMIT},
        "The most entries on a page.",
    ),
    _query("cursor", {**TEXT, "pattern": CURSOR_PATTERN}, "The cursor of a `next` or `previous` address, unchanged."),
]
_WAIT = _query(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": 60},
    "How many seconds the answer may take; `MAX_WAIT_SECONDS` of the installation is the most.",
)
_EVENTS = [
    _PAGING[0],
    _query("cursor", EVENT_ID, "The `id` of the last event that you have."),
    _WAIT,
    {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": EVENT_ID,
        "description": "As `cursor`; browsers send it when they come back to a stream.",
    },
]
_PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "schema": TEXT,
    "description": "`wait=10` is as the parameter (RFC 7240); what is not understood is ignored.",
}
_PAYLOAD_VALUE = {
    **text(LONGEST_PAYLOAD_VALUE),
    "pattern": "^[^.:\\u0000\\ufffd]+([.][^.:\\u0000\\ufffd]+)*:[^\\u0000\\ufffd]+$",
}
_TASK_FILTERS = [
    _query("status", array(enum(Status)), f"{_IN_ANY_CASE} May be repeated."),
    _query("actor", text(255), "The exact name."),
    _query("queue", text(100), "The exact name."),
    _query("band", BAND, _IN_ANY_CASE),
    _query("priority", PRIORITY, "A number; use `band` for names."),
    _query("tag", text(100), "A tag that the task has."),
    _query("error_type", {"type": "string", "pattern": r"^[\w.]{1,255}$"}, "The type of its last error: KeyError, …"),
    _query(
        "payload",
        array(_PAYLOAD_VALUE),
        "A value in the payload behind its path, as in `user.id:42`. May be repeated; all must be there. "
        "Only payloads that you see are searched. Secrets cannot be searched for.",
    ),
    _query("schedule", ID, "The id of the schedule that made the task."),
    _query("batch", ID, "The id of the batch that counts the task."),
    _query("waiting_for", enum(LISTED_OBSTACLES), f"Why it waits, as in its `waiting_for`. {_IN_ANY_CASE}"),
    _query("created_after", TIME, "Submitted after this time."),
    _query("created_before", TIME, "Submitted before this time."),
    _query("run_after", TIME, "With a run_at after this time."),
    _query("run_before", TIME, "With a run_at before this time."),
    _query(
        "search",
        text(255),
        "An id or its first digits, a trace id, a tag, an actor's name, or the beginning of a declared actor's name.",
    ),
]
_BATCH_FILTERS = [_query("status", array(enum(BatchStatus)), f"{_IN_ANY_CASE} May be repeated.")]
_DEAD_LETTER_FILTERS = [
    _query("reason", enum(DeathReason.names), _IN_ANY_CASE),
    _query("resolution", enum(Resolution.names), _IN_ANY_CASE),
    _query("actor", text(255), "The exact name."),
    _query("queue", text(100), "The exact name."),
    _query("failure", FINGERPRINT, "The fingerprint of the failure that they belong to."),
    _query("task", ID, "The id of the task that died."),
]
_FORMAT = _query("format", {**enum(Format.__members__), "default": Format.JSON.name}, _IN_ANY_CASE)
_BOOLEAN_TEXT = enum(("true", "false"))
_FAILURE_FILTERS = [
    _query("actor", text(255), "The exact name."),
    _query("error_type", text(255), "The exact name."),
    _query("assignee", text(150), "The exact name of who looks after it."),
    _query("open", _BOOLEAN_TEXT, "Whether it has open dead letters."),
    _query("snoozed", _BOOLEAN_TEXT, "Whether it is snoozed now."),
    _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MOST_FAILURES, "default": DEFAULT_FAILURES},
        "The most entries of the list, which has no pages.",
    ),
]
_OPERATION_FILTERS = [
    _query("state", array(enum(OperationState)), f"{_IN_ANY_CASE} May be repeated."),
    _query("verb", enum(OperationVerb.names), _IN_ANY_CASE),
    _query("by", text(150), "The exact name of who began it."),
    _query("failure", FINGERPRINT, "The failure whose dead letters it is for."),
]
_ITEM_FILTERS = [_query("state", array(enum(ItemState.names)), f"{_IN_ANY_CASE} May be repeated.")]
_WORKER_FILTERS = [_query("status", array(enum(WorkerStatus)), f"{_IN_ANY_CASE} May be repeated.")]
_JOURNAL_FILTERS = [
    _query("verb", text(20), "The exact name: cancel, pause, issue, …"),
    _query("by", text(150), "The exact name of who acted."),
    _query("door", array(enum(Door)), f"{_IN_ANY_CASE} May be repeated."),
    _query("kind", array(enum(ObjectKind)), f"{_IN_ANY_CASE} May be repeated."),
    _query("object", text(100), "An id, or the name of a queue. With a task's id, also acts on its dead letters."),
    _query("operation", ID, "The act on many that the entries belong to."),
    _query("after", TIME, "Done after this time."),
    _query("before", TIME, "Done before this time."),
]
_SCHEDULE_FILTERS = [_query("actor", text(255), "The exact name.")]
_PREVIEW = [
    _query("after", TIME, "The moment after which fires are listed; now, if it is left out."),
    _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MOST_PREVIEWED, "default": DEFAULT_PREVIEWED},
        "How many.",
    ),
]
_MINUTES = [
    _query(
        "minutes",
        {"type": "integer", "minimum": 1, "maximum": LONGEST_MINUTES, "default": DEFAULT_MINUTES},
        "The period over which throughput and latencies are measured, up to now.",
    )
]
_SERIES = [
    _query(
        "window",
        {**TEXT, "enum": [one.label for one in Window], "default": Window.HOUR.label},
        "How far back: in steps of a minute, half an hour, or three hours.",
    ),
    _query("actor", text(255), "Only this actor; the exact name."),
    _query("queue", text(100), "Only this queue; the exact name."),
]
_IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {**TEXT, "pattern": idempotency_key.PATTERN},
    "description": "Submissions with the same key and content create their tasks once within a day. The body may "
    "have the key instead.",
}
_IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "schema": {**TEXT, "pattern": preconditions.PATTERN},
    "description": "The ETag that was read. A task that has changed since is left as it is (412). The version alone, "
    "the number at the beginning of the ETag, fails after edits and retries only, however far the task has come.",
}
_IF_VERSION: Schema = {**_IF_MATCH, "description": "The ETag that was read; edits raise it (412)."}

# --- Operations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One method of one address: its parameters, body and answers."""

    method: str
    path: str
    name: str
    #: Status → name of a schema; "" means an empty body.
    answers: Mapping[int, str]
    body: str = ""
    is_body_optional: bool = False
    parameters: Sequence[Schema] = ()
    #: Statuses of errors that are described beyond the usual ones; every error is a Problem.
    errors: Sequence[int] = ()
    is_open: bool = False
    is_text: bool = False
    #: Whether it can answer with server-sent events instead.
    is_stream: bool = False
    #: Whether it can answer with CSV instead.
    is_csv: bool = False
    #: Whether it can make tasks run, which the submission limit counts.
    makes_run: bool = False


TASK_PATH = f"{BASE}/tasks/{{task_id}}"
_BATCH_PATH = f"{BASE}/batches/{{batch_id}}"
_LETTER_PATH = f"{BASE}/dlq/{{letter_id}}"
_FAILURE_PATH = f"{BASE}/failures/{{fingerprint}}"
_OPERATION_PATH = f"{BASE}/operations/{{operation_id}}"
_WORKER_PATH = f"{BASE}/workers/{{worker_id}}"
_SCHEDULE_PATH = f"{BASE}/schedules/{{schedule_id}}"
_QUEUE_PATH = f"{BASE}/queues/{{name}}"
#: Of a verb that may depend on the task's state.
_GUARDED: Mapping[str, Any] = {"parameters": [_IF_MATCH], "errors": [409, 412]}
_GUARDED_SCHEDULE: Mapping[str, Any] = {"parameters": [_IF_VERSION], "errors": [409, 412]}
#: Of a verb that takes nothing but a reason.
_REASON: Mapping[str, Any] = {"body": "Reason", "is_body_optional": True}
#: Of a verb on a task that may also act on its whole workflow.
_EXTENT: Mapping[str, Any] = {"body": "Extent", "is_body_optional": True}

OPERATIONS: Sequence[Operation] = (
    Operation("get", f"{BASE}/tasks", "listTasks", {200: "TaskPage"}, parameters=[*_TASK_FILTERS, *_PAGING]),
    Operation(
        "post", f"{BASE}/tasks", "submitTask", {201: "Task", 200: "SubmittedTask"},
        body="Submission", parameters=[_IDEMPOTENCY_KEY, _WAIT, _PREFER], errors=[404, 409, 413, 422], makes_run=True,
    ),
    Operation(
        "post", f"{BASE}/tasks/bulk", "submitTasks", {201: "SubmittedTasks", 200: "SubmittedTasks"},
        body="BulkSubmission", parameters=[_IDEMPOTENCY_KEY], errors=[404, 409, 413, 422], makes_run=True,
    ),
    Operation("get", TASK_PATH, "readTask", {200: "Task"}),
    Operation("put", TASK_PATH, "replaceTask", {200: "Task"}, body="Replacement", **_GUARDED, makes_run=True),
    Operation("patch", TASK_PATH, "editTask", {200: "Task"}, body="Edit", **_GUARDED, makes_run=True),
    Operation("delete", TASK_PATH, "deleteTask", {204: ""}, **_REASON, **_GUARDED),
    Operation("post", f"{TASK_PATH}/cancel", "cancelTask", {200: "Task"}, **_EXTENT, **_GUARDED),
    Operation("post", f"{TASK_PATH}/retry", "retryTask", {200: "Task"}, **_EXTENT, **_GUARDED, makes_run=True),
    Operation(
        "post", f"{TASK_PATH}/signals/{{signal}}", "signalTask", {200: "Task"},
        body="Signal", is_body_optional=True, errors=[409],
    ),
    Operation("get", f"{TASK_PATH}/attempts", "listAttempts", {200: "AttemptPage"}, parameters=_PAGING),
    Operation("get", f"{TASK_PATH}/result", "readResult", {200: "Result"}),
    Operation(
        "get", f"{TASK_PATH}/events", "listEvents", {200: "EventPage", 204: ""}, parameters=_EVENTS, is_stream=True,
    ),
    Operation("get", f"{TASK_PATH}/workflow", "listWorkflow", {200: "WorkflowPage"}, parameters=_PAGING),
    Operation(
        "get", f"{BASE}/batches", "listBatches", {200: "BatchPage"}, parameters=[*_BATCH_FILTERS, *_PAGING],
    ),
    Operation(
        "post", f"{BASE}/batches", "createBatch", {201: "CreatedBatch", 200: "CreatedBatch"},
        body="NewBatch", parameters=[_IDEMPOTENCY_KEY], errors=[404, 409, 413, 422], makes_run=True,
    ),
    Operation("get", _BATCH_PATH, "readBatch", {200: "Batch"}),
    Operation(
        "get", f"{_BATCH_PATH}/tasks", "listBatchTasks", {200: "TaskPage"}, parameters=[*_TASK_FILTERS, *_PAGING],
    ),
    Operation("post", f"{_BATCH_PATH}/close", "closeBatch", {200: "Batch"}, **_REASON),
    Operation("post", f"{_BATCH_PATH}/cancel", "cancelBatch", {200: "Batch"}, **_REASON, errors=[409]),
    Operation(
        "get", f"{BASE}/dlq", "listDeadLetters", {200: "DeadLetterPage"}, parameters=[*_DEAD_LETTER_FILTERS, *_PAGING],
    ),
    Operation(
        "get", f"{BASE}/dlq/export", "exportDeadLetters", {200: "DeadLetterExport"},
        parameters=[*_DEAD_LETTER_FILTERS, _FORMAT], is_csv=True,
    ),
    Operation("get", _LETTER_PATH, "readDeadLetter", {200: "DeadLetter"}),
    Operation(
        "post", f"{_LETTER_PATH}/redrive", "redriveDeadLetter", {200: "RedrivenDeadLetter"},
        body="Redrive", is_body_optional=True, errors=[409, 413], makes_run=True,
    ),
    Operation("post", f"{_LETTER_PATH}/discard", "discardDeadLetter", {200: "DeadLetter"}, **_REASON, errors=[409]),
    Operation("post", f"{_LETTER_PATH}/restore", "restoreDeadLetter", {200: "DeadLetter"}, **_REASON, errors=[409]),
    Operation("get", f"{BASE}/failures", "listFailures", {200: "Failures"}, parameters=_FAILURE_FILTERS),
    Operation("get", _FAILURE_PATH, "readFailure", {200: "FailureDetail"}),
    Operation("patch", _FAILURE_PATH, "changeFailure", {200: "Failure"}, body="FailureChange"),
    Operation(
        "get", f"{BASE}/operations", "listOperations", {200: "OperationPage"},
        parameters=[*_OPERATION_FILTERS, *_PAGING],
    ),
    Operation("post", f"{BASE}/operations", "beginOperation", {201: "Operation"}, body="NewOperation", errors=[413]),
    Operation("get", _OPERATION_PATH, "readOperation", {200: "Operation"}),
    Operation("patch", _OPERATION_PATH, "changeOperation", {200: "Operation"}, body="Pace", errors=[409]),
    Operation(
        "get", f"{_OPERATION_PATH}/items", "listOperationItems", {200: "OperationItemPage"},
        parameters=[*_ITEM_FILTERS, *_PAGING],
    ),
    Operation("post", f"{_OPERATION_PATH}/pause", "pauseOperation", {200: "Operation"}, **_REASON, errors=[409]),
    Operation("post", f"{_OPERATION_PATH}/resume", "resumeOperation", {200: "Operation"}, **_REASON, errors=[409]),
    Operation("post", f"{_OPERATION_PATH}/cancel", "cancelOperation", {200: "Operation"}, **_REASON, errors=[409]),
    Operation("post", f"{_OPERATION_PATH}/undo", "undoOperation", {201: "Operation"}, **_REASON, errors=[409]),
    Operation("get", f"{BASE}/actors", "listActors", {200: "Actors"}),
    Operation(
        "get", f"{BASE}/workers", "listWorkers", {200: "WorkerPage"},
        parameters=[*_WORKER_FILTERS, *_PAGING],
    ),
    Operation("get", _WORKER_PATH, "readWorker", {200: "WorkerDetail"}),
    Operation("delete", _WORKER_PATH, "drainWorker", {202: "Worker", 200: "Worker"}, **_REASON),
    Operation("get", f"{BASE}/queues", "listQueues", {200: "Queues"}),
    Operation("get", _QUEUE_PATH, "readQueue", {200: "Queue"}),
    Operation("patch", _QUEUE_PATH, "changeQueue", {200: "Queue"}, body="QueueChange"),
    Operation("post", f"{_QUEUE_PATH}/pause", "pauseQueue", {200: "Queue"}, **_REASON),
    Operation("post", f"{_QUEUE_PATH}/resume", "resumeQueue", {200: "Queue"}, **_REASON),
    Operation(
        "get", f"{BASE}/schedules", "listSchedules", {200: "SchedulePage"}, parameters=[*_SCHEDULE_FILTERS, *_PAGING],
    ),
    Operation("post", f"{BASE}/schedules", "addSchedule", {201: "Schedule"}, body="NewSchedule", errors=[413]),
    Operation("get", _SCHEDULE_PATH, "readSchedule", {200: "ScheduleDetail"}),
    Operation("put", _SCHEDULE_PATH, "replaceSchedule", {200: "Schedule"}, body="NewSchedule", **_GUARDED_SCHEDULE),
    Operation("patch", _SCHEDULE_PATH, "editSchedule", {200: "Schedule"}, body="ScheduleChange", **_GUARDED_SCHEDULE),
    Operation("delete", _SCHEDULE_PATH, "removeSchedule", {204: ""}, **_REASON, **_GUARDED_SCHEDULE),
    Operation("post", f"{_SCHEDULE_PATH}/pause", "pauseSchedule", {200: "Schedule"}, **_REASON),
    Operation("post", f"{_SCHEDULE_PATH}/resume", "resumeSchedule", {200: "Schedule"}, **_REASON),
    Operation("post", f"{_SCHEDULE_PATH}/run", "runSchedule", {201: "Task"}, **_REASON, makes_run=True),
    Operation(
        "post", f"{_SCHEDULE_PATH}/backfill", "backfillSchedule", {200: "StartedBackfill"},
        body="Backfill", errors=[409], makes_run=True,
    ),
    Operation("get", f"{_SCHEDULE_PATH}/preview", "previewSchedule", {200: "Preview"}, parameters=_PREVIEW),
    Operation(
        "get", f"{BASE}/journal", "listJournal", {200: "JournalPage"},
        parameters=[*_JOURNAL_FILTERS, *_PAGING],
    ),
    Operation("get", f"{BASE}/stats", "readStats", {200: "Stats"}, parameters=_MINUTES),
    Operation("get", f"{BASE}/stats/series", "readStatsSeries", {200: "StatsSeries"}, parameters=_SERIES),
    Operation("get", "/healthz", "isAlive", {200: "Health"}, errors=[405], is_open=True),
    Operation("get", "/readyz", "isReady", {200: "Health"}, errors=[405, 503], is_open=True),
    Operation("get", "/health", "readHealth", {200: "Health"}, errors=[405, 503], is_open=True),
    Operation("get", "/metrics", "readMetrics", {200: "text"}, is_text=True),
)  # fmt: skip


def action_of(operation: Operation) -> Action | None:
    """Tell what an operation does; None for those that are open to everybody."""
    actions: Mapping[str, Action] = getattr(view_of(operation), "actions", {})
    return actions.get(operation.method.upper())


def view_of(operation: Operation) -> Any:
    """Give the view that answers an operation: a class, or a function."""
    # Where the project has put the API.
    root = reverse("api-schema").removeprefix(get_script_prefix().removesuffix("/")).removesuffix("/api/schema")
    function: Any = resolve(root + operation.path).func
    return getattr(function, "view_class", function)
