"""``actor.send()``: reads a Dramatiq message as a submission; its options keep their meaning in Dramatiq."""

from datetime import timedelta
from typing import Any

from dramatiq import Message

from tasks.errors import InvalidTask
from tasks.lifecycle import FOR_EVER, Submission
from tasks.payload import encode
from tasks.registry import seconds
from tasks.telemetry import trace

#: Message options that are columns of the task, each with the function that reads its value.
_COLUMNS: dict[str, tuple[str, Any]] = {
    "max_retries": ("max_retries", int),
    "min_backoff": ("min_backoff_seconds", seconds),
    "max_backoff": ("max_backoff_seconds", seconds),
    "retry_for": ("retry_for_seconds", seconds),
    "time_limit": ("time_limit_seconds", seconds),
    "max_age": ("max_age_seconds", seconds),
    "priority": ("priority", int),
    "tags": ("tags", tuple),
}
#: Options by which Dramatiq itself would delay a message.
_DELAYS = frozenset({"eta", "delay"})


def submission_of(message: Message[Any], *, delay: int | timedelta | None = None, trace_id: str = "") -> Submission:
    """Read a message as a submission.

    Parameters:
        delay: in milliseconds, as everywhere in Dramatiq.

    Raises:
        InvalidTask: an option is not JSON.
    """
    options = {name: value for name, value in message.options.items() if name not in _DELAYS and value is not None}
    if message.options.get("max_retries", 0) is None:
        options["max_retries"] = FOR_EVER
    columns = {column: read(options.pop(name)) for name, (column, read) in _COLUMNS.items() if name in options}
    try:
        encode(options)
    except (TypeError, ValueError) as error:
        raise InvalidTask(f"expected message options that are JSON, got {sorted(options)}: {error}") from error
    return Submission(
        actor=message.actor_name,
        args=list(message.args),
        payload=message.kwargs,
        options=options,
        delay_seconds=seconds(delay or 0),
        trace_id=trace_id or trace.current(),
        **columns,
    )
