"""Actors that leave an entry in the ledger for every start, effect and end."""

import logging
import os
import re
import resource
import signal
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dramatiq
import structlog
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from tasks import current
from tasks.models import Queue
from tasks.testing import failpoints
from tests.acceptance.stage import hostile  # noqa: F401 - declares its actors
from tests.acceptance.stage.performance import nap_until, performance, write


@dramatiq.actor
def effect() -> None:
    """Have one effect."""
    with performance():
        failpoints.reach("before_effect")
        write("EFFECT")
        failpoints.reach("after_effect")


#: Results that no row can keep, and one that exits when it is read.
RESULTS: dict[str, Any] = {
    "date": lambda: datetime(2030, 1, 2, tzinfo=UTC),
    "decimal": lambda: Decimal("1.10"),
    "model": Queue,
    "big number": lambda: 2**70,
    "long text": lambda: "x" * 300_000,
    "nul": lambda: "nul \0",
    "not a number": lambda: float("nan"),
    "exiting": lambda: Exiting(a=1),
}


class Exiting(dict[str, Any]):
    """A result that exits when it is read."""

    def items(self) -> Any:
        """Exit."""
        raise SystemExit

    __iter__ = __len__ = __bool__ = items


@dramatiq.actor(min_backoff=100, max_backoff=200)
def effect_and_return(what: str) -> Any:
    """Have one effect and return a result that cannot be kept."""
    with performance():
        write("EFFECT")
    return RESULTS[what]()


@dramatiq.actor(min_backoff=100, max_backoff=200, on_success="nobody")
def effect_and_call_nobody() -> None:
    """Have one effect and a callback that does not exist."""
    with performance():
        write("EFFECT")


class ExitingText(Exception):
    """Exits when its text is read."""

    def __str__(self) -> str:
        raise SystemExit


class ExitingClass(Exception):
    """Exits when its class is asked for."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise SystemExit


class ExitingAttributes(Exception):
    """Raises when any of its attributes is read."""

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


@dramatiq.actor
def fail_hostile(what: str) -> None:
    """Raise an exception that raises when it is inspected."""
    with performance():
        raise {"text": ExitingText, "class": ExitingClass, "attributes": ExitingAttributes}[what]


@dramatiq.actor(min_backoff=100, max_backoff=200)
def book() -> None:
    """Write a row in the transaction that completes the task."""
    with performance():
        with current.complete_in_transaction():
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO booking VALUES (%s)", [current.task_id()])
            failpoints.reach("before_effect")
        write("EFFECT")


@dramatiq.actor
def last(seconds: float) -> None:
    """Take some time."""
    with performance():
        nap_until(None, seconds)
        write("EFFECT")


@dramatiq.actor
def await_cue(cue: str, seconds: float = 30) -> None:
    """Run until a file exists."""
    with performance():
        nap_until(Path(cue).exists, seconds)
        write("EFFECT")


@dramatiq.actor
def resist(seconds: float, times: int = 1) -> None:
    """Sleep in one uninterruptible call in the first attempts."""
    with performance():
        if current.attempt() <= times:
            time.sleep(seconds)
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
def fail(times: int) -> None:
    """Fail the first attempts."""
    with performance():
        if current.attempt() <= times:
            raise RuntimeError(f"failing {times} times")
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
def fail_and_submit(times: int, tag: str) -> None:
    """Fail the first attempts, then submit one task with a tag."""
    with performance():
        if current.attempt() <= times:
            raise RuntimeError(f"failing {times} times")
        effect.send_with_options(tags=[tag])
        write("EFFECT")


@dramatiq.actor(max_retries=0)
def confess(password: str) -> None:
    """Log a secret in every way, and fail with it."""
    with performance():
        for level in (logging.DEBUG, logging.INFO, logging.ERROR):
            logging.getLogger("confessions").log(level, "the word is %s", password)
            structlog.get_logger("confessions").log(level, "a word", word=password, more=[{"password": password}])
        Queue.objects.filter(name=password).exists()
        raise ValueError(f"cannot log in with {password}")


@dramatiq.actor
def crash(how: str) -> None:
    """End the process by ``exit``, ``segfault`` or ``kill``, as the kernel does when memory is short."""
    with performance():
        if how == "exit":
            os._exit(7)
        signal.raise_signal({"segfault": signal.SIGSEGV, "kill": signal.SIGKILL}[how])
        # The signal goes to the process; this thread must wait for its delivery.
        threading.Event().wait()


@dramatiq.actor(min_backoff=100, max_backoff=200, max_retries=1)
def devour() -> None:
    """Allocate more memory than the process may have."""
    with performance():
        before = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 200_000_000, before[1]))
        try:
            bytearray(10_000_000_000)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


@dramatiq.actor
def spin() -> None:
    """Keep the interpreter in a call during which no other thread runs and no interrupt arrives."""
    with performance():
        re.match("(a+)+$", "a" * 100 + "b")


@dramatiq.actor(max_retries=0)
def import_items(last: int, seconds: float) -> None:
    """Write a row for each item, and go on where the last attempt stood."""
    with performance():
        items = current.each(range(1, last + 1), key=int)
        for item in items:
            with items.transaction():
                _add_item(item)
                nap_until(None, seconds)
            current.progress(item, last)
            current.log(f"item {item}")
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
def in_steps() -> None:
    """Write a row in a step's transaction, sleep, wait for a signal, and write another."""
    with performance():
        with transaction.atomic():
            current.step("first", _add_item, 1)
        current.sleep(seconds=0.5)
        current.wait_for("go")
        with transaction.atomic():
            current.step("second", _add_item, 2)
        write("EFFECT")


def _add_item(item: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO item VALUES (%s, %s)", [current.task_id(), item])


@dramatiq.actor
def leave_open() -> None:
    """Write in a transaction and leave it open."""
    with performance():
        transaction.atomic().__enter__()
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO booking VALUES (%s)", [current.task_id()])
        write("EFFECT")


@dramatiq.actor
async def ask_database() -> None:
    """Ask the database from a coroutine."""
    with performance():
        await sync_to_async(_ask)()
        write("EFFECT")


def _ask() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS asked")


if os.environ.get("STAGE_RELEASE") == "next":

    @dramatiq.actor
    def novelty() -> None:
        """Do something that the release before does not know."""
        with performance():
            write("EFFECT")
