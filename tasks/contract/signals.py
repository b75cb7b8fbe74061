"""Signals: the name and payload that a caller gives a task."""

from typing import Any
from uuid import UUID

from tasks import lifecycle
from tasks.conf import conf
from tasks.contract import fields
from tasks.errors import IllegalTransition, InvalidTask
from tasks.lifecycle import Author
from tasks.lifecycle.rows import status_of
from tasks.lifecycle.steps import open_wait
from tasks.payload import check_json

#: Of a signal's name, in characters.
LONGEST_NAME = 100


def name(value: Any) -> str:
    """Read the name of a signal."""
    read = str(fields.text(LONGEST_NAME)(value))
    if not read.isprintable():
        raise fields.InvalidValue("bad_text", "expected printable characters")
    return read


def checked_name(value: Any) -> str:
    """Read the name of a signal in an address or on a command line.

    Raises:
        InvalidTask: it is empty, too long, or has control characters.
    """
    try:
        return name(value)
    except fields.InvalidValue as error:
        raise InvalidTask(errors=[fields.field_error("signal", error)]) from error


def checked_payload(value: Any) -> Any:
    """Check the payload of a signal: any JSON of at most ``MAX_SIGNAL_BYTES``.

    Raises:
        InvalidTask: it is too large, or cannot be stored.
    """
    faults = check_json(value, field="payload", max_bytes=conf.MAX_SIGNAL_BYTES, max_depth=conf.MAX_JSON_DEPTH)
    if faults:
        raise InvalidTask(errors=faults)
    return value


def send_awaited(task_id: UUID, by: Author) -> None:
    """Give a task the signal that it waits for, with the author and their reason as its payload.

    Raises:
        IllegalTransition: it waits for none.
    """
    found = open_wait(task_id)
    if found is None:
        raise IllegalTransition("signal", status=status_of(task_id), detail="the task waits for no signal")
    lifecycle.signal(task_id, found[0], {"by": by.name, "reason": by.reason}, by=by)
