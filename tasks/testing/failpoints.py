"""Places where tests make a process die, stop or fail, by ``FAILPOINT=name:action`` in its environment.

Actions: ``kill`` (SIGKILL to itself), ``stop`` (SIGSTOP), ``error`` (a lost database connection), ``away`` (a broker
that does not answer); ``error*N`` acts the first N times in a process. If ``FAILPOINT_TOKEN=path`` is set too,
the action hits only the process that removes that file: one of many, once, even if others replace it. Without the
variables ``reach`` is a dictionary look-up.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from django.db import OperationalError

from tasks.errors import BrokerUnavailable

NAMES = (
    "before_dispatch",
    "after_dispatch",
    "after_publish",
    "before_claim",
    "after_claim",
    "before_ack",
    "after_ack",
    "before_effect",
    "after_effect",
    "before_step",
    "before_own_commit",
    "after_own_commit",
    "before_completion",
    "after_completion",
    "after_link",
    "after_release",
    "after_fold",
    "before_batch_end",
    "after_batch_end",
    "before_fire",
    "after_fire_hold",
    "after_fire_insert",
    "before_fire_commit",
    "after_fire",
)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    # To this thread: another one could take a signal to the process, and this one would go on for a moment.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _parse(value: str) -> dict[str, tuple[Callable[[], None], list[int]]]:
    if not value:
        return {}
    name, _, action = value.partition(":")
    verb, _, times = action.partition("*")
    actions = {"kill": _kill, "stop": _stop, "error": _fail, "away": _lose_broker}
    if name not in NAMES or verb not in actions:
        raise ValueError(
            f"FAILPOINT: expected one of {', '.join(NAMES)} and one of {', '.join(actions)}, got {value!r}"
        )
    return {name: (actions[verb], [int(times or 1_000_000)])}


def _fail() -> None:
    raise OperationalError("failpoint: the connection was lost")


def _lose_broker() -> None:
    raise BrokerUnavailable("failpoint: the broker does not answer")


_active = _parse(os.environ.get("FAILPOINT", ""))
_token = os.environ.get("FAILPOINT_TOKEN", "")


def reach(name: str) -> None:
    """Do what the environment asks for at this place."""
    armed = _active.get(name)
    if armed is None or armed[1][0] == 0 or not _has_token():
        return
    armed[1][0] -= 1
    armed[0]()


def _has_token() -> bool:
    if not _token:
        return True
    try:
        Path(_token).unlink()
    except FileNotFoundError:
        return False
    return True
