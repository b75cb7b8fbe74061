"""``actor.send()``: reads a Dramatiq message as a submission; its options keep their meaning in Dramatiq."""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from dramatiq import Message
from dramatiq.common import q_name

from tasks import registry
from tasks.errors import FieldError, InvalidTask, UnknownActor
from tasks.lifecycle import FOR_EVER, DependsOn, Submission
from tasks.models import Batch
from tasks.payload import encode
from tasks.priority import HIGHEST, LOWEST
from tasks.registry import broker_priority, seconds
from tasks.telemetry import trace
from tasks.unique import Unique


def _parents(given: Any) -> list[DependsOn]:
    """Read what comes first: ids of tasks, messages that were sent, batches, or ``DependsOn``."""
    if isinstance(given, str | bytes | Mapping):
        raise TypeError(given)
    return [_parent(one) for one in given]


def _parent(given: Any) -> DependsOn:
    if isinstance(given, DependsOn):
        return given
    if isinstance(given, Batch):
        return DependsOn(batch=given.pk)
    return DependsOn(given if isinstance(given, UUID) else UUID(getattr(given, "message_id", given)))


def _batch(given: Any) -> UUID:
    id = getattr(given, "pk", given)
    return id if isinstance(id, UUID) else UUID(id)


def _whole(given: Any) -> int:
    if isinstance(given, bool) or int(given) != given:
        raise ValueError(given)
    return int(given)


def _retries(given: Any) -> int:
    # -1 is FOR_EVER in a submission; to Dramatiq it means the opposite.
    if _whole(given) < 0:
        raise ValueError(given)
    return int(given)


def _time(given: Any) -> float:
    if isinstance(given, bool):
        raise TypeError(given)
    return float(seconds(given))


#: Message options that are fields of the task, each with the function that reads its value and what that expects.
_COLUMNS: dict[str, tuple[str, Any, str]] = {
    "max_retries": ("max_retries", _retries, "a whole number from 0 on, or None for ever"),
    "min_backoff": ("min_backoff_seconds", _time, "milliseconds"),
    "max_backoff": ("max_backoff_seconds", _time, "milliseconds"),
    "retry_for": ("retry_for_seconds", _time, "milliseconds"),
    "time_limit": ("time_limit_seconds", _time, "milliseconds"),
    "max_age": ("max_age_seconds", _time, "milliseconds"),
    "broker_priority": ("priority", broker_priority, "a whole number from 0 on"),
    "priority": ("priority", _whole, f"a whole number from {LOWEST} to {HIGHEST}"),
    "unique": ("unique", Unique.read, "a key, or an object with one"),
    "tags": ("tags", lambda given: given, "a list of texts"),
    "fairness_key": ("fairness_key", lambda given: given, "a text"),
    "depends_on": ("depends_on", _parents, "a list of ids of tasks, messages that were sent, batches or DependsOn"),
    "batch": ("batch", _batch, "a batch, or its id"),
}
#: Options by which Dramatiq itself would delay a message.
_DELAYS = frozenset({"eta", "delay"})
#: Options that name an actor. Its tasks are submitted with an outcome, when it is too late to refuse them.
_CALLBACKS = frozenset({"on_success", "on_failure", "on_retry_exhausted", "on_death"})


def submission_of(message: Message[Any], *, delay: int | timedelta | None = None, trace_id: str = "") -> Submission:
    """Read a message as a submission.

    Parameters:
        delay: in milliseconds, as everywhere in Dramatiq; it takes the place of an ``eta`` in the message's options.

    Raises:
        InvalidTask: an option is not JSON, or not what it has to be.
    """
    options = {name: value for name, value in message.options.items() if name not in _DELAYS and value is not None}
    columns = {
        column: _read(name, options.pop(name), read, expected)
        for name, (column, read, expected) in _COLUMNS.items()
        if name in options
    }
    if message.options.get("max_retries", 0) is None:
        columns["max_retries"] = FOR_EVER
    if delay is not None:
        columns["delay_seconds"] = max(0.0, _read("delay", delay, _delay, "milliseconds"))
    elif message.options.get("eta") is not None:
        columns["run_at"] = _read("eta", message.options["eta"], _moment, "milliseconds since 1970")
    _check_callbacks(options)
    if "pipe_target" in options:
        options["pipe_target"] = _with_texts(options["pipe_target"])
    try:
        encode(options)
    except (TypeError, ValueError) as error:
        raise InvalidTask(f"expected message options that are JSON, got {sorted(options)}: {error}") from error
    return Submission(
        actor=message.actor_name,
        args=list(message.args),
        payload=message.kwargs,
        options=options,
        queue=q_name(message.queue_name) or None,
        message_id=str(message.message_id),
        trace_id=trace_id or trace.current(),
        **columns,
    )


def _with_texts(target: Any) -> Any:
    """Write a batch in the rest of a pipeline as text: that is kept as JSON until its turn comes."""
    if not isinstance(target, dict):
        return target
    options = dict(target["options"])
    if options.get("batch") is not None:
        options["batch"] = str(_read("batch", options["batch"], _batch, _COLUMNS["batch"][2]))
    if "pipe_target" in options:
        options["pipe_target"] = _with_texts(options["pipe_target"])
    return {**target, "options": options}


def _check_callbacks(options: dict[str, Any]) -> None:
    for name in _CALLBACKS & options.keys():
        try:
            registry.get(options[name])
        except (UnknownActor, TypeError) as error:
            message = f"expected {name} to name a declared actor, got {options[name]!r:.100}"
            raise InvalidTask(message, errors=[FieldError(f"options.{name}", "unknown_actor", message)]) from error


def _read(name: str, value: Any, read: Callable[[Any], Any], expected: str) -> Any:
    try:
        return read(value)
    except (TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        message = f"expected {name} as {expected}, got {value!r:.100}"
        raise InvalidTask(message, errors=[FieldError(f"options.{name}", "invalid", message)]) from error


def _delay(given: float | timedelta) -> float:
    delay = _time(given)
    if math.isnan(delay):
        raise ValueError(given)
    return delay


def _moment(milliseconds: float) -> datetime:
    # What is older than 1970 is as much in the past, and not every platform can convert it. NaN compares false.
    return datetime.fromtimestamp(0.0 if milliseconds < 0 else milliseconds / 1000, UTC)
