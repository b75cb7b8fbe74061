"""Tasks on the wire: a request's body into a ``Submission``, a row into an answer.

Plain tables of fields in place of nested serializers: one submission passes here per request and a thousand per bulk.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse

from tasks import registry
from tasks.api import fields
from tasks.api.fields import Reader
from tasks.api.reach import Reach
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle import FOR_EVER, Receipt, Submission
from tasks.models import Attempt, Task, TaskEvent
from tasks.queries.forecast import Forecast
from tasks.registry import ActorSpec
from tasks.telemetry import trace

#: What ``task_as_dict`` does not show, and a query for it need not read.
UNSEEN = ("args", "options", "checkpoint")

#: In place of a status, where a task was pruned or deleted.
REMOVED = "REMOVED"

MOST_RETRIES = 10_000
MOST_IN_BULK = 1_000

SUBMISSION_FIELDS: Mapping[str, Reader] = {
    "actor": fields.text(255),
    "payload": fields.an_object,
    "priority": fields.priority,
    "queue": fields.text(100),
    "run_at": fields.moment,
    "delay_seconds": fields.seconds(),
    "max_retries": fields.whole_number(0, MOST_RETRIES),
    "min_backoff_seconds": fields.seconds(),
    "max_backoff_seconds": fields.seconds(),
    "retry_for_seconds": fields.seconds(),
    "time_limit_seconds": fields.seconds(),
    "max_age_seconds": fields.seconds(above=0),
    "estimated_seconds": fields.seconds(),
    "tags": fields.tags,
}

EDITABLE_FIELDS: Mapping[str, Reader] = {
    name: SUBMISSION_FIELDS[name] for name in ("priority", "run_at", "payload", "queue", "max_retries", "tags")
}

#: Fields of the contract whose capabilities are not there; ignoring them would break a promise silently.
NOT_SUPPORTED: Mapping[str, str] = {
    name: f"{name} is not supported yet; leave it out"
    for name in ("depends_on", "ref", "unique", "concurrency_key", "fairness_key", "batch")
} | {"idempotency_key": "a bulk has one key for all of its tasks, beside them or in the header Idempotency-Key"}


def read_submission(body: Mapping[str, Any], *, owner_id: int | None, reach: Reach) -> Submission:
    """Read one task of a request.

    Raises:
        InvalidTask: with one error per field.
        UnknownActor: no such actor, or none that can be submitted this way.
        NotAllowed: the caller may not submit for this actor or queue.
    """
    values, errors = fields.read_fields(body, SUBMISSION_FIELDS, refused=NOT_SUPPORTED)
    errors += _contradictions(body, values)
    if errors:
        raise InvalidTask(errors=errors)
    spec = registry.get_open(values["actor"])
    reach.check(actor=spec.name, queue=values.get("queue") or spec.queue)
    return Submission(**values, owner_id=owner_id, trace_id=trace.current())


def read_submissions(bodies: Any, *, owner_id: int | None, reach: Reach) -> list[Submission]:
    """Read the tasks of a bulk.

    Raises:
        InvalidTask: with the errors of all of them, fields named ``tasks.<position>.<field>``.
    """
    if not isinstance(bodies, list) or not 1 <= len(bodies) <= MOST_IN_BULK:
        came = f"{len(bodies)} of them" if isinstance(bodies, list) else fields.shown(bodies)
        message = f"expected an array of 1 to {MOST_IN_BULK} tasks, got {came}"
        raise InvalidTask(errors=[FieldError("tasks", "invalid", message)])
    submissions: list[Submission] = []
    errors: list[FieldError] = []
    for position, body in enumerate(bodies):
        if len(errors) > fields.MOST_ERRORS:
            break
        path = f"tasks.{position}"
        try:
            submissions.append(read_submission(fields.an_object(body), owner_id=owner_id, reach=reach))
        except fields.Unfit as unfit:
            errors.append(fields.field_error(path, unfit))
        except InvalidTask as error:
            errors += [FieldError(f"{path}.{one.field}", one.code, one.message) for one in error.errors]
    if errors:
        raise InvalidTask(errors=errors)
    return submissions


def read_change(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read an edit; null is refused, because it would be unclear whether it means "as before" or "as at first".

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, EDITABLE_FIELDS, refused={})
    errors += [
        FieldError(name, "invalid", "expected a value, got null; leave it out to keep what is there")
        for name in EDITABLE_FIELDS
        if name in body and body[name] is None
    ]
    if errors:
        raise InvalidTask(errors=errors)
    return values


def as_submitted(actor: str) -> dict[str, Any]:
    """Give all that can be edited the values of a submission that says nothing about it."""
    spec = registry.get(actor)
    return {
        "priority": spec.default_priority,
        "run_at": fields.LONG_AGO,
        "payload": {},
        "queue": spec.queue,
        "max_retries": FOR_EVER if spec.max_retries is None else spec.max_retries,
        "tags": [],
    }


def _contradictions(body: Mapping[str, Any], values: Mapping[str, Any]) -> list[FieldError]:
    """List what is missing and which fields do not go together."""
    found = []
    if body.get("actor") is None:
        found.append(FieldError("actor", "required", "expected an actor's name; GET /api/v1/actors lists them"))
    if "payload" in body and body["payload"] is None:
        found.append(FieldError("payload", "invalid", "expected an object, got null"))
    if "run_at" in values and "delay_seconds" in values:
        found.append(FieldError("run_at", "exclusive", "expected run_at or delay_seconds, got both"))
    shortest, longest = values.get("min_backoff_seconds"), values.get("max_backoff_seconds")
    if shortest is not None and longest is not None and shortest > longest:
        message = f"expected at least min_backoff_seconds, {shortest:g}"
        found.append(FieldError("max_backoff_seconds", "invalid", message))
    return found


def task_urls(request: HttpRequest) -> Callable[[UUID], str]:
    """Make the function that gives a task its address, as the caller reaches it."""
    base = request.build_absolute_uri(reverse("api-tasks"))
    return lambda task_id: f"{base}/{task_id}"


def task_as_dict(task: Task, *, url: Callable[[UUID], str], forecast: Forecast | None = None) -> dict[str, Any]:
    """Give a task its shape on the wire; what is not built yet is null or empty, so that the shape stays."""
    return {
        "id": str(task.pk),
        "url": url(task.pk),
        "actor": task.actor,
        "status": str(task.status),
        "payload": task.payload,
        "priority": task.priority,
        "band": task.band,
        "queue": task.queue,
        "run_at": timestamp(task.run_at),
        "max_retries": task.max_retries,
        "min_backoff_seconds": number(task.min_backoff_seconds),
        "max_backoff_seconds": number(task.max_backoff_seconds),
        "retry_for_seconds": number(task.retry_for_seconds),
        "time_limit_seconds": number(task.time_limit_seconds),
        "max_age_seconds": number(task.max_age_seconds),
        "estimated_seconds": number(task.estimated_seconds),
        "expected_start_seconds": number(forecast.seconds) if forecast else None,
        "tags": task.tags,
        "attempt": task.attempt,
        "failures": task.failures,
        "crashes": task.crashes,
        "result": task.result,
        "progress": task.progress,
        "error": _last_error(task.error),
        "created_at": timestamp(task.created_at),
        "queued_at": timestamp(task.queued_at),
        "started_at": timestamp(task.started_at),
        "finished_at": timestamp(task.finished_at),
        "cancel_requested_at": timestamp(task.cancel_requested_at),
        "trace_id": task.trace_id,
        "depends_on": [],
        "waiting_for": [],
        "ref": None,
        "idempotency_key": task.idempotency_key,
        "unique": None,
        "concurrency_key": None,
        "fairness_key": None,
        "batch": None,
    }


def receipt_as_list(receipt: Receipt, *, url: Callable[[UUID], str]) -> list[dict[str, Any]]:
    """Give what was submitted under a key its shape: each task as it is now; one that was removed by its id alone."""
    return [
        task_as_dict(receipt.tasks[id], url=url)
        if id in receipt.tasks
        else {"id": str(id), "url": url(id), "status": REMOVED}
        for id in receipt.ids
    ]


def attempt_as_dict(attempt: Attempt) -> dict[str, Any]:
    """Give an attempt its shape on the wire."""
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "worker_id": str(attempt.worker_id),
        "started_at": timestamp(attempt.started_at),
        "finished_at": timestamp(attempt.finished_at),
        "error": error_as_dict(attempt.error_type, attempt.error_message, traceback=attempt.traceback),
        "note": attempt.note or None,
    }


def result_as_dict(task: Task) -> dict[str, Any]:
    """Give what came of a task its shape on the wire."""
    return {
        "id": str(task.pk),
        "status": str(task.status),
        "result": task.result,
        "error": _last_error(task.error),
        "finished_at": timestamp(task.finished_at),
    }


def event_as_dict(event: TaskEvent) -> dict[str, Any]:
    """Give what a person or a repair did its shape on the wire."""
    return {"verb": event.verb, "by": event.by or None, "at": timestamp(event.at), "detail": event.detail}


def actor_as_dict(spec: ActorSpec) -> dict[str, Any]:
    """Give a declared actor its shape on the wire."""
    return {
        "name": spec.name,
        "description": spec.description,
        "queue": spec.queue,
        "payload_schema": spec.arguments.schema,
        "defaults": {
            "priority": spec.default_priority,
            "max_retries": spec.max_retries,
            "min_backoff_seconds": number(spec.min_backoff_seconds),
            "max_backoff_seconds": number(spec.max_backoff_seconds),
            "retry_for_seconds": number(spec.retry_for_seconds),
            "time_limit_seconds": number(spec.time_limit_seconds),
            "max_age_seconds": number(spec.max_age_seconds),
        },
    }


def error_as_dict(kind: str, message: str, **more: str) -> dict[str, str] | None:
    """Give what went wrong its shape; None if nothing did."""
    return {"type": kind, "message": message, **more} if kind or message else None


def timestamp(moment: datetime | None) -> str | None:
    """Write a time in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else None


def number(value: float | None) -> float | None:
    """Write a whole number without its ".0": the same number is the same text, whichever way it came."""
    return int(value) if value is not None and float(value).is_integer() else value


def _last_error(text: str) -> dict[str, str] | None:
    # The row holds "Type: message"; an error without a type is all message.
    kind, colon, message = text.partition(": ")
    return error_as_dict(kind, message) if colon else error_as_dict("", text)
