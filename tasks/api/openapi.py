"""The OpenAPI 3.1 description of the REST API: a table of operations, beside that of ``schemas``.

Written by hand because the views are; tests hold every answer of the API's other tests against it, and the tables of
readers and filters too. ``docs/openapi.yaml`` is this, written out by ``manage.py openapi``.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.urls import resolve

from tasks import __version__
from tasks.api.examples import EXAMPLES, example_of
from tasks.api.schemas import (
    BAND,
    ID,
    INTEGER,
    KEY,
    PRIORITY,
    SCHEMAS,
    TEXT,
    TIME,
    URL,
    Schema,
    about,
    array,
    enum,
    ref,
)
from tasks.contract.pages import DEFAULT_LIMIT, MOST_PER_PAGE
from tasks.contract.stats import DEFAULT_MINUTES, LONGEST_MINUTES
from tasks.errors import STATUS_OF_CODE, CallboardError, http_status
from tasks.states import DeathReason, Resolution, Status, WorkerStatus

BASE = "/api/v1"

# --- Parameters --------------------------------------------------------------------------------------------------


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description}


_CHOICE_IN_ANY_CASE = "In any case."
_PAGING = [
    _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MOST_PER_PAGE, "default": DEFAULT_LIMIT},
        "How many there are on a page.",
    ),
    _query("cursor", TEXT, "From `next` or `previous`, unchanged."),
]
_TASK_FILTERS = [
    _query("status", array(enum(Status)), _CHOICE_IN_ANY_CASE + " May be repeated."),
    _query("actor", TEXT, "Its whole name."),
    _query("queue", TEXT, "Its whole name."),
    _query("band", BAND, _CHOICE_IN_ANY_CASE),
    _query("priority", PRIORITY, "As a number; by word it is the band."),
    _query("tag", TEXT, "One of its tags."),
    _query("created_after", TIME, "Submitted later than this."),
    _query("created_before", TIME, "Submitted earlier than this."),
    _query("run_after", TIME, "Not to start before some time later than this."),
    _query("run_before", TIME, "May start before this."),
    _query("search", TEXT, "An id or its first digits, an actor's first letters, or a tag."),
]
_LETTER_FILTERS = [
    _query("reason", enum(DeathReason.names), _CHOICE_IN_ANY_CASE),
    _query("resolution", enum(Resolution.names), _CHOICE_IN_ANY_CASE),
    _query("actor", TEXT, "Its whole name."),
    _query("queue", TEXT, "Its whole name."),
    _query("task", ID, "All deaths of one task."),
]
_WORKER_FILTERS = [_query("status", array(enum(WorkerStatus)), _CHOICE_IN_ANY_CASE + " May be repeated.")]
_MINUTES = [
    _query(
        "minutes",
        {"type": "integer", "minimum": 1, "maximum": LONGEST_MINUTES, "default": DEFAULT_MINUTES},
        "How far back throughput and latencies are measured.",
    )
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
    is_text: bool = False


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
    Operation("delete", _ONE, "deleteTask", {204: ""}, parameters=[_IF_MATCH], errors=[409, 412]),
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
    Operation("get", "/healthz", "isAlive", {200: "Health"}, errors=[405], is_open=True),
    Operation("get", "/readyz", "isReady", {200: "Health"}, errors=[405, 503], is_open=True),
    Operation("get", "/health", "readHealth", {200: "Health"}, errors=[405, 503], is_open=True),
    Operation("get", "/metrics", "readMetrics", {200: "text"}, is_for_staff=True, is_text=True),
)  # fmt: skip

_ABOUT = """\
Tasks are submitted, looked at and steered here. Every address comes with and without a trailing slash. Fields that are
null in a submission count as not given; fields that are unknown are refused. Times are ISO 8601 with a zone, durations
are seconds.

Every error is an `application/problem+json`; its `code` is the contract, its messages are for people.

Every answer has the header `X-Trace-Id`; a request that sends it (32 hexadecimal digits) or `traceparent` chooses it.\
"""

_TAGS = {
    "tasks": "Submit, look at, edit, cancel, retry and remove tasks.",
    "dlq": "Dead letters: why tasks died; re-drive or discard them.",
    "actors": "What can be submitted.",
    "workers": "Worker processes, for staff.",
    "queues": "Queues, for staff: how they stand, pause and resume.",
    "stats": "The whole board, for staff.",
    "health": "Probes and metrics.",
}
_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that the admin has issued. It has scopes (read, submit, operate) and may be limited to "
        "actors and queues. What one user submits, nobody else sees but staff.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "Who is logged in to the admin; what is no GET needs the header X-CSRFToken too.",
    },
}

_MEANINGS = {
    200: "As it is now.",
    201: "Accepted.",
    202: "It finishes what it runs, and leaves.",
    204: "Removed.",
    400: "Not valid; `errors` name the fields.",
    401: "No valid token.",
    403: "For staff, or the token lacks the scope, or is not for that actor or queue.",
    405: "The address does not take that method; `Allow` lists those it takes.",
    404: "There is none, or it is somebody else's.",
    409: "Its status does not allow that.",
    412: "It was changed since.",
    413: "Larger than this server takes.",
    415: "The body is no JSON in UTF-8, going by its headers.",
    422: "The idempotency key belongs to another submission.",
    429: "Too many tasks; `Retry-After` says when to try again.",
    500: "What went wrong; with another status than those above, something in between.",
    503: "Not ready, or the database does not answer.",
}
_LIMIT_HEADERS = {
    "RateLimit-Limit": about(INTEGER, "Tasks per period; none of these for who is not limited."),
    "RateLimit-Remaining": about(INTEGER, "Tasks that may be submitted now."),
    "RateLimit-Reset": about(INTEGER, "Seconds until all of them may be submitted again."),
    "RateLimit-Policy": about(TEXT, "The limit as the IETF's draft writes it since its version 07."),
    "RateLimit": about(TEXT, "What is left, likewise."),
}
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": about(TEXT, "What is wanted: Bearer.")},
    405: {"Allow": about(TEXT, "The methods.")},
    429: {
        "Retry-After": about(INTEGER, "Seconds; none where a bulk is larger than any wait would allow."),
        **_LIMIT_HEADERS,
    },
    503: {"Retry-After": about(INTEGER, "Seconds.")},
}
_PATH_PARAMETERS = {
    "task_id": "The task's id.",
    "letter_id": "The dead letter's id.",
    "worker_id": "The worker's id.",
    "name": "The queue's name.",
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
        "info": {
            "title": "Callboard",
            "version": __version__,
            "description": _ABOUT,
            "contact": {"name": "Whoever operates this installation"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "responses": {
                "Problem": _problem(500),
                **{f"Problem{status}": _problem(status) for status in _MEANINGS if 400 <= status != 500},
            },
            "securitySchemes": _SECURITY,
        },
    }


def _problem(status: int) -> Schema:
    content = _content("Problem", is_error=True)
    content["application/problem+json"]["examples"] = {
        error.code: {"value": example_of(error)} for error in _errors() if http_status(error) == status
    }
    return {"description": _MEANINGS[status], **_described(_ERROR_HEADERS.get(status, {})), "content": content}


def _errors() -> Iterator[type[CallboardError]]:
    """Walk the tree of errors; of those that share a code, the first."""
    kinds, seen = [CallboardError], set()
    while kinds:
        kind = kinds.pop(0)
        kinds += kind.__subclasses__()
        if kind.code in STATUS_OF_CODE and kind.code not in seen:
            seen.add(kind.code)
            yield kind


def _operation(operation: Operation) -> Schema:
    errors = {*operation.errors, *(() if operation.is_open else (400, 401, 403, 503))}
    errors |= ({404} if "{" in operation.path else set()) | ({413, 415} if operation.body else set())
    answers = {str(status): _answer(operation, status, name) for status, name in operation.answers.items()}
    answers |= {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(errors)}
    described: Schema = {
        "operationId": operation.name,
        "summary": _about(operation).splitlines()[0],
        "description": _about(operation),
        "tags": [_tag(operation)],
        "parameters": [*_path_parameters(operation.path), *operation.parameters],
        "responses": answers | {"default": {"$ref": "#/components/responses/Problem"}},
    }
    if operation.body:
        content = _content(operation.body)
        content["application/json"]["examples"] = {
            re.sub(r"\W+", "-", name.lower()): {"summary": name, "value": body}
            for name, body in EXAMPLES[operation.name].items()
        }
        described["requestBody"] = {"required": True, "content": content}
    if operation.is_open:
        described["security"] = []
    return described


def _answer(operation: Operation, status: int, name: str) -> Schema:
    is_replay = operation.body.endswith("Submission") and status == 200
    answer: Schema = {"description": _REPLAYED if is_replay else _MEANINGS[status]}
    answer |= _described(_headers(operation, status, is_replay=is_replay))
    if operation.is_text:
        return answer | {"content": {"text/plain": {"schema": TEXT}}}
    return answer | ({"content": _content(name)} if name else {})


def _headers(operation: Operation, status: int, *, is_replay: bool) -> dict[str, Schema]:
    headers: dict[str, Schema] = {}
    if is_replay:
        headers["Idempotency-Replayed"] = about({"const": "true"}, "Nothing was submitted now.")
    elif status == 201:
        headers |= _LIMIT_HEADERS
    if operation.name == "submitTask":
        headers["Location"] = about(URL, "Where the task can be read.")
    if operation.path.startswith(_ONE) and operation.answers.get(status) == "Task":
        headers["ETag"] = about(TEXT, "The task's version, for If-Match; only edits change it.")
    return headers


def _described(headers: Mapping[str, Schema]) -> Schema:
    shown = {
        name: {"description": schema["description"], "schema": {k: v for k, v in schema.items() if k != "description"}}
        for name, schema in headers.items()
    }
    return {"headers": shown} if shown else {}


def _content(name: str, *, is_error: bool = False) -> Schema:
    return {"application/problem+json" if is_error else "application/json": {"schema": ref(name)}}


def _path_parameters(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": TEXT if name == "name" else ID,
            "description": _PATH_PARAMETERS[name],
        }
        for name in names
    ]


def _tag(operation: Operation) -> str:
    return operation.path.removeprefix(BASE).split("/")[1] if operation.path.startswith(BASE) else "health"


def _about(operation: Operation) -> str:
    """Say what the view's own docstring says."""
    function: Any = resolve(operation.path).func
    view = getattr(function, "view_class", None)
    return inspect.getdoc(function if view is None else getattr(view, operation.method)) or ""
