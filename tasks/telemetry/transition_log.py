"""The transition log: one line for each move of a task, with its trace id."""

import logging
from collections.abc import Sequence
from typing import Any

from tasks.lifecycle import Moved, transitioned
from tasks.log import get_logger
from tasks.states import Status
from tasks.telemetry.logs import write_each

log = get_logger(__name__)

#: Verbs of every task's life, many times a second: logged at debug level.
_ROUTINE = frozenset({"dispatch", "claim", "put_back"})
#: A larger batch gets one line with a count.
_MOST_LINES = 20

_EVENTS = {
    "submit": "task submitted",
    "dispatch": "task dispatched",
    "claim": "task claimed",
    "put_back": "task put back unstarted",
    "complete": "attempt ended",
    "requeue": "task taken back from the broker",
    "rescue": "task rescued from a lost or stuck worker",
    "release": "task released by those it depends on",
    "block": "task waits for others again",
    "expire": "task died at its age limit",
    "cancel": "cancel requested",
    "edit": "task edited",
    "retry": "task runs again",
    "redrive": "task re-driven",
    "signal": "task goes on after a signal",
}


def connect() -> None:
    """Start writing."""
    transitioned.connect(_write, dispatch_uid="callboard.transition_log")


def _write(*, verb: str, moves: Sequence[Moved], **_: Any) -> None:
    level, event = logging.DEBUG if verb in _ROUTINE else logging.INFO, _EVENTS[verb]
    if verb == "submit" and len(moves) > _MOST_LINES:
        first = moves[0]
        log.info("tasks submitted", count=len(moves), trace_id=first.trace_id, first_task_id=str(first.id))
        return
    write_each(__name__, level, event, (_line(move) for move in moves if move.status != Status.DEAD))
    write_each(__name__, logging.WARNING, event, (_line(move) for move in moves if move.status == Status.DEAD))


def _line(move: Moved) -> dict[str, str]:
    return {
        "task_id": str(move.id),
        "status": str(move.status),
        "actor": move.actor,
        "queue": move.queue,
        "trace_id": move.trace_id,
    }
