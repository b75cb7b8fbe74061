"""Dramatiq middleware: option names that Callboard understands, the capture of outcomes, a worker's start and end."""

import functools
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from dramatiq import Actor, Broker, Worker
from dramatiq import middleware as stock
from dramatiq.middleware import Middleware
from dramatiq.middleware.middleware import MiddlewareError

from tasks import current, registry
from tasks.log import get_logger
from tasks.registry import OWN_OPTIONS, check_options, check_retry_policies, check_unique
from tasks.worker import event_loop, open_transactions
from tasks.worker.error_report import OpaqueError, report_of

if TYPE_CHECKING:
    from tasks.worker.execution import Execution, Guard
    from tasks.worker.flight_recorder import FlightRecorder
    from tasks.worker.runtime import WorkerRuntime


log = get_logger(__name__)


class Compatibility(Middleware):
    """Declares Dramatiq's option names that Callboard implements elsewhere, so that actors may use them.

    Limits are columns of the task. Callbacks and pipe targets are submitted in the completion's transaction. Results
    are stored unless ``store_results`` is False. With ``notify_shutdown`` an actor is interrupted when a shutdown
    begins, without it at the end of the grace period, and never if it is False.
    """

    #: Where ``add_middleware(before=…, after=…)`` names one of these, this one is meant.
    in_place_of = (stock.AgeLimit, stock.TimeLimit, stock.ShutdownNotifications, stock.Callbacks, stock.Pipelines)

    @property
    def actor_options(self) -> set[str]:
        """Names allowed in ``@dramatiq.actor``."""
        return {
            "time_limit", "max_age", "notify_shutdown", "on_success", "on_failure", "pipe_ignore", "pipe_target",
            "store_results", "result_ttl", "broker_priority", *OWN_OPTIONS,
        }  # fmt: skip

    def before_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Refuse options now that no task could be submitted with."""
        try:
            check_options(actor.actor_name, actor.options, priority=actor.priority)
            check_unique(actor)
            for policy in check_retry_policies(actor):
                if policy.queue is not None:
                    # Or nobody would serve it.
                    broker.declare_queue(policy.queue)
        except ValueError as error:
            raise InvalidOption(str(error)) from error


class InvalidOption(MiddlewareError):
    """An actor's option is invalid. Dramatiq swallows every other kind of exception that a hook raises."""


class Retries(Middleware):
    """Declares the options of Dramatiq's Retries; ``worker.outcomes`` decides by them, with the same meaning.

    A retry is a row with ``run_at``. Nothing is enqueued here, so a broker that is down loses no retry.
    """

    in_place_of = (stock.Retries,)

    @property
    def actor_options(self) -> set[str]:
        """Names allowed in ``@dramatiq.actor``."""
        return {"max_retries", "min_backoff", "max_backoff", "retry_when", "throws", "on_retry_exhausted"}

    def before_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Refuse an invalid ``throws`` now; otherwise the first failure would end its worker thread."""
        throws = actor.options.get("throws", ())
        try:
            isinstance(None, throws)
        except TypeError as error:
            raise InvalidOption(
                f"actor {actor.actor_name!r}: expected an exception class or a tuple of them as throws, got {throws!r}"
            ) from error

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Show hooks what Dramatiq's Retries shows them: the marks of the failure, a failed message, or a retry."""
        if exception is not None and hasattr(message, "execution"):
            self._show_failure(broker, message)

    def _show_failure(self, broker: Broker, message: Any) -> None:
        # Not at the top: django-dramatiq loads middleware before Django has models.
        from tasks.worker.outcomes import verdict_of

        verdict = verdict_of(message.execution)
        if verdict is None:
            return
        message.options.update(message.execution.marks)
        if verdict.death is not None:
            message.fail()
            return
        # A retry is a row. Dramatiq would enqueue it, and tells hooks so.
        delay = int(verdict.delay_seconds * 1000)
        broker.emit_before("enqueue", message, delay)
        broker.emit_after("enqueue", message, delay)


class CaptureOutcome(Middleware):
    """Captures the outcome around the actor's function itself, in the thread that runs it."""

    def __init__(self) -> None:
        self._running = threading.local()

    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        """Wrap the actor's function; direct calls, also by other actors, still run the function as it was declared."""
        actor.logger.addFilter(_without_arguments)
        running, given, declared = self._running, actor.fn, registry.declared(actor.fn)
        is_async = inspect.iscoroutinefunction(declared)

        def convert_and_call(*args: Any, **kwargs: Any) -> Any:
            # Here and not before, because hooks are shown the JSON, and a validator is the user's code.
            args, kwargs = registry.arguments_of(actor).convert(args, kwargs)
            return function(*args, **kwargs)

        def captured(*args: Any, **kwargs: Any) -> Any:
            execution: Execution | None = getattr(running, "execution", None)
            if execution is None or execution.has_started or execution.claimed.actor != actor.actor_name:
                return function(*args, **kwargs)
            call = functools.partial(convert_and_call, *args, **kwargs)
            return _run(execution, call, running.interrupter, is_async=is_async, throws=actor.options.get("throws"))

        # A wrapper that another middleware has put around it stays.
        is_known = registry.is_made_by_dramatiq(given) or getattr(given, "__code__", None) is captured.__code__
        function = event_loop.blocking(declared) if is_async and is_known else given
        functools.update_wrapper(captured, function)
        captured.declared_as = declared  # type: ignore[attr-defined]
        actor.fn = captured

    def before_process_message(self, broker: Broker, message: Any) -> None:
        """Tell the wrapper which execution this thread is about to run."""
        execution: Execution | None = getattr(message, "execution", None)
        if execution is None:
            return
        self._running.execution, self._running.interrupter, inflight = execution, message.interrupter, message.inflight
        inflight.start(execution)
        # Not at the top: django-dramatiq loads middleware before Django has models.
        from tasks.worker.transaction import completing

        complete = functools.partial(completing, execution, inflight.worker_id)
        current.enter(execution, complete, worker_id=inflight.worker_id, reported=inflight.reported)
        if observer := execution.actor_options.get("observer"):
            observer.started(execution, worker_id=inflight.worker_id)

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Detach the execution; an exception outside the actor's function counts as its failure."""
        # From the message, not from the thread: an earlier middleware may have kept the before-hook from running.
        execution: Execution | None = getattr(message, "execution", None)
        if execution is not None:
            if exception is not None:
                execution.capture_failure(exception)
            self._detach(execution)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        """Detach the execution of a skipped message, whose task is cancelled: it was not done."""
        execution: Execution | None = getattr(message, "execution", None)
        if execution is not None:
            execution.skip(sys.exception())
            self._detach(execution)

    def _detach(self, execution: "Execution") -> None:
        try:
            if observer := execution.actor_options.get("observer"):
                observer.ended(execution)
        finally:
            self._running.execution = None
            current.leave()


def _without_arguments(record: logging.LogRecord) -> bool:
    """Leave the arguments out of the line that Dramatiq writes for each call at debug level."""
    if str(record.msg).startswith("Received args="):
        record.msg, record.args = "Received.", ()
    return True


def _run(execution: "Execution", call: Callable[[], Any], guard: "Guard", *, is_async: bool, throws: Any) -> Any:
    before = open_transactions.open_blocks()
    try:
        return execution.run(call, guard, is_async=is_async)
    except BaseException as error:
        execution.error_report = report = report_of(error, throws=throws)
        if report.is_inspectable:
            raise
    finally:
        # Not in a hook: another hook may run first and close a connection inside its transaction, which then refuses
        # every later task.
        open_transactions.tidy(execution, before, error=execution.error, was_interrupted=bool(execution.interrupts))
    task_id = str(execution.claimed.id)
    log.error("an exception cannot be inspected; a report replaces it", task_id=task_id, error=report.message)
    # Outside the handler, or the original exception would be the context of this one. Dramatiq inspects what it
    # handles, and an exception that raises then would end the thread and leave the attempt without an outcome.
    execution.error = OpaqueError(report.message)  # type: ignore[no-untyped-call]
    raise execution.error


class WorkerProcess(Middleware):
    """Makes every process that runs a Dramatiq worker a Callboard worker, however it was started."""

    def __init__(self) -> None:
        self.runtime: WorkerRuntime | None = None
        self._identity: dict[str, Any] = {}

    def configure(self, *, worker_id: UUID, recorder: "FlightRecorder") -> None:
        """Set the identity and the flight recorder that the supervisor has assigned."""
        self._identity = {"worker_id": worker_id, "recorder": recorder}

    def retire(self) -> None:
        """Let the process end after the tasks it holds while a fresh one takes over; safe in a signal handler."""
        if self.runtime is not None:
            self.runtime.ask_to_retire()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Join the registry, and replace Dramatiq's consumer and work queue."""
        # Not at the top: django-dramatiq loads middleware before Django has models.
        from tasks.worker.runtime import WorkerRuntime

        self.runtime = WorkerRuntime(broker, worker, **self._identity)
        self.runtime.start()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Watch the threads that Dramatiq has started by now."""
        assert self.runtime is not None
        self.runtime.watch()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop claiming, put back what has not started, and let running tasks have their grace period."""
        assert self.runtime is not None
        self.runtime.begin_stop()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Write the last outcomes and leave the registry."""
        assert self.runtime is not None
        from tasks.broker.notifier import notifier
        from tasks.telemetry.task_stats import recorder

        self.runtime.stop()
        notifier.flush()
        recorder.flush()
