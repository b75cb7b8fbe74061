"""The OpenAPI 3.1 description of the REST API: a table of operations, beside the one of ``shapes``.

Written by hand because the views are; tests hold every answer of the API's other tests against it, and the tables of
readers and filters too. ``docs/openapi.yaml`` is this, written out by ``manage.py openapi``.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.urls import resolve

from tasks.api.pagination import DEFAULT_LIMIT, MOST_PER_PAGE
from tasks.api.shapes import BAND, ID, INTEGER, KEY, PRIORITY, SCHEMAS, TEXT, TIME, URL, Schema, array, enum, ref
from tasks.api.stats import DEFAULT_MINUTES, LONGEST_MINUTES
from tasks.states import DeathReason, Resolution, Status, WorkerStatus

VERSION = "1.0.0"
BASE = "/api/v1"

# --- Parameters --------------------------------------------------------------------------------------------------


def _query(name: str, schema: Schema, description: str = "") -> Schema:
    parameter: Schema = {"name": name, "in": "query", "schema": schema}
    return {**parameter, "description": description} if description else parameter


_CHOICE_IN_ANY_CASE = "In any case."
_PAGING = [
    _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE, "default": DEFAULT_LIMIT}),
    _query("cursor", TEXT, "From `next` or `previous`, unchanged."),
]
_TASK_FILTERS = [
    _query("status", array(enum(Status)), _CHOICE_IN_ANY_CASE + " May be repeated."),
    _query("actor", TEXT),
    _query("queue", TEXT),
    _query("band", BAND, _CHOICE_IN_ANY_CASE),
    _query("priority", PRIORITY),
    _query("tag", TEXT),
    *(_query(name, TIME) for name in ("created_after", "created_before", "run_after", "run_before")),
    _query("search", TEXT, "An id or its first digits, an actor's first letters, or a tag."),
]
_LETTER_FILTERS = [
    _query("reason", enum(DeathReason.names), _CHOICE_IN_ANY_CASE),
    _query("resolution", enum(Resolution.names), _CHOICE_IN_ANY_CASE),
    _query("actor", TEXT),
    _query("queue", TEXT),
    _query("task", ID),
]
_WORKER_FILTERS = [_query("status", array(enum(WorkerStatus)), _CHOICE_IN_ANY_CASE + " May be repeated.")]
_MINUTES = [
    _query("minutes", {"type": "integer", "minimum": 1, "maximum": LONGEST_MINUTES, "default": DEFAULT_MINUTES})
]
_IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": KEY,
    "description": "The same submission under the same key makes its tasks once within a day; or in the body.",
}
_IF_MATCH: Schema = {
    "name": "If-Match",
    "in": "header",
    "schema": TEXT,
    "description": "The ETag of the version that was read; a task of another version is left alone (412).",
}

# --- Operations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One method of one address: what it takes and what it answers."""

    method: str
    path: str
    name: str
    #: Status → name of a schema; "" is no body.
    answers: Mapping[int, str]
    body: str = ""
    parameters: Sequence[Schema] = ()
    #: Errors with a meaning of their own here; every other one is a Problem all the same.
    errors: Sequence[int] = ()
    is_for_staff: bool = False
    is_open: bool = False


_ONE = f"{BASE}/tasks/{{task_id}}"
_LETTER = f"{BASE}/dlq/{{letter_id}}"
_WORKER_PATH = f"{BASE}/workers/{{worker_id}}"
_QUEUE = f"{BASE}/queues/{{name}}"

OPERATIONS: Sequence[Operation] = (
    Operation("get", f"{BASE}/tasks", "listTasks", {200: "TaskPage"}, parameters=[*_TASK_FILTERS, *_PAGING]),
    Operation(
        "post", f"{BASE}/tasks", "submitTask", {201: "Task", 200: "SubmittedTask"},
        body="Submission", parameters=[_IDEMPOTENCY_KEY], errors=[413, 422, 429],
    ),
    Operation(
        "post", f"{BASE}/tasks/bulk", "submitTasks", {201: "SubmittedTasks", 200: "SubmittedTasks"},
        body="BulkSubmission", parameters=[_IDEMPOTENCY_KEY], errors=[413, 422, 429],
    ),
    Operation("get", _ONE, "readTask", {200: "Task"}),
    Operation("put", _ONE, "replaceTask", {200: "Task"}, body="Edit", parameters=[_IF_MATCH], errors=[409, 412]),
    Operation("patch", _ONE, "editTask", {200: "Task"}, body="Edit", parameters=[_IF_MATCH], errors=[409, 412]),
    Operation("delete", _ONE, "deleteTask", {204: ""}, errors=[409]),
    Operation("post", f"{_ONE}/cancel", "cancelTask", {200: "Task"}, errors=[409]),
    Operation("post", f"{_ONE}/retry", "retryTask", {200: "Task"}, errors=[409]),
    Operation("get", f"{_ONE}/attempts", "listAttempts", {200: "AttemptPage"}, parameters=_PAGING),
    Operation("get", f"{_ONE}/result", "readResult", {200: "Result"}),
    Operation("get", f"{_ONE}/events", "listEvents", {200: "EventPage"}, parameters=_PAGING),
    Operation(
        "get", f"{BASE}/dlq", "listDeadLetters", {200: "DeadLetterPage"}, parameters=[*_LETTER_FILTERS, *_PAGING],
    ),
    Operation("get", _LETTER, "readDeadLetter", {200: "DeadLetter"}),
    Operation("post", f"{_LETTER}/redrive", "redriveDeadLetter", {200: "RedrivenLetter"}, errors=[409]),
    Operation("post", f"{_LETTER}/discard", "discardDeadLetter", {200: "DeadLetter"}, errors=[409]),
    Operation("get", f"{BASE}/actors", "listActors", {200: "Actors"}),
    Operation(
        "get", f"{BASE}/workers", "listWorkers", {200: "WorkerPage"},
        parameters=[*_WORKER_FILTERS, *_PAGING], is_for_staff=True,
    ),
    Operation("get", _WORKER_PATH, "readWorker", {200: "WorkerAtWork"}, is_for_staff=True),
    Operation("delete", _WORKER_PATH, "drainWorker", {202: "Worker", 200: "Worker"}, is_for_staff=True),
    Operation("get", f"{BASE}/queues", "listQueues", {200: "Queues"}, is_for_staff=True),
    Operation("get", _QUEUE, "readQueue", {200: "Queue"}, is_for_staff=True),
    Operation("patch", _QUEUE, "changeQueue", {200: "Queue"}, body="QueueChange", is_for_staff=True),
    Operation("post", f"{_QUEUE}/pause", "pauseQueue", {200: "Queue"}, is_for_staff=True),
    Operation("post", f"{_QUEUE}/resume", "resumeQueue", {200: "Queue"}, is_for_staff=True),
    Operation("get", f"{BASE}/stats", "readBoard", {200: "Board"}, parameters=_MINUTES, is_for_staff=True),
    Operation("get", "/healthz", "isAlive", {200: "Health"}, is_open=True),
    Operation("get", "/readyz", "isReady", {200: "Health"}, errors=[503], is_open=True),
    Operation("get", "/health", "readHealth", {200: "Health"}, errors=[503], is_open=True),
)  # fmt: skip

_ABOUT = """\
Tasks are submitted, looked at and steered here. Every address comes with and without a trailing slash. Fields that are
null in a submission count as not given; fields that are unknown are refused. Every error is an
`application/problem+json`.\
"""

_MEANINGS = {
    200: "As it is now.",
    201: "Accepted.",
    202: "It finishes what it runs, and leaves.",
    204: "Removed.",
    400: "Not valid; `errors` name the fields.",
    401: "No valid token.",
    403: "For staff.",
    404: "There is none, or it is somebody else's.",
    409: "Its status does not allow that.",
    412: "It was changed since.",
    413: "Larger than this server takes.",
    422: "The idempotency key belongs to another submission.",
    429: "Too many tasks; `Retry-After` says when to try again.",
    503: "Not ready, or the database does not answer.",
}
_REPLAYED = "The task that was submitted under this key before, as it is now."


@cache
def document() -> Schema:
    """Build the whole description."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Callboard", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "tags": [{"name": name} for name in sorted({_tag(operation) for operation in OPERATIONS})],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "responses": {
                "Problem": {"description": "What went wrong.", "content": _content("Problem", is_error=True)}
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
            },
        },
    }


def _operation(operation: Operation) -> Schema:
    errors = {*operation.errors, *(() if operation.is_open else (400, 401))}
    errors |= ({403} if operation.is_for_staff else set()) | ({404} if "{" in operation.path else set())
    answers = {str(status): _answer(operation, status, name) for status, name in operation.answers.items()}
    answers |= {
        str(status): {"description": _MEANINGS[status], "content": _content("Problem", is_error=True)}
        for status in sorted(errors)
    }
    described: Schema = {
        "operationId": operation.name,
        "summary": _summary(operation),
        "tags": [_tag(operation)],
        "parameters": [*_path_parameters(operation.path), *operation.parameters],
        "responses": answers | {"default": {"$ref": "#/components/responses/Problem"}},
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    if operation.is_open:
        described["security"] = []
    return described


def _answer(operation: Operation, status: int, name: str) -> Schema:
    is_replay = operation.body.endswith("Submission") and status == 200
    answer: Schema = {"description": _REPLAYED if is_replay else _MEANINGS[status]}
    headers = _headers(operation, status, is_replay=is_replay)
    if headers:
        answer["headers"] = {name: {"schema": schema} for name, schema in headers.items()}
    return answer | ({"content": _content(name)} if name else {})


def _headers(operation: Operation, status: int, *, is_replay: bool) -> dict[str, Schema]:
    headers: dict[str, Schema] = {}
    if is_replay:
        headers["Idempotency-Replayed"] = {"const": "true"}
    elif status == 201:
        headers |= {f"RateLimit-{name}": INTEGER for name in ("Limit", "Remaining", "Reset")}
    if operation.name == "submitTask":
        headers["Location"] = URL
    if operation.path.startswith(_ONE) and operation.answers.get(status) == "Task":
        headers["ETag"] = TEXT
    return headers


def _content(name: str, *, is_error: bool = False) -> Schema:
    return {"application/problem+json" if is_error else "application/json": {"schema": ref(name)}}


def _path_parameters(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT if name == "name" else ID} for name in names]


def _tag(operation: Operation) -> str:
    return operation.path.removeprefix(BASE).split("/")[1] if operation.path.startswith(BASE) else "health"


def _summary(operation: Operation) -> str:
    """Say what the view's own docstring says."""
    function: Any = resolve(operation.path).func
    view = getattr(function, "view_class", None)
    about = inspect.getdoc(function if view is None else getattr(view, operation.method)) or ""
    return about.splitlines()[0]
