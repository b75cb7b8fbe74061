"""Submissions and edits: a request's body into a ``Submission``, or the faults of its fields.

Tables of readers instead of nested serializers: one submission passes here per request, and a thousand per bulk.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tasks import registry
from tasks.contract import fields
from tasks.contract.access import EDIT_PAYLOAD, VIEW_TASK, Caller
from tasks.contract.dependencies import check_parents, depends_on, uuid_text
from tasks.contract.fields import Reader
from tasks.contract.retry_bounds import check_retries, retry_faults
from tasks.contract.sight import Lens, keep_secrets
from tasks.errors import Duplicate, FieldError, InvalidTask
from tasks.models import Task
from tasks.payload import is_same_json
from tasks.submission import (
    EDITABLE,
    FIELDS,
    FOR_EVER,
    BatchId,
    Dependencies,
    JsonObject,
    Kind,
    Moment,
    Priority,
    Reference,
    Seconds,
    Submission,
    Tags,
    Text,
    UniqueRule,
    WholeNumber,
)
from tasks.telemetry import trace

MOST_IN_BULK = 1_000


def _reader(kind: Kind) -> Reader:
    match kind:
        case Text(longest) | Reference(longest):
            return fields.text(longest)
        case Dependencies(most):
            return depends_on(most)
        case JsonObject():
            return fields.json_object
        case Tags(most, longest):
            return fields.tags(most=most, longest=longest)
        case Moment():
            return fields.moment
        case Priority():
            return fields.priority
        case Seconds(takes_zero):
            return fields.seconds(above=None if takes_zero else 0)
        case WholeNumber(highest):
            return fields.whole_number(0, highest)
        case UniqueRule():
            return fields.unique
        case BatchId():
            return uuid_text


#: The reader of each field of a submission.
READERS: Mapping[str, Reader] = {name: _reader(one.kind) for name, one in FIELDS.items()}
_EDIT_READERS: Mapping[str, Reader] = {name: READERS[name] for name in EDITABLE}

#: Fields of capabilities that are not built yet. They are refused: ignoring them would silently break a promise.
NOT_SUPPORTED: Mapping[str, str] = {
    "concurrency_key": "concurrency_key is not supported yet; leave it out",
    "idempotency_key": "a bulk has one key for all its tasks, beside them or in the header Idempotency-Key",
}


def read_submission(body: Mapping[str, Any], *, caller: Caller) -> Submission:
    """Read one task of a request.

    Raises:
        InvalidTask: with one error per field; also for retries beyond the caller's bounds.
        UnknownActor: there is no such actor, or it is closed to the API.
        NotAllowed: the caller may not submit for this actor or queue.
    """
    values = read_values(body)
    spec = registry.get_open(values["actor"])
    caller.require_reach(actor=spec.name, queue=values.get("queue") or spec.queue)
    if errors := [*retry_faults(values, caller=caller, spec=spec)]:
        raise InvalidTask(errors=errors)
    return Submission(**values, owner_id=caller.owner_id, trace_id=trace.current())


@contextmanager
def hiding_holders(caller: Caller) -> Iterator[None]:
    """Tell which task has a unique key only to a caller who may see their own tasks."""
    try:
        yield
    except Duplicate as error:
        if caller.may(VIEW_TASK, owner_id=caller.owner_id):
            raise
        raise error.without_ids() from None


def read_values(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of one task, for whichever actor and caller.

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, READERS, refused=NOT_SUPPORTED)
    errors += _contradictions(body, values)
    if errors:
        raise InvalidTask(errors=errors)
    return values


def read_submissions(bodies: Any, *, caller: Caller) -> list[Submission]:
    """Read the tasks of a bulk.

    Raises:
        InvalidTask: with the errors of all of them, fields named ``tasks.<position>.<field>``.
    """
    if not isinstance(bodies, list) or not 1 <= len(bodies) <= MOST_IN_BULK:
        came = f"{len(bodies)} of them" if isinstance(bodies, list) else fields.quoted(bodies)
        message = f"expected an array of 1 to {MOST_IN_BULK} tasks, got {came}"
        raise InvalidTask(errors=[FieldError("tasks", "invalid", message)])
    submissions: list[Submission] = []
    errors: list[FieldError] = []
    for position, body in enumerate(bodies):
        if len(errors) > fields.MOST_ERRORS:
            break
        path = f"tasks.{position}"
        try:
            submissions.append(read_submission(fields.json_object(body), caller=caller))
        except fields.InvalidValue as unfit:
            errors.append(fields.field_error(path, unfit))
        except InvalidTask as error:
            errors += [FieldError(f"{path}.{one.field}", one.code, one.message) for one in error.errors]
    if errors:
        raise InvalidTask(errors=errors)
    if any(one.depends_on for one in submissions):
        check_parents(submissions, caller=caller)
    return submissions


def read_change(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read an edit; null is refused, because it could mean "keep the value" or "reset it to the default".

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, _EDIT_READERS, refused={})
    errors += _nulls(body, "leave the field out to keep its value")
    if errors:
        raise InvalidTask(errors=errors)
    if not values:
        raise InvalidTask(f"expected at least one of {', '.join(EDITABLE)}")
    return values


def read_replacement(body: Mapping[str, Any], *, task: Task, hidden: Collection[str] = ()) -> dict[str, Any]:
    """Read the whole editable set of a task: a default in the place of a forgotten field could run the task at once.

    ``max_retries`` may be null if it is so already, so that an answer with its changes can be sent back. So may what is
    hidden from the caller; it stays as it is.

    Parameters:
        hidden: the fields that the caller sees as null.

    Raises:
        InvalidTask: with one error per field, those that are missing too.
    """
    values, errors = fields.read_fields(body, _EDIT_READERS, refused={})
    kept: dict[str, Any] = {}
    if task.max_retries is None and "max_retries" in body and body["max_retries"] is None:
        kept = {"max_retries": FOR_EVER}
    errors += _nulls(
        {name: value for name, value in body.items() if name not in {*kept, *hidden}},
        "PATCH keeps what it is not given",
    )
    missing = [name for name in EDITABLE if name not in body]
    errors += [FieldError(name, "required", "expected a value, since PUT replaces all fields") for name in missing]
    if missing:
        message = (
            f"PUT replaces {', '.join(EDITABLE)}; missing: {', '.join(missing)}; use PATCH to change single fields"
        )
        raise InvalidTask(message, errors=errors)
    if errors:
        raise InvalidTask(errors=errors)
    return values | kept


def checked_edit(change: dict[str, Any], *, task: Task, caller: Caller, lens: Lens) -> dict[str, Any]:
    """Check an edit against what its caller may do and sees, and leave out what they only send back.

    Parameters:
        lens: the caller's, of the task.

    Raises:
        InvalidTask: a secret is sent back as its mask, or there are more retries than the caller may ask for.
        NotAllowed: as ``permitted_change``.
    """
    change = keep_secrets(change, task=task, lens=lens)
    change = permitted_change(change, task=task, caller=caller, seen=lens.payload())
    check_retries(change, caller=caller, task=task)
    return change


def permitted_change(change: Mapping[str, Any], *, task: Task, caller: Caller, seen: Any) -> dict[str, Any]:
    """Check an edit against what its caller may do beyond editing the task.

    A caller who may not change the payload can send it back, as PUT needs it; it is left out then.

    Parameters:
        seen: the payload as the caller sees it. Compared with the stored one, guesses at its secrets would be answered.

    Raises:
        NotAllowed: the token is not for the queue, or the caller may not change the payload.
    """
    caller.require_reach(queue=change.get("queue"))
    if "payload" not in change or caller.may(EDIT_PAYLOAD, owner_id=task.owner_id):
        return dict(change)
    if not is_same_json(change["payload"], seen):
        caller.require(EDIT_PAYLOAD, owner_id=task.owner_id)
    return {name: value for name, value in change.items() if name != "payload"}


def _nulls(body: Mapping[str, Any], instead: str) -> list[FieldError]:
    message = f"expected a value, got null; {instead}"
    return [FieldError(name, "invalid", message) for name in EDITABLE if name in body and body[name] is None]


def _contradictions(body: Mapping[str, Any], values: Mapping[str, Any]) -> list[FieldError]:
    """List missing fields, and fields that exclude one another."""
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
