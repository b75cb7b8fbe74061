"""The OpenAPI 3.1 description of the REST API: a table of operations, beside the table of ``schemas``.

Both are written by hand. Tests check them against the readers, the filters, and every answer that other tests of the
API get. ``manage.py openapi`` writes the description to ``docs/openapi.yaml``.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.urls import get_script_prefix, resolve, reverse

from tasks import __version__
from tasks.api import idempotency_key, preconditions
from tasks.api.examples import EXAMPLES, example_of
from tasks.api.json_schema import ID, INTEGER, TEXT, TIME, URL, Schema, about, array, enum, ref, text
from tasks.api.schemas import BAND, PRIORITY, SCHEMAS, TRACE_ID
from tasks.contract.access import EDIT_PAYLOAD, EDIT_TASK, Action
from tasks.contract.pages import CURSOR_PATTERN, DEFAULT_LIMIT, MOST_PER_PAGE
from tasks.contract.stats import DEFAULT_MINUTES, LONGEST_MINUTES
from tasks.errors import STATUS_OF_CODE, CallboardError, http_status
from tasks.states import DeathReason, Door, ObjectKind, Resolution, Status, WorkerStatus

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
_TASK_FILTERS = [
    _query("status", array(enum(Status)), f"{_IN_ANY_CASE} May be repeated."),
    _query("actor", text(255), "The exact name."),
    _query("queue", text(100), "The exact name."),
    _query("band", BAND, _IN_ANY_CASE),
    _query("priority", PRIORITY, "A number; use `band` for names."),
    _query("tag", text(100), "A tag that the task has."),
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
_DEAD_LETTER_FILTERS = [
    _query("reason", enum(DeathReason.names), _IN_ANY_CASE),
    _query("resolution", enum(Resolution.names), _IN_ANY_CASE),
    _query("actor", text(255), "The exact name."),
    _query("queue", text(100), "The exact name."),
    _query("task", ID, "The id of the task that died."),
]
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
_MINUTES = [
    _query(
        "minutes",
        {"type": "integer", "minimum": 1, "maximum": LONGEST_MINUTES, "default": DEFAULT_MINUTES},
        "The period over which throughput and latencies are measured, up to now.",
    )
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
    #: Whether it can make tasks run, which the submission limit counts.
    makes_run: bool = False


_ONE = f"{BASE}/tasks/{{task_id}}"
_DEAD_LETTER = f"{BASE}/dlq/{{letter_id}}"
_WORKER_PATH = f"{BASE}/workers/{{worker_id}}"
_QUEUE = f"{BASE}/queues/{{name}}"
#: Of a verb that may depend on the task's state.
_GUARDED: Mapping[str, Any] = {"parameters": [_IF_MATCH], "errors": [409, 412]}
#: Of a verb that takes nothing but a reason.
_REASON: Mapping[str, Any] = {"body": "Reason", "is_body_optional": True}

OPERATIONS: Sequence[Operation] = (
    Operation("get", f"{BASE}/tasks", "listTasks", {200: "TaskPage"}, parameters=[*_TASK_FILTERS, *_PAGING]),
    Operation(
        "post", f"{BASE}/tasks", "submitTask", {201: "Task", 200: "SubmittedTask"},
        body="Submission", parameters=[_IDEMPOTENCY_KEY], errors=[413, 422], makes_run=True,
    ),
    Operation(
        "post", f"{BASE}/tasks/bulk", "submitTasks", {201: "SubmittedTasks", 200: "SubmittedTasks"},
        body="BulkSubmission", parameters=[_IDEMPOTENCY_KEY], errors=[413, 422], makes_run=True,
    ),
    Operation("get", _ONE, "readTask", {200: "Task"}),
    Operation("put", _ONE, "replaceTask", {200: "Task"}, body="Replacement", **_GUARDED, makes_run=True),
    Operation("patch", _ONE, "editTask", {200: "Task"}, body="Edit", **_GUARDED, makes_run=True),
    Operation("delete", _ONE, "deleteTask", {204: ""}, **_REASON, **_GUARDED),
    Operation("post", f"{_ONE}/cancel", "cancelTask", {200: "Task"}, **_REASON, **_GUARDED),
    Operation("post", f"{_ONE}/retry", "retryTask", {200: "Task"}, **_REASON, **_GUARDED, makes_run=True),
    Operation("get", f"{_ONE}/attempts", "listAttempts", {200: "AttemptPage"}, parameters=_PAGING),
    Operation("get", f"{_ONE}/result", "readResult", {200: "Result"}),
    Operation("get", f"{_ONE}/events", "listEvents", {200: "EventPage"}, parameters=_PAGING),
    Operation(
        "get", f"{BASE}/dlq", "listDeadLetters", {200: "DeadLetterPage"}, parameters=[*_DEAD_LETTER_FILTERS, *_PAGING],
    ),
    Operation("get", _DEAD_LETTER, "readDeadLetter", {200: "DeadLetter"}),
    Operation(
        "post", f"{_DEAD_LETTER}/redrive", "redriveDeadLetter", {200: "RedrivenDeadLetter"},
        **_REASON, errors=[409], makes_run=True,
    ),
    Operation("post", f"{_DEAD_LETTER}/discard", "discardDeadLetter", {200: "DeadLetter"}, **_REASON, errors=[409]),
    Operation("get", f"{BASE}/actors", "listActors", {200: "Actors"}),
    Operation(
        "get", f"{BASE}/workers", "listWorkers", {200: "WorkerPage"},
        parameters=[*_WORKER_FILTERS, *_PAGING],
    ),
    Operation("get", _WORKER_PATH, "readWorker", {200: "WorkerDetail"}),
    Operation("delete", _WORKER_PATH, "drainWorker", {202: "Worker", 200: "Worker"}, **_REASON),
    Operation("get", f"{BASE}/queues", "listQueues", {200: "Queues"}),
    Operation("get", _QUEUE, "readQueue", {200: "Queue"}),
    Operation("patch", _QUEUE, "changeQueue", {200: "Queue"}, body="QueueChange"),
    Operation("post", f"{_QUEUE}/pause", "pauseQueue", {200: "Queue"}, **_REASON),
    Operation("post", f"{_QUEUE}/resume", "resumeQueue", {200: "Queue"}, **_REASON),
    Operation(
        "get", f"{BASE}/journal", "listJournal", {200: "JournalPage"},
        parameters=[*_JOURNAL_FILTERS, *_PAGING],
    ),
    Operation("get", f"{BASE}/stats", "readStats", {200: "Stats"}, parameters=_MINUTES),
    Operation("get", "/healthz", "isAlive", {200: "Health"}, errors=[405], is_open=True),
    Operation("get", "/readyz", "isReady", {200: "Health"}, errors=[405, 503], is_open=True),
    Operation("get", "/health", "readHealth", {200: "Health"}, errors=[405, 503], is_open=True),
    Operation("get", "/metrics", "readMetrics", {200: "text"}, is_text=True),
)  # fmt: skip

_ABOUT = """\
Submit tasks, look at them and act on them. Every address works with and without a trailing slash. In a submission, a
null field counts as left out; unknown fields are refused. Times are ISO 8601 with a zone, at most a hundred years
ahead; durations are in seconds. Text has no NUL characters and no lone surrogates, and whole numbers in payloads have
at most 64 bits.

Every error is an `application/problem+json`. Programs can rely on its `code`; its messages are for people.

Every answer has the header `X-Trace-Id`. A request can set it by sending `X-Trace-Id` (a UUID, or 16 to 64
hexadecimal digits) or `traceparent`; the answer has it with 32 digits.\
"""

_TAGS = {
    "tasks": "Submit, read, edit, cancel, retry and delete tasks.",
    "dlq": "Dead letters say why tasks died; re-drive or discard them.",
    "actors": "The actors that tasks can be submitted to.",
    "workers": "Worker processes.",
    "queues": "Read, pause and resume queues.",
    "journal": "Who did what, through which door and why.",
    "stats": "Statistics of the whole installation.",
    "health": "Health probes and metrics.",
}
_SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token issued in the admin. It has scopes (read, submit, operate) and may be limited to some "
        "actors and queues. What its user may not do, it may not do either.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "sessionid",
        "description": "The session of a user who is logged in to the admin. Unsafe methods need X-CSRFToken.",
    },
}

_MEANINGS = {
    200: "The current state.",
    201: "Accepted.",
    202: "The worker finishes its running tasks, then stops.",
    204: "Deleted.",
    400: "The request is not valid; `errors` name the fields.",
    401: "The token is missing or not valid.",
    403: "The user lacks a permission, or the token a scope, or it is limited to other actors or queues.",
    405: "The address does not support this method; `Allow` lists those that it supports.",
    404: "It does not exist, or you may not see it.",
    409: "The current status does not allow this.",
    412: "The task has been changed since it was read.",
    413: "The request is too large.",
    415: "The headers do not declare the body as JSON in UTF-8.",
    422: "The idempotency key belongs to another submission.",
    429: "Too many tasks were to run, or too many requests were refused; `Retry-After` says when to try again.",
    500: "Unexpected error; other statuses come from a proxy.",
    503: "The service is not ready, or the database does not answer.",
}
_LIMIT_HEADERS = {
    "RateLimit-Limit": about(INTEGER, "Tasks per period. Exempt callers get no RateLimit headers."),
    "RateLimit-Remaining": about(INTEGER, "Tasks that can be submitted now."),
    "RateLimit-Reset": about(INTEGER, "Seconds until RateLimit-Limit tasks can be submitted again."),
    "RateLimit-Policy": about(TEXT, "The limit, in the format of the IETF draft since version 07."),
    "RateLimit": about(TEXT, "The remaining tasks, in the same format."),
}
_TRACE_HEADER = {"X-Trace-Id": about(TRACE_ID, "The id of the request in the logs.")}
#: Headers that some answers of an operation lack.
_OPTIONAL = frozenset(_LIMIT_HEADERS)
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": about(TEXT, "The authentication scheme: Bearer.")},
    405: {"Allow": about(TEXT, "The supported methods.")},
    429: {
        "Retry-After": about(INTEGER, "Seconds until a retry can succeed; absent for a bulk above the limit."),
        **_LIMIT_HEADERS,
    },
    503: {"Retry-After": about(INTEGER, "Seconds until the next attempt.")},
}
#: Parameters that every address takes; what is not valid in them is replaced, not refused.
_TRACE_PARAMETERS = {
    "X-Trace-Id": "The id that the answer, the logs and a submitted task get: a UUID, or 16 to 64 hexadecimal digits.",
    "traceparent": "As in W3C Trace Context; its trace id is taken if X-Trace-Id has none.",
}
_TRACED = {"X-Trace-Id": {"$ref": "#/components/headers/X-Trace-Id"}}
_PATH_PARAMETERS = {
    "task_id": "The task's id.",
    "letter_id": "The dead letter's id.",
    "worker_id": "The worker's id.",
    "name": "The queue's name.",
}
_REPLAYED = "The task that was submitted earlier under this key, in its current state."


@cache
def document() -> Schema:
    """Build the whole document."""
    paths: dict[str, Schema] = {}
    of_all = [{"$ref": f"#/components/parameters/{name}"} for name in _TRACE_PARAMETERS]
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {"parameters": of_all})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Callboard",
            "version": __version__,
            "description": _ABOUT,
            "contact": {"name": "The operator of this installation"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "parameters": {
                name: {"name": name, "in": "header", "schema": TEXT, "description": about}
                for name, about in _TRACE_PARAMETERS.items()
            },
            "headers": _described(_TRACE_HEADER),
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
    optional = _OPTIONAL | ({"Retry-After"} if status == 429 else set())
    headers = _TRACED | _described(_ERROR_HEADERS.get(status, {}), optional=optional)
    return {"description": _MEANINGS[status], "headers": headers, "content": content}


def _errors() -> Iterator[type[CallboardError]]:
    """Walk the tree of errors; of errors with the same code, the first."""
    kinds, seen = [CallboardError], set()
    while kinds:
        kind = kinds.pop(0)
        kinds += kind.__subclasses__()
        if kind.code in STATUS_OF_CODE and kind.code not in seen:
            seen.add(kind.code)
            yield kind


def _operation(operation: Operation) -> Schema:
    errors = {*operation.errors, *(() if operation.is_open else (400, 401, 403, 429, 503))}
    errors |= ({404} if "{" in operation.path else set()) | ({413, 415} if operation.body else set())
    answers = {str(status): _answer(operation, status, name) for status, name in operation.answers.items()}
    answers |= {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(errors)}
    described: Schema = {
        "operationId": operation.name,
        "summary": _about(operation).splitlines()[0],
        "description": f"{_about(operation)}\n\n{_needs(operation)}".strip(),
        "tags": [_tag(operation)],
        "parameters": [*_path_parameters(operation.path), *operation.parameters],
        "responses": answers | {"default": {"$ref": "#/components/responses/Problem"}},
    }
    if operation.body:
        content = _content(operation.body)
        content["application/json"]["examples"] = {
            re.sub(r"\W+", "-", name.lower()): {"summary": name, "value": body}
            for name, body in EXAMPLES[operation.body if operation.is_body_optional else operation.name].items()
        }
        described["requestBody"] = {"required": not operation.is_body_optional, "content": content}
    if operation.is_open:
        described["security"] = []
    return described


def _answer(operation: Operation, status: int, name: str) -> Schema:
    is_replay = operation.body.endswith("Submission") and status == 200
    answer: Schema = {"description": _REPLAYED if is_replay else _MEANINGS[status]}
    answer["headers"] = _TRACED | _described(_headers(operation, status, is_replay=is_replay))
    if operation.is_text:
        return answer | {"content": {"text/plain": {"schema": TEXT}}}
    return answer | ({"content": _content(name)} if name else {})


def _headers(operation: Operation, status: int, *, is_replay: bool) -> dict[str, Schema]:
    headers: dict[str, Schema] = {}
    if is_replay:
        headers["Idempotency-Replayed"] = about({"const": "true"}, "This request submitted nothing.")
    elif operation.makes_run:
        headers |= _LIMIT_HEADERS
    if operation.name == "submitTask":
        headers["Location"] = about(URL, "The address of the task.")
    if operation.path.startswith(_ONE) and operation.answers.get(status) == "Task":
        headers["ETag"] = about(TEXT, "The task's state for If-Match; edits, starts, ends and cancels change it.")
    return headers


def _described(headers: Mapping[str, Schema], *, optional: Collection[str] = _OPTIONAL) -> dict[str, Schema]:
    return {
        name: {
            "description": schema["description"],
            "required": name not in optional,
            "schema": {k: v for k, v in schema.items() if k != "description"},
        }
        for name, schema in headers.items()
    }


def _content(name: str, *, is_error: bool = False) -> Schema:
    return {"application/problem+json" if is_error else "application/json": {"schema": ref(name)}}


def _path_parameters(path: str) -> list[Schema]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": text(100) if name == "name" else ID,
            "description": _PATH_PARAMETERS[name],
        }
        for name in names
    ]


def _tag(operation: Operation) -> str:
    return operation.path.removeprefix(BASE).split("/")[1] if operation.path.startswith(BASE) else "health"


def _about(operation: Operation) -> str:
    """Take the docstring of the view's method, as Markdown."""
    view = _view_of(operation)
    return (inspect.getdoc(getattr(view, operation.method, view)) or "").replace("``", "`")


def _needs(operation: Operation) -> str:
    """Say who may do it, from the view's declaration."""
    action = action_of(operation)
    if action is None:
        return ""
    parts = [f"the scope `{action.scope}`", *(f"the permission `{one}`" for one in action.permissions)]
    exempt = "owners" if action.is_for_owners else "users who are not staff" if action.is_for_plain_users else ""
    needs = f"Needs {' and '.join(parts)}{f'; {exempt} need no permission' if exempt else ''}."
    if action is EDIT_TASK:
        (permission,) = EDIT_PAYLOAD.permissions
        needs += f" Another payload needs the scope `{EDIT_PAYLOAD.scope}` and the permission `{permission}`, too."
    return needs


def action_of(operation: Operation) -> Action | None:
    """Tell what an operation does; None for those that are open to everybody."""
    actions: Mapping[str, Action] = getattr(_view_of(operation), "actions", {})
    return actions.get(operation.method.upper())


def _view_of(operation: Operation) -> Any:
    # Where the project has put the API.
    root = reverse("api-schema").removeprefix(get_script_prefix().removesuffix("/")).removesuffix("/api/schema")
    function: Any = resolve(root + operation.path).func
    return getattr(function, "view_class", function)
