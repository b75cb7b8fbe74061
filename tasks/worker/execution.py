"""One execution of one claimed task: its clock, its interrupts, and how it ended."""

import os
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from math import inf
from types import MappingProxyType
from typing import Any, NoReturn, Protocol, TypeVar

import dramatiq
from dramatiq import Message
from dramatiq.middleware import Interrupt, SkipMessage

from tasks.current.running import Report
from tasks.lifecycle import Claimed
from tasks.queries.parents import Parents
from tasks.retry import Verdict
from tasks.worker.error_report import ErrorReport, is_kind, report_of

R = TypeVar("R")


#: Dramatiq's worker would take the first for its own delay and pass the second to isinstance().
_NOT_FOR_DRAMATIQ = frozenset({"eta", "throws"})
#: How long a forked copy of an actor has to write what it printed.
LAST_WORDS_SECONDS = 1.0


class Resisted(Exception):
    """An ``async def`` actor swallowed its cancellation and still runs, so its attempt cannot get an outcome."""


class Rejected(Exception):
    """A middleware called ``message.fail()``."""


class Guard(Protocol):
    """The part of an ``Interrupter`` that a run needs."""

    @property
    def is_copied(self) -> bool:
        """Whether this process is a fork by an actor."""

    def arm(self, execution: "Execution") -> None:
        """Allow interrupts of the calling thread until ``disarm``."""

    def disarm(self, execution: "Execution") -> None:
        """Forbid interrupts of the calling thread, and catch a pending one."""


class Execution:
    """A claimed task in this process, from the commit of its claim to the commit of its outcome."""

    #: Whether a middleware skipped the run, or failed its message, which then runs no more.
    is_skipped = is_rejected = False
    #: What the options of its message tell of earlier failures, by Dramatiq's names.
    marks: Mapping[str, Any] = MappingProxyType({})
    #: What follows its failure, once that is decided.
    verdict: Verdict | None = None

    def __init__(self, claimed: Claimed, *, claimed_monotonic: float) -> None:
        self.claimed = claimed
        self._claimed_monotonic = claimed_monotonic
        self.started_monotonic: float | None = None
        self.finished_monotonic: float | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_captured = False
        #: Sentences in the attempt's record beside its outcome; see ``remark``.
        self.note = ""
        #: What is recorded about its error, once the actor has raised one.
        self.error_report: ErrorReport | None = None
        #: Whether the actor has committed its success itself.
        self.is_completed = False
        self.is_async = False
        #: What the actor told of itself, once it did.
        self.told: Report | None = None
        self.thread_id = 0
        #: Guarded by the Interrupter's lock, as the rest below.
        self.deadline: float | None = None
        self.is_armed = False
        #: Interrupts that are requested, with the time from which they may be sent; then those sent, in order.
        self.wanted: dict[type[Interrupt], float] = {}
        self.interrupts: list[type[Interrupt]] = []
        self.interrupted_monotonic = -inf

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether an interrupt was requested or sent."""
        return bool(self.wanted or self.interrupts)

    @property
    def parents(self) -> Parents:
        """The tasks that the task depended on."""
        return Parents(self.claimed.id)

    @property
    def key(self) -> tuple[Any, int]:
        """Task id and attempt number, by which every write to the row is fenced."""
        return (self.claimed.id, self.claimed.attempt)

    @property
    def report(self) -> Report:
        """Its progress and log lines."""
        if self.told is None:
            self.told = Report(self.claimed.attempt)
        return self.told

    @property
    def has_started(self) -> bool:
        """Whether the actor's function was entered."""
        return self.started_monotonic is not None

    def at(self, monotonic: float | None) -> datetime:
        """Convert a moment of this process to the database's time, so that this machine's clock does not matter."""
        moment = time.monotonic() if monotonic is None else monotonic
        return self.claimed.claimed_at + timedelta(seconds=max(0.0, moment - self._claimed_monotonic))

    @property
    def actor_options(self) -> Mapping[str, Any]:
        """Dramatiq options of the task's actor; empty if this process does not know the actor."""
        actor = dramatiq.get_broker().actors.get(self.claimed.actor)
        return {} if actor is None else actor.options

    @property
    def notify_shutdown(self) -> bool | None:
        """Dramatiq's option: whether a shutdown interrupts it at once, or never; None lets it have the grace period."""
        given = self.claimed.options.get("notify_shutdown", self.actor_options.get("notify_shutdown"))
        return None if given is None else bool(given)

    def message(self) -> Message[Any]:
        """Make the Dramatiq message as it was sent, with the marks of earlier failures in its options."""
        claimed = self.claimed
        return Message(
            queue_name=claimed.queue,
            actor_name=claimed.actor,
            args=tuple(claimed.args),
            kwargs=claimed.payload,
            options={
                **{name: value for name, value in claimed.options.items() if name not in _NOT_FOR_DRAMATIQ},
                **self.marks,
            },
            message_id=claimed.message_id or str(claimed.id),
            # The id was made with the message; its first 48 bits are milliseconds since 1970.
            message_timestamp=claimed.id.int >> 80,
        )

    def remark(self, note: str) -> None:
        """Add a sentence to the attempt's record, beside its outcome."""
        self.note = f"{self.note}; {note}" if self.note else note

    def run(self, function: Callable[[], R], guard: Guard, *, is_async: bool) -> R:
        """Call the actor's function, and capture how it ends before anything else can go wrong."""
        # An interrupt between the function's return and the next line would lose the result of a task that succeeded.
        # A defaultdict calls its factory and keeps the result inside C, where no interrupt is delivered.
        results: defaultdict[str, R] = defaultdict(function)
        self.is_async = is_async
        self.started_monotonic = time.monotonic()
        self.thread_id = threading.get_ident()
        try:
            try:
                guard.arm(self)
                results["of the actor"]
            finally:
                self._disarm(guard)
        except BaseException as error:
            # Once more, because an interrupt can hit the very call that should forbid it.
            self._disarm(guard)
            self.finished_monotonic = time.monotonic()
            if not (results and isinstance(error, Interrupt)):
                if guard.is_copied:
                    _end_copy(error)
                self._failed(error)
                raise
        if guard.is_copied:
            _end_copy(None)
        self.finished_monotonic = time.monotonic()
        return self._succeeded(results["of the actor"])

    def count_failure(self) -> None:
        """Mark its failure for the hooks of middleware and for callbacks, as Dramatiq does."""
        report = self.error_report or report_of(self.error)  # type: ignore[arg-type]
        self.marks = {
            "retries": self.claimed.failures + 1,
            "traceback": report.traceback,
            "requeue_timestamp": int(self.at(self.finished_monotonic).timestamp() * 1000),
        }

    def raise_interrupt(self, error: BaseException) -> None:
        """Raise an interrupt again while the function still runs, as in ``complete_in_transaction()``."""
        if self.is_armed and is_kind(error, Interrupt):
            raise error

    def capture_failure(self, error: BaseException | None) -> None:
        """Note that the run ended outside the actor's function; an outcome of the function itself stays."""
        if not self.is_captured:
            self._failed(error or RuntimeError("the attempt ended without an outcome"))

    def skip(self, reason: BaseException | None = None) -> None:
        """Note that a middleware, or the actor itself, skipped the run with Dramatiq's SkipMessage."""
        if not self.is_captured:
            self._failed(reason or SkipMessage("a middleware skipped the run"))
        # An actor may have returned before a hook skipped: its success stays.
        self.is_skipped = self.error is not None and is_kind(self.error, SkipMessage)

    def reject(self, error: BaseException | None) -> None:
        """Note that a hook failed the message, which is Dramatiq's word for: to the dead letters."""
        self.capture_failure(error or Rejected("a middleware failed the message before its run"))
        self.is_rejected, self.is_skipped = True, False

    def _succeeded(self, result: R) -> R:
        self.result, self.is_captured = result, True
        return result

    def _failed(self, error: BaseException) -> None:
        if self.is_async and isinstance(error, RuntimeError) and isinstance(error.__cause__, Interrupt):
            # EventLoopThread.run_coroutine() raises this when a coroutine outlives its cancellation by a second.
            error = Resisted(str(error))
        self.error, self.is_captured = error, True

    def _disarm(self, guard: Guard) -> None:
        while True:
            try:
                guard.disarm(self)
            except Interrupt:
                # It arrived before disarm() had the lock. Under the lock none is sent, so the loop ends.
                continue
            else:
                return


def _end_copy(error: BaseException | None) -> NoReturn:
    """End a forked process whose copy of the actor has returned; it must not go on as a second worker."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        code = 1
    # In a thread: the fork may have copied a stream while another thread held its lock, and to flush it takes for ever.
    last_words = threading.Thread(target=_say_last_words, args=(error,), daemon=True)
    with suppress(RuntimeError):
        # There may be no memory left for a thread.
        last_words.start()
        last_words.join(LAST_WORDS_SECONDS)
    os._exit(code)


def _say_last_words(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
