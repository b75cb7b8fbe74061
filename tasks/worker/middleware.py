"""Dramatiq middleware: option names that Callboard understands, the capture of outcomes, a worker's start and end."""

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from dramatiq import Actor, Broker, Worker
from dramatiq.middleware import Middleware
from dramatiq.middleware.middleware import MiddlewareError

from tasks import current
from tasks.registry import OWN_OPTIONS
from tasks.worker import event_loop, open_transactions
from tasks.worker.error_report import OpaqueError, report_of

if TYPE_CHECKING:
    from tasks.worker.execution import Execution
    from tasks.worker.flight_recorder import FlightRecorder
    from tasks.worker.runtime import WorkerRuntime


log = structlog.get_logger(__name__)


class Compatibility(Middleware):
    """Declares Dramatiq's option names that Callboard serves by other means, so that actors may use them.

    Limits are columns of the task, callbacks and pipe targets are submitted in the completion's transaction, results
    are always stored, and every actor is interrupted at the end of a shutdown's grace.
    """

    @property
    def actor_options(self) -> set[str]:
        """Names allowed in ``@dramatiq.actor``."""
        return {
            "time_limit", "max_age", "notify_shutdown", "on_success", "on_failure", "pipe_ignore", "pipe_target",
            "store_results", "result_ttl", *OWN_OPTIONS,
        }  # fmt: skip


class InvalidOption(MiddlewareError):
    """An actor's option cannot mean anything; of what hooks raise, Dramatiq lets only this kind through."""


class Retries(Middleware):
    """Declares the options of Dramatiq's Retries with their meaning; ``worker.outcomes`` decides by them.

    A retry is a row with ``run_at``: nothing is enqueued here, so a broker that is down loses no retry.
    """

    @property
    def actor_options(self) -> set[str]:
        """Names allowed in ``@dramatiq.actor``."""
        return {"max_retries", "min_backoff", "max_backoff", "retry_when", "throws", "on_retry_exhausted"}

    def before_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Refuse a ``throws`` that only the first failure would find out about, in the worker thread it would kill."""
        throws = actor.options.get("throws", ())
        try:
            isinstance(None, throws)
        except TypeError as error:
            raise InvalidOption(
                f"actor {actor.actor_name!r}: expected an exception class or a tuple of them as throws, got {throws!r}"
            ) from error


class CaptureOutcome(Middleware):
    """Captures the outcome around the actor's function itself, in the thread that runs it."""

    def __init__(self) -> None:
        self._running = threading.local()

    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Wrap the actor's function; called directly, or by another actor, it is the plain function."""
        running, original = self._running, inspect.unwrap(actor.fn)
        is_async = inspect.iscoroutinefunction(original)
        function = event_loop.blocking(original) if is_async else actor.fn

        @functools.wraps(function)
        def captured(*args: Any, **kwargs: Any) -> Any:
            execution: Execution | None = getattr(running, "execution", None)
            if execution is None or execution.has_started or execution.claimed.actor != actor.actor_name:
                return function(*args, **kwargs)
            before = open_transactions.open_blocks()
            try:
                call = functools.partial(function, *args, **kwargs)
                return execution.run(call, running.interrupter, is_async=is_async)
            except BaseException as error:
                execution.error_report = report = report_of(error, throws=actor.options.get("throws"))
                if report.is_inspectable:
                    raise
            finally:
                # Here, and not in a hook: the first of those to run then would close what is open, and what was closed
                # inside a block refuses every later task.
                open_transactions.tidy(
                    execution, before, error=execution.error, was_interrupted=bool(execution.interrupts)
                )
            log.error(
                "an exception cannot be inspected; a report stands in",
                task_id=str(execution.claimed.id),
                error=report.message,
            )
            # Out of the handler, or the exception would be this one's context. Dramatiq looks at what it handles, so
            # that an exception which raises then would end the thread and the record of the attempt.
            execution.error = OpaqueError(report.message)  # type: ignore[no-untyped-call]
            raise execution.error

        actor.fn = captured

    def before_process_message(self, broker: Broker, message: Any) -> None:
        """Tell the wrapper which execution this thread is about to do."""
        execution: Execution | None = getattr(message, "execution", None)
        if execution is None:
            return
        self._running.execution, self._running.interrupter = execution, message.interrupter
        message.inflight.start(execution)
        # Not at the top: django-dramatiq loads middleware before Django has models.
        from tasks.worker.transaction import completing

        current.enter(execution, functools.partial(completing, execution, message.inflight.worker_id))

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Let go; whatever was raised outside the actor's function counts as its failure."""
        execution = self._detach(message)
        if execution is not None:
            execution.capture_failure(exception)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """A middleware of the user skipped the message: Dramatiq acknowledges such, so it counts as done."""
        execution = self._detach(message)
        if execution is not None:
            execution.skip()

    def _detach(self, message: Any) -> "Execution | None":
        # Of the message, not of the thread: a middleware before ours may have kept our before-hook from running.
        execution: Execution | None = getattr(message, "execution", None)
        if execution is not None:
            self._running.execution = None
            current.leave()
        return execution


class WorkerProcess(Middleware):
    """Makes a process that runs a Dramatiq worker one of ours, however it was started."""

    def __init__(self) -> None:
        self.runtime: WorkerRuntime | None = None
        self._identity: dict[str, Any] = {}

    def configure(self, *, worker_id: UUID, recorder: "FlightRecorder") -> None:
        """Take the identity and the flight recorder that a supervisor gave."""
        self._identity = {"worker_id": worker_id, "recorder": recorder}

    def retire(self) -> None:
        """Let the process end after what it holds, while a fresh one takes over; safe in a signal handler."""
        if self.runtime is not None:
            self.runtime.ask_to_retire()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Join the board and put our consumer and queue in the places of Dramatiq's."""
        # Not at the top: django-dramatiq loads middleware before Django has models.
        from tasks.worker.runtime import WorkerRuntime

        self.runtime = WorkerRuntime(broker, worker, **self._identity)
        self.runtime.start()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Watch the threads that Dramatiq has started by now."""
        assert self.runtime is not None
        self.runtime.watch()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Take nothing more, return what has not started, and give what runs its grace."""
        assert self.runtime is not None
        self.runtime.begin_stop()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Write the last outcomes and leave the board."""
        assert self.runtime is not None
        from tasks.broker.notifier import notifier

        self.runtime.stop()
        notifier.flush()
