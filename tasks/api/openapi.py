"""The OpenAPI 3.1 description of the REST API, made of the tables of ``operations`` and of the schemas.

Both are written by hand. Tests check them against the readers, the filters, and every answer that other tests of the
API get. ``manage.py openapi`` writes the description to ``docs/openapi.yaml``.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache

from tasks import __version__
from tasks.api.batch_schemas import SCHEMAS as OF_BATCHES
from tasks.api.bodies import BODIES
from tasks.api.dead_letter_schemas import SCHEMAS as OF_DEAD_LETTERS
from tasks.api.event_schemas import SCHEMAS as OF_EVENTS
from tasks.api.examples import EXAMPLES, example_of
from tasks.api.failure_schemas import SCHEMAS as OF_FAILURES
from tasks.api.json_schema import FINGERPRINT, ID, INTEGER, TEXT, URL, Schema, about, ref, text
from tasks.api.openapi_operations import BASE, OPERATIONS, TASK_PATH, Operation, action_of, view_of
from tasks.api.operation_schemas import SCHEMAS as OF_OPERATIONS
from tasks.api.schedule_schemas import SCHEMAS as OF_SCHEDULES
from tasks.api.schemas import SCHEMAS, TRACE_ID
from tasks.api.stats_schemas import SCHEMAS as OF_STATS
from tasks.api.task_schemas import SCHEMAS as OF_TASKS
from tasks.contract.access import EDIT_PAYLOAD, EDIT_TASK
from tasks.errors import STATUS_OF_CODE, CallboardError, http_status

_ABOUT = """\
Submit tasks, look at them and act on them. Every address works with and without a trailing slash. In a submission, a
null field counts as left out; unknown fields are refused. Times are ISO 8601 with a zone, at most a hundred years
ahead; durations are in seconds. Text has no NUL characters and no lone surrogates, and whole numbers in payloads have
at most 64 bits.

Every error is an `application/problem+json`. Programs can rely on its `code`; its messages are for people.

Every answer has the header `X-Trace-Id`. A request can set it by sending `X-Trace-Id` (a UUID, a ULID, an
id of AWS X-Ray, or 16 to 64 hexadecimal digits) or `traceparent`; the answer has it with 32 digits.\
"""

_TAGS = {
    "tasks": "Submit, read, edit, cancel, retry and delete tasks.",
    "batches": "Tasks that are counted, cancelled and waited for together.",
    "dlq": "Dead letters say why tasks died; re-drive, discard or restore them.",
    "failures": "Deaths by cause; assign, snooze and note them.",
    "operations": "Acts on many tasks or dead letters: begin, pause, resume, cancel, undo.",
    "actors": "The actors that tasks can be submitted to.",
    "workers": "Worker processes.",
    "queues": "Read, pause and resume queues.",
    "schedules": "What runs again and again: add, edit, pause, run now, fill past ranges.",
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
    409: "The current status does not allow this, or another task has the unique key.",
    412: "The task has been changed since it was read.",
    413: "The request is too large.",
    415: "The headers do not declare the body as JSON in UTF-8.",
    422: "The idempotency key belongs to another submission.",
    429: "Too many tasks were to run or are watched, or too many requests were refused; `Retry-After` says when to try "
    "again.",
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
#: What the header Location of an operation has.
_LOCATIONS = {
    "submitTask": "The address of the task.",
    "createBatch": "The address of the batch.",
    "addSchedule": "The address of the schedule.",
    "runSchedule": "The address of the task that was submitted.",
    "beginOperation": "The address of the operation.",
    "undoOperation": "The address of the operation that restores.",
}
_TRACE_HEADER = {"X-Trace-Id": about(TRACE_ID, "The id of the request in the logs.")}
#: Headers that some answers of an operation lack.
_OPTIONAL = frozenset({*_LIMIT_HEADERS, "Idempotency-Replayed", "Preference-Applied"})
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
    "X-Trace-Id": (
        "The id that the answer, the logs and a submitted task get: a UUID, a ULID, an id of AWS X-Ray, or 16 to 64"
        " hexadecimal digits."
    ),
    "traceparent": "As in W3C Trace Context; its trace id is taken if X-Trace-Id has none.",
}
_TRACED = {"X-Trace-Id": {"$ref": "#/components/headers/X-Trace-Id"}}
_PATH_PARAMETERS = {
    "task_id": "The task's id.",
    "letter_id": "The dead letter's id.",
    "worker_id": "The worker's id.",
    "signal": "The name that the task waits for: 1 to 100 printable characters.",
    "name": "The queue's name.",
    "schedule_id": "The schedule's id.",
    "batch_id": "The batch's id.",
    "operation_id": "The operation's id.",
    "fingerprint": "The failure's fingerprint.",
}
#: Of parameters that are no UUIDs.
_PATH_SCHEMAS: Mapping[str, Schema] = {"name": text(100), "signal": text(100), "fingerprint": FINGERPRINT}
_ENDED = "The stream has ended before: the task is final, and `Last-Event-ID` is its last event."
_STREAM = "Server-sent events: of each event its `id`, its type as `event`, and itself as `data`, in JSON on one line."
_CSV = (
    "A line for each dead letter after that of the names; the payload is JSON. The note, if there is one, comes last."
)
_REPLAYED = "The task that was submitted earlier under this idempotency or unique key, in its current state."


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
            "schemas": {
                **BODIES,
                **OF_TASKS,
                **OF_DEAD_LETTERS,
                **OF_STATS,
                **SCHEMAS,
                **OF_SCHEDULES,
                **OF_BATCHES,
                **OF_FAILURES,
                **OF_OPERATIONS,
                **OF_EVENTS,
            },
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
    if operation.is_stream and status == 204:
        answer["description"] = _ENDED
    answer["headers"] = _TRACED | _described(_headers(operation, status, is_replay=is_replay))
    if operation.is_text:
        return answer | {"content": {"text/plain": {"schema": TEXT}}}
    content = _content(name) if name else {}
    if operation.is_stream and content:
        content["text/event-stream"] = {"schema": about(TEXT, _STREAM)}
    if operation.is_csv:
        content["text/csv"] = {"schema": about(TEXT, _CSV)}
    return answer | ({"content": content} if content else {})


def _headers(operation: Operation, status: int, *, is_replay: bool) -> dict[str, Schema]:
    headers: dict[str, Schema] = {}
    if is_replay:
        headers["Idempotency-Replayed"] = about({"const": "true"}, "An earlier request had this idempotency key.")
    if operation.makes_run:
        headers |= _LIMIT_HEADERS
    if operation.name in _LOCATIONS:
        headers["Location"] = about(URL, _LOCATIONS[operation.name])
    if operation.name == "submitTask":
        headers["Preference-Applied"] = about(TEXT, "`wait=` and the seconds, if the body waits for the task's end.")
    if operation.answers.get(status) in ("Schedule", "ScheduleDetail"):
        headers["ETag"] = about(TEXT, "The schedule's version for If-Match; edits raise it.")
    if operation.path.startswith(TASK_PATH) and operation.answers.get(status) == "Task":
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
            "schema": _PATH_SCHEMAS.get(name, ID),
            "description": _PATH_PARAMETERS[name],
        }
        for name in names
    ]


def _tag(operation: Operation) -> str:
    return operation.path.removeprefix(BASE).split("/")[1] if operation.path.startswith(BASE) else "health"


def _about(operation: Operation) -> str:
    """Take the docstring of the view's method, as Markdown."""
    view = view_of(operation)
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
