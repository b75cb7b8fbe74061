"""The interrupter: stops running actors, at a moment that leaves no lock locked."""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Any

from dramatiq.middleware import Interrupt, TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from tasks.conf import conf
from tasks.worker.execution import Execution


class Cancelled(Interrupt):
    """Raised in a running actor whose task was cancelled."""


#: Least time between two interrupts of one run, so that it can clean up after the first.
CLEAN_UP_SECONDS = 1.0
#: A run that goes on after its time limit is interrupted again after this share of STUCK_AFTER_SECONDS.
REPEAT_SHARE = 0.25
#: How long an interrupt waits for a moment that leaves no lock locked.
SAFE_MOMENT_SECONDS = 2.0
#: Seconds between two looks for such a moment.
LOOK_AGAIN_SECONDS = 0.001
#: How many of a thread's innermost frames are checked.
_INNERMOST = 6
#: Modules that take a lock some instructions before the ``try`` that releases it. An interrupt in between would leave
#: it locked for good.
_LOCKING_MODULES = frozenset(
    {
        "logging", "threading", "queue", "contextlib", "weakref", "_weakrefset", "importlib._bootstrap",
        "concurrent.futures._base", "concurrent.futures.thread", "multiprocessing.synchronize",
        "multiprocessing.queues", "django.db.transaction",
    }
)  # fmt: skip
_LOCKING_NAMES = frozenset({"__enter__", "__exit__", "acquire", "release"})

#: Grows in every process that is a fork of this one.
_generation = 0


def _count_fork() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_count_fork)


class Interrupter:
    """Stops running actors: at their time limit, for a shutdown, for a cancel. One thread for the process.

    An interrupt is raised under the lock that arming and disarming take, and ``disarm`` catches a pending one when
    a run ends. After it none can arrive, so no interrupt hits the next task or the code that records the outcome. Each
    reason is sent once, so that a run which swallows its cancel still meets its time limit; the limit is repeated.
    """

    def __init__(self) -> None:
        # A plain lock, because its __enter__ is C. An interrupt inside a Condition's Python __enter__ would leave it
        # locked.
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._armed: dict[int, Execution] = {}
        self._next_look = inf
        self._is_stopped = False
        self._generation = _generation
        self._thread = threading.Thread(target=self._watch, name="interrupter", daemon=True)

    def start(self) -> None:
        """Start watching deadlines."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._is_stopped = True
        self._wake.set()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def is_copied(self) -> bool:
        """Whether this process is a fork by an actor: a copy of everything except the threads."""
        return self._generation != _generation

    def arm(self, execution: Execution) -> None:
        """Allow interrupts of the calling thread until ``disarm``."""
        limit = execution.claimed.time_limit_seconds
        with self._lock:
            if limit:
                execution.deadline = time.monotonic() + limit
                if execution.deadline < self._next_look:
                    self._wake.set()
            self._armed[id(execution)] = execution
            execution.is_armed = True
            if execution.wanted:
                # A cancel came before the start. This is the last step because it interrupts this very thread.
                self._raise(execution, next(iter(execution.wanted)), time.monotonic())

    def disarm(self, execution: Execution) -> None:
        """Forbid interrupts of the calling thread, and catch a pending one."""
        if self.is_copied:
            # No interrupter thread runs in a fork, and the lock may have been copied in its locked state.
            return
        with self._lock:
            execution.is_armed = False
            self._armed.pop(id(execution), None)
        if execution.interrupts:
            _catch_pending()

    def interrupt(self, execution: Execution, reason: type[Interrupt]) -> None:
        """Raise ``reason`` in the thread that runs ``execution``, or when it starts; each reason is sent once."""
        with self._lock:
            self._want(execution, reason, time.monotonic())
        self._wake.set()

    def interrupt_all(self, reason: type[Interrupt], *, only: Callable[[Execution], bool] = lambda _: True) -> None:
        """Raise ``reason`` in every thread that runs an actor, or only in those that run one of some executions."""
        with self._lock:
            for execution in filter(only, self._armed.values()):
                self._want(execution, reason, time.monotonic())
        self._wake.set()

    def is_stuck(self, execution: Execution) -> bool:
        """Whether a run has exceeded its limit for so long that the sweeper takes its task from this worker."""
        with self._lock:
            late = time.monotonic() - execution.deadline if execution.is_armed and execution.deadline else 0
        return late > conf.STUCK_AFTER_SECONDS

    @property
    def running(self) -> int:
        """How many actors run."""
        return len(self._armed)

    @staticmethod
    def _want(execution: Execution, reason: type[Interrupt], now: float) -> None:
        if reason not in execution.interrupts:
            execution.wanted.setdefault(reason, now)

    def _raise(self, execution: Execution, reason: type[Interrupt], now: float) -> None:
        del execution.wanted[reason]
        execution.interrupts.append(reason)
        execution.interrupted_monotonic = now
        raise_thread_exception(execution.thread_id, reason)  # type: ignore[no-untyped-call]

    def _watch(self) -> None:
        while not self._is_stopped:
            self._wake.clear()
            with self._lock:
                now = time.monotonic()
                self._next_look = min((self._attend(one, now) for one in self._armed.values()), default=inf)
            delay = self._next_look - time.monotonic()
            self._wake.wait(min(max(0.0, delay), threading.TIMEOUT_MAX))

    def _attend(self, execution: Execution, now: float) -> float:
        """Send a run the interrupt that is due; return when to look at it again."""
        deadline = inf if execution.deadline is None else execution.deadline
        if TimeLimitExceeded in execution.interrupts:
            # It swallowed the interrupt, or cleans up for long. Interrupt it once more before it counts as stuck.
            deadline = execution.interrupted_monotonic + max(CLEAN_UP_SECONDS, REPEAT_SHARE * conf.STUCK_AFTER_SECONDS)
        if deadline <= now:
            execution.wanted.setdefault(TimeLimitExceeded, now)
            deadline = inf
        if not execution.wanted:
            return deadline
        reason, since = next(iter(execution.wanted.items()))
        since = max(since, execution.interrupted_monotonic + CLEAN_UP_SECONDS)
        if now < since:
            return min(since, deadline)
        if now < since + SAFE_MOMENT_SECONDS and _may_leave_a_lock(execution.thread_id):
            return now + LOOK_AGAIN_SECONDS
        self._raise(execution, reason, now)
        return now


def _may_leave_a_lock(thread_id: int) -> bool:
    """Tell whether an interrupt could leave a lock locked at the place where a thread is now.

    The thread stays at that place during the check: it waits for the interpreter, which the calling thread has.
    """
    frame = _frames().get(thread_id)
    if frame is not None and frame.f_code.co_name == "wait" and frame.f_globals.get("__name__") == "threading":
        # wait() has released its lock, and takes it again on the way out.
        return False
    for _ in range(_INNERMOST):
        if frame is None or frame.f_code is Execution.run.__code__:
            return False
        if frame.f_code.co_name in _LOCKING_NAMES or frame.f_globals.get("__name__") in _LOCKING_MODULES:
            return True
        frame = frame.f_back
    return False


def _frames() -> dict[int, Any]:
    # Python 3.11 deadlocks if a garbage collection begins in this call (python/cpython#106883).
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()


def _catch_pending() -> None:
    """Let an interrupt that was sent to the calling thread arrive here if it has not arrived yet.

    Clearing it instead would make the interpreter look for it for ever: calls take 1.65 times as long on 3.12, and on
    3.11 a traced thread hangs.
    """
    try:
        for _ in range(100):
            pass
    except Interrupt:
        pass
