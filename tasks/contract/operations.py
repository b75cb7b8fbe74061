"""Operations: how one is read and written, what its filter may say, and who may begin, see and change it."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from dlq.models import DeadLetter
from tasks.contract import dead_letters, fields, journal, tasks
from tasks.contract.access import (
    CANCEL_TASK,
    DISCARD_DEAD_LETTER,
    EDIT_TASK,
    REDRIVE_DEAD_LETTER,
    RESTORE_DEAD_LETTER,
    RETRY_TASK,
    VIEW_DEAD_LETTER,
    VIEW_TASK,
    Action,
    Caller,
    find,
    visible,
)
from tasks.contract.fields import InvalidValue, Reader
from tasks.contract.filters import Filter, choice, filtered
from tasks.contract.pages import Order
from tasks.contract.retry_bounds import check_retries
from tasks.contract.submissions import read_change as read_edit
from tasks.contract.values import timestamp
from tasks.errors import FieldError, InvalidQuery, InvalidTask, NotAllowed, OperationRefused
from tasks.lifecycle import Author, operations
from tasks.lifecycle.operations import MOST_ROWS, Plan
from tasks.models import Operation, OperationItem, OperationQuerySet, Task
from tasks.queries.scan import scan
from tasks.states import (
    ON_DEAD_LETTERS,
    RUNNING_AGAIN,
    WAITING,
    ItemState,
    OperationState,
    OperationVerb,
    Status,
)

#: Ids in a body.
MOST_IDS = 10_000
MOST_CANARY = 1_000
SLOWEST, FASTEST = 0.01, 10_000
DEFAULT_STOP_PERCENT = 10
#: What an operation does to each row.
ACTIONS: Mapping[OperationVerb, Action] = {
    OperationVerb.RETRY: RETRY_TASK,
    OperationVerb.CANCEL: CANCEL_TASK,
    OperationVerb.EDIT: EDIT_TASK,
    # Another queue or priority takes a task back from the broker, too.
    OperationVerb.REQUEUE: EDIT_TASK,
    OperationVerb.REDRIVE: REDRIVE_DEAD_LETTER,
    OperationVerb.DISCARD: DISCARD_DEAD_LETTER,
    OperationVerb.RESTORE: RESTORE_DEAD_LETTER,
}
#: What an edit of many may change: their payloads differ.
CHANGEABLE = ("priority", "queue", "run_at", "max_retries", "tags")

FILTERS: Mapping[str, Filter] = {
    "state": Filter(choice(OperationState), OperationQuerySet.in_states, is_repeatable=True),
    "verb": Filter(choice(OperationVerb), OperationQuerySet.of_verb),
    "by": Filter(fields.text(150), OperationQuerySet.done_by),
    "failure": Filter(fields.fingerprint, OperationQuerySet.of_failure),
}


def _rate(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not SLOWEST <= value <= FASTEST:
        raise InvalidValue("invalid", f"expected a number from {SLOWEST} to {FASTEST}, got {fields.quoted(value)}")
    return float(value)


def _ids(value: Any) -> list[UUID]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_IDS:
        came = f"{len(value)} ids" if isinstance(value, list) else fields.quoted(value)
        raise InvalidValue("invalid", f"expected an array of 1 to {MOST_IDS:,} ids, got {came}")
    return [fields.identifier(fields.text(36)(one)) for one in value]


def _verb(value: Any) -> OperationVerb:
    return OperationVerb(choice(OperationVerb)(fields.text(20)(value)))


_PACE: Mapping[str, Reader] = {"rate_per_second": _rate, "stop_percent": fields.whole_number(1, 100)}
_READERS: Mapping[str, Reader] = {
    **_PACE,
    "verb": _verb,
    "filter": fields.json_object,
    "ids": _ids,
    "change": fields.json_object,
    "canary": fields.whole_number(0, MOST_CANARY),
    "preview": fields.boolean,
    # Taken out before; it stands here for those who misspell it.
    "reason": journal.reason,
}


def begin(body: Mapping[str, Any], *, caller: Caller, by: Author) -> Operation:
    """Read a new operation, find its rows, and make it.

    Raises:
        InvalidTask: with one error per field; those of the filter are named ``filter.<name>``.
        NotAllowed: the caller may not do this to a row, or their token is not for the queue that an edit gives.
    """
    values, errors = fields.read_fields(body, _READERS, refused={})
    errors += _contradictions(values)
    if errors:
        raise InvalidTask(errors=errors)
    verb: OperationVerb = values["verb"]
    caller.require(ACTIONS[verb])
    wanted = _texts(values.get("filter", {}))
    ids = find_rows(verb, wanted, caller=caller, ids=values.get("ids"))
    plan = Plan(
        verb=verb,
        criteria={name: texts if len(texts) > 1 else texts[0] for name, texts in wanted.items()},
        failure=wanted.get("failure", [""])[0],
        change=_read_change(values.get("change", {}), caller=caller),
        rate_per_second=values.get("rate_per_second"),
        canary=values.get("canary", 0),
        stop_percent=values.get("stop_percent", DEFAULT_STOP_PERCENT),
    )
    return operations.begin(plan, ids, by=by, starts=not values.get("preview", False))


def undo(operation: Operation, *, caller: Caller | None, by: Author) -> Operation:
    """Begin the operation that restores what a discard has discarded.

    Parameters:
        caller: None is somebody at a shell, who may do everything.

    Raises:
        OperationRefused: it does something else, or has not ended.
        NotAllowed: the caller may not restore dead letters.
    """
    if operation.verb != OperationVerb.DISCARD or not operation.is_over:
        raise OperationRefused(
            "undo", state=f"{operation.state} and does {operation.verb}; it must be a discard that is DONE or CANCELLED"
        )
    letters = DeadLetter.objects.all()
    if caller is not None:
        caller.require(RESTORE_DEAD_LETTER)
        letters = visible(letters, caller, VIEW_DEAD_LETTER)
    items = operation.items.filter(state=ItemState.MOVED)
    resolved = letters.filter(pk__in=items.values("row_id"), resolved_at__isnull=False).newest_first()
    # What somebody has restored and discarded again since stays discarded. In Python, because a comparison of two times
    # in the query would let PostgreSQL begin with all dead letters.
    moved: dict[UUID, Any] = dict(items.values_list("row_id", "moved_at"))
    times: Any = resolved.values_list("pk", "resolved_at")
    ids = [id for id, resolved_at in times if resolved_at <= moved[id]]
    plan = Plan(verb=OperationVerb.RESTORE, criteria={"undo_of": str(operation.pk)}, failure=operation.failure)
    return operations.begin(plan, ids, by=by)


def can_be_undone(operation: Operation) -> bool:
    """Tell whether an operation has discarded dead letters and ended."""
    return operation.verb == OperationVerb.DISCARD and operation.is_over and operation.moved > 0


def read_course(
    body: Mapping[str, Any], *, verb: OperationVerb, criteria: Mapping[str, Any], failure: str = ""
) -> Plan:
    """Read how an operation goes on rows that are known already: ``canary``, ``rate_per_second``, ``stop_percent``.

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, {**_PACE, "canary": _READERS["canary"]}, refused={})
    if errors:
        raise InvalidTask(errors=errors)
    return Plan(verb=verb, criteria=criteria, failure=failure, **{"stop_percent": DEFAULT_STOP_PERCENT, **values})


def _contradictions(values: Mapping[str, Any]) -> list[FieldError]:
    found = []
    if "verb" not in values:
        found.append(FieldError("verb", "required", f"expected one of {', '.join(OperationVerb.names)}"))
    if ("ids" in values) == bool(values.get("filter")):
        found.append(FieldError("filter", "required", "expected ids, or a filter with at least one condition"))
    verb = values.get("verb")
    if (verb is OperationVerb.EDIT) != bool(values.get("change")) and verb is not None:
        message = f"expected at least one of {', '.join(CHANGEABLE)} for an edit, and nothing for other verbs"
        found.append(FieldError("change", "required", message))
    if verb is not None and verb not in RUNNING_AGAIN:
        message = "expected it for a retry or re-drive only: after other verbs nothing runs that could die again"
        found += [FieldError(name, "invalid", message) for name in ("canary", "stop_percent") if values.get(name)]
    return found


def _texts(given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Read the values of a filter, as a list's parameters: texts, or arrays of texts."""
    found, errors = {}, []
    for name, value in given.items():
        texts = value if isinstance(value, list) else [value]
        if not texts or not all(isinstance(one, str) for one in texts):
            errors.append(FieldError(f"filter.{name[:50]}", "invalid", "expected a text, or an array of texts"))
        found[name] = texts
    if errors:
        raise InvalidTask(errors=errors)
    return found


def _read_change(body: Mapping[str, Any], *, caller: Caller) -> dict[str, Any]:
    if not body:
        return {}
    if others := sorted(set(body) - set(CHANGEABLE)):
        message = f"expected one of {', '.join(CHANGEABLE)}"
        raise InvalidTask(errors=[FieldError(f"change.{name[:50]}", "unknown_field", message) for name in others])
    try:
        change = read_edit(body)
        caller.require_reach(queue=change.get("queue"))
        check_retries(change, caller=caller)
    except (InvalidTask, NotAllowed) as error:
        errors = [FieldError(f"change.{one.field}", one.code, one.message) for one in error.errors]
        raise type(error)(errors=errors) from error
    return {name: value.isoformat() if name == "run_at" else value for name, value in change.items()}


#: The rows that each verb can be done to.
_LEGAL: Mapping[OperationVerb, Any] = {
    OperationVerb.REDRIVE: lambda rows: rows.open(),
    OperationVerb.DISCARD: lambda rows: rows.open(),
    OperationVerb.RESTORE: lambda rows: rows.restorable(),
    OperationVerb.RETRY: lambda rows: rows.retryable(),
    OperationVerb.CANCEL: lambda rows: rows.cancellable(),
    OperationVerb.EDIT: lambda rows: rows.in_status(sorted(WAITING)),
    OperationVerb.REQUEUE: lambda rows: rows.in_status([Status.QUEUED]),
}


def find_rows(
    verb: OperationVerb,
    wanted: Mapping[str, Sequence[str]],
    *,
    caller: Caller | None,
    ids: Sequence[UUID] | None = None,
) -> list[UUID]:
    """Find the rows that an operation is for, newest first: at most one more than it can have.

    Parameters:
        caller: None is somebody at a shell, who may see everything.
        wanted: the filter; it leaves out rows that the verb cannot be done to.
        ids: instead of a filter; none of those that the caller may see is left out, so that the operation says why it
            skips some.

    Raises:
        InvalidTask: the filter is not valid.
    """
    if verb in ON_DEAD_LETTERS:
        (failure, *others) = wanted.get("failure", [""])
        # By the index of the failure's open dead letters.
        has_index = failure and not others and ids is None and verb is not OperationVerb.RESTORE
        letters = DeadLetter.objects.open_of_cause(failure) if has_index else DeadLetter.objects.all()
        rows: Any = letters if caller is None else visible(letters, caller, VIEW_DEAD_LETTER)
        filters = dead_letters.FILTERS
    else:
        every = Task.objects.all()
        rows = every if caller is None else visible(every, caller, VIEW_TASK)
        filters = tasks.FILTERS if caller is None else tasks.filters_for(caller)
    if ids is not None:
        seen = set(rows.filter(pk__in=ids).values_list("pk", flat=True))
        return [id for id in ids if id in seen]
    try:
        rows = filtered(rows, wanted, filters, others=())
    except InvalidQuery as error:
        errors = [FieldError(f"filter.{one.field}", one.code, one.message) for one in error.errors]
        raise InvalidTask(errors=errors) from error
    return scan(_LEGAL[verb](rows).values_list("pk", flat=True), wanted=MOST_ROWS + 1, whole=True).found


def read_pace(body: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Read how fast an operation should go on, and the reason; a rate of null is as fast as it can.

    Raises:
        InvalidTask: with one error per field.
    """
    values, errors = fields.read_fields(body, {**_PACE, "reason": journal.reason}, refused={})
    if errors:
        raise InvalidTask(errors=errors)
    reason = values.pop("reason", "")
    values |= {name: None for name, value in body.items() if value is None and name in _PACE}
    if not values:
        raise InvalidTask(f"expected at least one of {', '.join(_PACE)}")
    return values, reason


def visible_operations(caller: Caller) -> OperationQuerySet:
    """Narrow operations to those that the caller may see; a token for some actors or queues sees its user's own."""
    rows = Operation.objects.all()
    return rows.done_by(caller.name) if caller.actors or caller.queues else rows


def find_operation(caller: Caller, text: str) -> Operation:
    """Find an operation that the caller may see.

    Raises:
        NotFound: there is none.
    """
    return find(visible_operations(caller), text, kind="operation")


def find_to_change(caller: Caller, text: str) -> Operation:
    """Find an operation that the caller wants to pause, resume or cancel.

    Raises:
        NotFound: there is none.
        NotAllowed: the caller may not do to a row what it does.
    """
    operation = find_operation(caller, text)
    caller.require(ACTIONS[OperationVerb(operation.verb)])
    return operation


def operation_as_dict(operation: Operation, *, url: Any) -> dict[str, Any]:
    """Write an operation."""
    id = str(operation.pk)
    return {
        "id": id,
        "url": url(id),
        "verb": operation.verb,
        "state": operation.state,
        "by": operation.by or None,
        "reason": operation.reason or None,
        "filter": operation.criteria,
        "failure": operation.failure or None,
        "change": operation.change or None,
        "rate_per_second": operation.rate_per_second,
        "canary": operation.canary,
        "stop_percent": operation.stop_percent,
        "note": operation.note or None,
        "total": operation.total,
        "is_capped": operation.is_capped,
        "left": operation.left,
        "moved": operation.moved,
        "skipped": operation.skipped,
        "skips": operation.skips,
        "running": operation.running if operation.verb in RUNNING_AGAIN else 0,
        "succeeded": operation.succeeded,
        "died_again": operation.died,
        "ended": operation.ended,
        "errors": operation.errors,
        "created_at": timestamp(operation.created_at),
        "started_at": timestamp(operation.started_at),
        "ended_at": timestamp(operation.ended_at),
    }


#: Items, in the order in which they are done.
IN_ORDER = Order("id", False, lambda item: int(item.pk), lambda number: min(number, 2**63 - 1))
ITEM_FILTERS: Mapping[str, Filter] = {
    "state": Filter(choice(ItemState), lambda rows, states: rows.filter(state__in=states), is_repeatable=True)
}


def item_as_dict(item: OperationItem, *, task_url: Any) -> dict[str, Any]:
    """Write a row of an operation."""
    return {
        "id": str(item.row_id),
        "task_id": str(item.task_id),
        "task_url": task_url(str(item.task_id)),
        "state": ItemState(item.state).name,
        "note": item.note or None,
        "moved_at": timestamp(item.moved_at),
        "ended_at": timestamp(item.ended_at),
    }
