"""One run of one claimed task: its clock, its interrupts, and how it ended."""

import ctypes
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from dramatiq.middleware import Interrupt, TimeLimitExceeded
from dramatiq.threading import raise_thread_exception, thread_id_ctype

from tasks.lifecycle import Claimed

R = TypeVar("R")


class Cancelled(Interrupt):
    """Raised in a running actor whose task was cancelled."""


class Resisted(Exception):
    """An ``async def`` actor swallowed its cancellation and still runs; nothing may be said about its attempt."""


class Execution:
    """A claimed task in this process, from the commit of its claim to the commit of its outcome."""

    def __init__(self, claimed: Claimed, *, claimed_monotonic: float) -> None:
        self.claimed = claimed
        self._claimed_monotonic = claimed_monotonic
        self.started_monotonic: float | None = None
        self.finished_monotonic: float | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_captured = False
        #: The actor committed its success itself.
        self.is_completed = False
        self.is_async = False
        self.thread_id = 0
        #: Under the Interrupter's lock.
        self.deadline: float | None = None
        self.is_armed = False
        self.interrupt: type[Interrupt] | None = None

    @property
    def key(self) -> tuple[Any, int]:
        """Task id and attempt number: what the row is fenced by."""
        return (self.claimed.id, self.claimed.attempt)

    @property
    def has_started(self) -> bool:
        """Whether the actor's function was entered."""
        return self.started_monotonic is not None

    def at(self, monotonic: float | None) -> datetime:
        """Turn a moment of this process into the database's time, so that no clock of ours matters."""
        moment = time.monotonic() if monotonic is None else monotonic
        return self.claimed.claimed_at + timedelta(seconds=max(0.0, moment - self._claimed_monotonic))

    def run(self, function: Callable[[], R], interrupter: "Interrupter", *, is_async: bool) -> R:
        """Call the actor's function and capture how it ends, before anything else can go wrong."""
        # An interrupt that arrives between the function's return and our next line would lose the result of a task that
        # succeeded. A defaultdict calls its factory and keeps the result inside C, where no interrupt is delivered.
        results: defaultdict[str, R] = defaultdict(function)
        self.is_async = is_async
        self.started_monotonic = time.monotonic()
        self.thread_id = threading.get_ident()
        try:
            try:
                interrupter.arm(self)
                results["of the actor"]
            finally:
                self._disarm(interrupter)
        except BaseException as error:
            # Once more: an interrupt can hit the very call that was to forbid it.
            self._disarm(interrupter)
            self.finished_monotonic = time.monotonic()
            if results and isinstance(error, Interrupt):
                return self._succeeded(results["of the actor"])
            self._failed(error)
            raise
        self.finished_monotonic = time.monotonic()
        return self._succeeded(results["of the actor"])

    def capture_failure(self, error: BaseException | None) -> None:
        """Note that the run ended outside the actor's function; what the function itself said stays."""
        if not self.is_captured:
            self._failed(error or RuntimeError("the attempt ended without an outcome"))

    def skip(self) -> None:
        """Note that a middleware skipped the run: it ends without a result."""
        if not self.is_captured:
            self._succeeded(None)

    def _succeeded(self, result: R) -> R:
        self.result, self.is_captured = result, True
        return result

    def _failed(self, error: BaseException) -> None:
        if self.is_async and isinstance(error, RuntimeError) and isinstance(error.__cause__, Interrupt):
            # EventLoopThread.run_coroutine() says so when a coroutine outlives its cancellation by a second.
            error = Resisted(str(error))
        self.error, self.is_captured = error, True

    def _disarm(self, interrupter: "Interrupter") -> None:
        while True:
            try:
                interrupter.disarm(self)
            except Interrupt as late:
                # It hit while we were on the way to the lock; it is delivered once, so the next round is the last.
                self.interrupt = type(late)
            else:
                return


class Interrupter:
    """Stops running actors: at their time limit, for a shutdown, for a cancel. One thread for the process.

    An interrupt is raised under the lock that arming and disarming take, and a pending one is cleared under it: after
    ``disarm`` none can arrive, so it never hits a neighbour or the code that records the outcome.
    """

    def __init__(self) -> None:
        # A plain lock, whose __enter__ is C: an interrupt inside a Condition's Python __enter__ would leave it locked.
        self._lock = threading.Lock()
        self._earlier = threading.Event()
        self._armed: dict[int, Execution] = {}
        self._next_deadline = float("inf")
        self._is_stopped = False
        self._thread = threading.Thread(target=self._watch, name="interrupter", daemon=True)

    def start(self) -> None:
        """Begin to watch deadlines."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._is_stopped = True
        self._earlier.set()

    def arm(self, execution: Execution) -> None:
        """Allow interrupts of the calling thread, from now until ``disarm``."""
        limit = execution.claimed.time_limit_seconds
        with self._lock:
            if limit:
                execution.deadline = time.monotonic() + limit
                if execution.deadline < self._next_deadline:
                    self._earlier.set()
            self._armed[id(execution)] = execution
            execution.is_armed = True
            if execution.interrupt is not None:
                # A cancel that came before the start. Last, since it hits this very thread.
                self._raise(execution, execution.interrupt)

    def disarm(self, execution: Execution) -> None:
        """Forbid interrupts of the calling thread and clear one that is under way."""
        with self._lock:
            execution.is_armed = False
            self._armed.pop(id(execution), None)
            _clear_thread_exception(execution.thread_id)

    def interrupt(self, execution: Execution, reason: type[Interrupt]) -> None:
        """Raise ``reason`` in the thread that runs ``execution``, now or as soon as it starts; the first one counts."""
        with self._lock:
            if execution.interrupt is None:
                self._raise(execution, reason)

    def is_stuck(self, execution: Execution) -> bool:
        """Whether a run has outstayed its limit for so long that it is taken from this worker."""
        with self._lock:
            late = time.monotonic() - execution.deadline if execution.is_armed and execution.deadline else 0
        return late > settings.STUCK_AFTER_SECONDS

    @property
    def running(self) -> int:
        """How many actors run."""
        return len(self._armed)

    def interrupt_all(self, reason: type[Interrupt]) -> None:
        """Raise ``reason`` in every thread that runs an actor."""
        with self._lock:
            for execution in self._armed.values():
                if execution.interrupt is None:
                    self._raise(execution, reason)

    def _raise(self, execution: Execution, reason: type[Interrupt]) -> None:
        execution.interrupt = reason
        if execution.is_armed:
            raise_thread_exception(execution.thread_id, reason)  # type: ignore[no-untyped-call]

    def _watch(self) -> None:
        while not self._is_stopped:
            self._earlier.clear()
            with self._lock:
                self._interrupt_late(time.monotonic())
                self._next_deadline = min(self._deadlines(), default=float("inf"))
            delay = self._next_deadline - time.monotonic()
            self._earlier.wait(min(max(0.0, delay), threading.TIMEOUT_MAX))

    def _deadlines(self) -> Iterator[float]:
        for execution in self._armed.values():
            if execution.deadline is not None and execution.interrupt is None:
                yield execution.deadline

    def _interrupt_late(self, now: float) -> None:
        for execution in self._armed.values():
            if execution.deadline is not None and execution.deadline <= now and execution.interrupt is None:
                self._raise(execution, TimeLimitExceeded)


def _clear_thread_exception(thread_id: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(thread_id_ctype(thread_id), None)
