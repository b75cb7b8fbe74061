"""Runs of plain functions as an actor's, for tests of executions and interrupts."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tasks.worker.execution import Execution
from tasks.worker.interrupter import Interrupter
from tests.factories import imagine_claim
from tests.waiting import wait_until


def execution(**fields: Any) -> Execution:
    return Execution(imagine_claim(**fields), claimed_monotonic=time.monotonic())


def run(function: Callable[..., Any], interrupter: Interrupter, *args: Any, **fields: Any) -> Execution:
    """Run a function as an actor's; what it raises is in the execution."""
    one = execution(**fields)
    with suppress(BaseException):
        one.run(partial(function, *args), interrupter, is_async=False)
    return one


def in_thread(one: Execution, interrupter: Interrupter) -> threading.Thread:
    """Run something long in a thread of its own; returns when it may be interrupted."""

    def work() -> None:
        with suppress(BaseException):
            one.run(partial(busy, 20), interrupter, is_async=False)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: one.is_armed)
    return thread


def busy(seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "done"
