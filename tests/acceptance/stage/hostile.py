"""Actors that do what no actor should; each must harm only itself.

``attempts`` says how many first attempts misbehave; later ones have their effect and end.
"""

import _imp
import asyncio
import ctypes
import gc
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import dramatiq
import psutil
from django.db import DatabaseError, connection, transaction
from dramatiq.middleware import Interrupt

from tasks import current
from tasks.models import Task
from tests.acceptance.stage.performance import NAP_SECONDS, nap_until, performance, write

log = logging.getLogger(__name__)

ALWAYS = 1_000
#: Keeps leaked objects alive, so that none is collected by chance.
_kept: list[Any] = []


# --- Interrupts ---------------------------------------------------------------------------------------------------


@dramatiq.actor(min_backoff=100, max_backoff=200)
def chatty(seconds: float = 60, every_ms: float = 5) -> None:
    """Log a line every few milliseconds, for longer than the limit that it is submitted with."""
    with performance():
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            log.warning("still here")
            time.sleep(every_ms / 1000)
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
def stubborn(seconds: float, times: int = ALWAYS, attempts: int = ALWAYS) -> None:
    """Swallow so many interrupts and go on; each is recorded as SWALLOWED."""
    with performance():
        until = time.monotonic() + (seconds if current.attempt() <= attempts else 0)
        while time.monotonic() < until:
            try:
                nap_until(None, until - time.monotonic())
            except Interrupt as interrupt:
                times -= 1
                if times < 0:
                    raise
                write("SWALLOWED", type(interrupt).__name__)
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
async def stubborn_async(seconds: float, times: int = ALWAYS) -> None:
    """Swallow so many cancellations of the coroutine."""
    with performance():
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                await asyncio.sleep(NAP_SECONDS)
            except asyncio.CancelledError:
                times -= 1
                if times < 0:
                    raise
                write("SWALLOWED", "CancelledError")
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
def hold(seconds: float, busy: bool = False, attempts: int = ALWAYS) -> None:
    """Keep the interpreter in one call in C, asleep or busy."""
    with performance():
        if current.attempt() <= attempts:
            _hold_busy(seconds) if busy else ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        write("EFFECT")


def _hold_busy(seconds: float) -> None:
    # In processor time, so that it takes longer on a busy machine and never less.
    began = time.thread_time()
    sum(range(5_000_000))
    sum(range(int(5e6 * seconds / (time.thread_time() - began))))


# --- Ends ---------------------------------------------------------------------------------------------------------


@dramatiq.actor(min_backoff=100, max_backoff=200)
def leave(code: int, attempts: int = ALWAYS) -> None:
    """End the process with a given exit code."""
    with performance():
        if current.attempt() <= attempts:
            os._exit(code)
        write("EFFECT")


@dramatiq.actor(min_backoff=100, max_backoff=200)
async def stop_loop(attempts: int = ALWAYS) -> None:
    """Stop the event loop that it runs in."""
    with performance():
        if current.attempt() <= attempts:
            asyncio.get_running_loop().stop()
            await asyncio.Event().wait()
        write("EFFECT")


class Unprintable(Exception):
    """Raises when its text is read."""

    def __str__(self) -> str:
        """Raise."""
        raise RuntimeError("no words for it")

    __repr__ = __str__


class Deadly(Exception):
    """Exits when its text is read."""

    def __str__(self) -> str:
        """Raise an exception that most handlers do not catch."""
        raise SystemExit(1)

    __repr__ = __str__


class Alien(BaseException):
    """A BaseException that is not an Exception."""


_RAISED: dict[str, Callable[[], BaseException]] = {
    "unprintable": Unprintable,
    "deadly": Deadly,
    "exit": lambda: SystemExit(3),
    "keyboard": KeyboardInterrupt,
    "alien": Alien,
    "generator": GeneratorExit,
    "stop": StopIteration,
}


@dramatiq.actor(min_backoff=100, max_backoff=200, max_retries=1)
def explode(how: str) -> None:
    """Raise an exception that is hard to catch or to print."""
    with performance():
        raise _RAISED[how]()


@dramatiq.actor(min_backoff=100, max_backoff=200, max_retries=1)
async def explode_async(how: str) -> None:
    """Raise such an exception in the event loop."""
    with performance():
        raise _RAISED[how]()


# --- The database -------------------------------------------------------------------------------------------------


@dramatiq.actor(min_backoff=100, max_backoff=200)
def ask() -> int:
    """Query the database by the ORM."""
    with performance():
        count = Task.objects.count()
        write("EFFECT")
        return count


@dramatiq.actor(min_backoff=100, max_backoff=200)
async def ask_async() -> int:
    """Query the database by the asynchronous ORM."""
    with performance():
        count = await Task.objects.acount()
        write("EFFECT")
        return count


@dramatiq.actor(min_backoff=100, max_backoff=200)
def leak(how: str) -> None:
    """Leave a transaction open: ``open``, ``suspended``, ``cycle``, ``nested``, ``broken`` or ``autocommit``."""
    with performance():
        _LEAKS[how]()
        write("EFFECT")


def _within_a_block() -> Generator[None]:
    with transaction.atomic():
        Task.objects.count()
        yield


def _suspended() -> Generator[None]:
    generator = _within_a_block()
    next(generator)
    return generator


def _leak_open() -> None:
    transaction.atomic().__enter__()
    Task.objects.count()


def _leak_suspended() -> None:
    _kept.append(_suspended())


def _leak_cycle() -> None:
    # The garbage collector closes it at some time, in the thread where it happens to run.
    ring: list[Any] = [_suspended()]
    ring.append(ring)


def _leak_nested() -> None:
    _leak_open()
    _leak_open()


def _leak_broken() -> None:
    transaction.atomic().__enter__()
    with suppress(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def _leak_autocommit() -> None:
    transaction.set_autocommit(False)
    Task.objects.count()


_LEAKS: dict[str, Callable[[], None]] = {
    "open": _leak_open,
    "suspended": _leak_suspended,
    "cycle": _leak_cycle,
    "nested": _leak_nested,
    "broken": _leak_broken,
    "autocommit": _leak_autocommit,
}


# --- Processes ----------------------------------------------------------------------------------------------------


@dramatiq.actor
def fork() -> None:
    """Fork; the child returns from the actor like its parent."""
    with performance():
        child = os.fork()
        write("EFFECT" if child else "CHILD", str(child or os.getpid()))


@dramatiq.actor(max_retries=0)
def multiprocess() -> None:
    """Start a process by fork and terminate it, as libraries do."""
    with performance():
        process = multiprocessing.get_context("fork").Process(target=_linger, args=(os.getpid(),))
        process.start()
        assert process.pid is not None
        _await_sleep(psutil.Process(process.pid))
        process.terminate()
        process.join(2)
        if process.exitcode is None:
            process.kill()
            raise AssertionError("SIGTERM did nothing to the process")
        write("EFFECT", str(process.exitcode))


def _linger(parent: int) -> None:
    # As long as its parent lives, which may be killed.
    while os.getppid() == parent:
        time.sleep(1)


def _await_sleep(process: psutil.Process) -> None:
    until = time.monotonic() + 5
    while process.status() != psutil.STATUS_SLEEPING and time.monotonic() < until:
        time.sleep(NAP_SECONDS)


@dramatiq.actor
def deafen(number: int) -> None:
    """Make the process ignore a signal; only C can do that outside the main thread."""
    with performance():
        ctypes.CDLL(None).signal(number, 1)
        write("EFFECT")


# --- Locks --------------------------------------------------------------------------------------------------------


class _Blocker(logging.Handler):
    """A log handler that never returns."""

    def emit(self, record: logging.LogRecord) -> None:
        """Wait for ever while holding the handler's lock."""
        threading.Event().wait()


@dramatiq.actor
def seize(what: str) -> None:
    """Take a lock of the standard library and never release it: ``handlers``, ``logging``, ``queues``, ``import``,
    ``threads``; or put in a logging handler that ``blocks`` for ever.
    """
    with performance():
        _SEIZURES[what]()
        write("EFFECT")


def _seize_handlers() -> None:
    for handler in logging.getLogger().handlers:
        handler.acquire()


def _seize_logging() -> None:
    logging._lock.acquire()  # type: ignore[attr-defined]


def _seize_queues() -> None:
    # Only locks of handlers, as after an interrupt in a logging call; actors cannot take Callboard's own locks.
    for handler in logging.getLogger().handlers:
        mutex = getattr(getattr(handler, "queue", None), "mutex", None)
        if mutex is not None:
            mutex.acquire()


def _seize_import() -> None:
    _imp.acquire_lock()


def _seize_threads() -> None:
    # The state after an interrupt in Thread.start().
    threading._active_limbo_lock.acquire()  # type: ignore[attr-defined]


def _block_logging() -> None:
    logging.getLogger().addHandler(_Blocker())


_SEIZURES: dict[str, Callable[[], object]] = {
    "handlers": _seize_handlers,
    "logging": _seize_logging,
    "queues": _seize_queues,
    "import": _seize_import,
    "threads": _seize_threads,
    "blocks": _block_logging,
}


# --- Traces -------------------------------------------------------------------------------------------------------


@dramatiq.actor
def trace(how: str) -> None:
    """Leave a trace function behind, as a debugger does: for this thread, ``sys``, or for new ones, ``threading``."""
    with performance():
        {"sys": sys.settrace, "threading": threading.settrace}[how](_trace)
        write("EFFECT")


def _trace(*_: Any) -> Any:
    return _trace


@dramatiq.actor
def collect() -> None:
    """Run the garbage collector, in whose thread a leaked generator is closed."""
    with performance():
        gc.collect()
        write("EFFECT")
