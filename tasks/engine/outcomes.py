"""What follows from how a run ended: succeed, retry, die, or neither. Reads an actor's options, writes nothing."""

import traceback as traceback_module
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import dramatiq
import structlog
from django.conf import settings
from dramatiq import Message, Retry
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from tasks.engine.execution import Cancelled, Execution
from tasks.engine.sending import submission_of
from tasks.errors import InvalidTask, Snooze, describe
from tasks.lifecycle import Outcome, Submission
from tasks.payload import check_json
from tasks.registry import seconds
from tasks.retry import MOST_SECONDS, backoff_seconds, may_retry
from tasks.states import AttemptOutcome, DeathReason

log = structlog.get_logger(__name__)

LONGEST_MESSAGE = 10_000
LONGEST_TRACEBACK = 50_000


def outcome_of(execution: Execution, worker_id: UUID) -> Outcome:
    """Decide what an ended run means for its task."""
    error = execution.error
    if error is None:
        return _success(execution, worker_id)
    if isinstance(error, Snooze):
        delay = min(error.delay_seconds, MOST_SECONDS)
        return _outcome(execution, worker_id, AttemptOutcome.SNOOZED, retry_delay_seconds=delay)
    if isinstance(error, Shutdown) and Shutdown in execution.interrupts:
        return _outcome(execution, worker_id, AttemptOutcome.INTERRUPTED, error=error)
    if isinstance(error, Cancelled) and Cancelled in execution.interrupts:
        return _outcome(execution, worker_id, AttemptOutcome.CANCELLED, error=error)
    return _failure(execution, worker_id, error)


def unstorable(execution: Execution, worker_id: UUID, error: BaseException) -> Outcome:
    """Turn an outcome that the database refused into a failure that it takes; asks no code of the user's again."""
    detail = describe(error.errors) if isinstance(error, InvalidTask) and error.errors else str(error)
    refused = ResultNotStorable(_clean(f"the outcome could not be stored: {detail}", LONGEST_MESSAGE))
    failures, claimed = execution.claimed.failures + 1, execution.claimed
    death = None if may_retry(failures, max_retries=claimed.max_retries) else DeathReason.MAX_RETRIES_EXCEEDED
    delay = _retry_delay(refused, failures, execution)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.FAILED,
        error=refused,
        is_failure=True,
        death=death,
        retry_delay_seconds=delay,
    )


def bare(execution: Execution, worker_id: UUID) -> Outcome:
    """Say only that the attempt failed and the task runs again in a minute: when nothing else can be stored."""
    return _outcome(
        execution, worker_id, AttemptOutcome.FAILED, error=ResultNotStorable(), retry_delay_seconds=60, is_failure=True
    )


class ResultNotStorable(Exception):
    """An actor returned what JSON or the database cannot carry."""


def _success(execution: Execution, worker_id: UUID) -> Outcome:
    bounds = {"max_bytes": settings.MAX_RESULT_BYTES, "max_depth": settings.MAX_JSON_DEPTH}
    faults = check_json(execution.result, field="result", **bounds)
    if faults:
        return _failure(execution, worker_id, ResultNotStorable(f"{faults[0].field}: {faults[0].message}"))
    followups = _on_success(execution)
    return _outcome(execution, worker_id, AttemptOutcome.SUCCEEDED, result=execution.result, followups=followups)


def _failure(execution: Execution, worker_id: UUID, error: BaseException) -> Outcome:
    claimed = execution.claimed
    options = _actor_options(claimed.actor)
    failures = claimed.failures + 1
    delay = _retry_delay(error, failures, execution)
    death = _death(error, failures, execution, options, delay)
    is_timeout = isinstance(error, TimeLimitExceeded)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.TIMED_OUT if is_timeout else AttemptOutcome.FAILED,
        error=error,
        is_failure=True,
        death=death,
        retry_delay_seconds=delay,
        followups=_on_failure(execution, error, options, is_exhausted=_is_exhausted(error, options, death)),
    )


def _retry_delay(error: BaseException, failures: int, execution: Execution) -> float:
    if isinstance(error, Retry) and error.delay is not None:
        return min(max(0.0, seconds(error.delay)), MOST_SECONDS)
    claimed = execution.claimed
    return backoff_seconds(failures, minimum=claimed.min_backoff_seconds, maximum=claimed.max_backoff_seconds)


def _death(
    error: BaseException, failures: int, execution: Execution, options: Mapping[str, Any], delay: float
) -> DeathReason | None:
    """Dramatiq's rules in Dramatiq's order: ``throws``, then ``retry_when`` in place of ``max_retries``."""
    claimed = execution.claimed
    throws = options.get("throws")
    if throws and isinstance(error, throws):
        return DeathReason.NOT_RETRYABLE
    wants_retry = _wants_retry(options.get("retry_when"), failures - 1, error)
    if wants_retry is False:
        return DeathReason.NOT_RETRYABLE
    if wants_retry is None and not may_retry(failures, max_retries=claimed.max_retries):
        return (
            DeathReason.TIME_LIMIT_EXCEEDED
            if isinstance(error, TimeLimitExceeded)
            else DeathReason.MAX_RETRIES_EXCEEDED
        )
    finished_at = execution.at(execution.finished_monotonic)
    if claimed.retry_until is not None and finished_at.timestamp() + delay > claimed.retry_until.timestamp():
        return DeathReason.GAVE_UP
    return None


def _wants_retry(retry_when: Any, retries: int, error: BaseException) -> bool | None:
    """Ask an actor's predicate; None if it has none, or if it raises: then ``max_retries`` decides."""
    if retry_when is None:
        return None
    try:
        return bool(retry_when(retries, error))
    except Exception as broken:  # noqa: BLE001 - it is the user's code
        log.warning("retry_when raised; max_retries decides", error=repr(broken)[:500])
        return None


def _is_exhausted(error: BaseException, options: Mapping[str, Any], death: DeathReason | None) -> bool:
    """Tell whether retries have run out, in Dramatiq's sense: what ``throws`` names never had any."""
    throws = options.get("throws")
    return death is not None and not (throws and isinstance(error, throws))


def _outcome(
    execution: Execution, worker_id: UUID, outcome: AttemptOutcome, *, error: BaseException | None = None, **rest: Any
) -> Outcome:
    claimed = execution.claimed
    return Outcome(
        task_id=claimed.id,
        attempt=claimed.attempt,
        worker_id=worker_id,
        outcome=outcome,
        started_at=execution.at(execution.started_monotonic),
        finished_at=execution.at(execution.finished_monotonic),
        actor=claimed.actor,
        error_type="" if error is None else type(error).__name__[:255],
        error_message="" if error is None else _clean(_text(error), LONGEST_MESSAGE),
        traceback="" if error is None else _clean(_traceback(error), LONGEST_TRACEBACK),
        **rest,
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - it is the user's code
        return f"<{type(error).__name__} whose text raises {type(broken).__name__}>"


def _traceback(error: BaseException) -> str:
    try:
        # Without the frames of Dramatiq and ours above the actor's function.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(_ENGINE):
            frames = frames.tb_next
        return "".join(traceback_module.format_exception(type(error), error, frames or error.__traceback__, limit=-30))
    except Exception as broken:  # noqa: BLE001 - it is the user's code
        return f"<the traceback of {type(error).__name__} could not be formatted: {type(broken).__name__}>"


_ENGINE = ("tasks.engine.", "dramatiq.")


def _clean(text: str, longest: int) -> str:
    """Make any text fit for PostgreSQL: no NUL, no lone surrogates, its end if it is too long."""
    text = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= longest else "…" + text[-longest:]


def _actor_options(name: str) -> Mapping[str, Any]:
    actor = dramatiq.get_broker().actors.get(name)
    return {} if actor is None else actor.options


def _on_success(execution: Execution) -> list[Submission]:
    """Dramatiq's ``on_success`` callback and the next message of a pipeline."""
    claimed, options = execution.claimed, _actor_options(execution.claimed.actor)
    followups = []
    callback = claimed.options.get("on_success") or options.get("on_success")
    if callback:
        followups.append(_callback(callback, execution, execution.result))
    target = claimed.options.get("pipe_target")
    if target is not None:
        message: Message[Any] = Message(**target)
        if not (message.options.get("pipe_ignore") or options.get("pipe_ignore")):
            message = message.copy(args=(*message.args, execution.result))
        following = submission_of(message, delay=message.options.get("delay"), trace_id=claimed.trace_id)
        followups.append(replace(following, owner_id=claimed.owner_id, is_followup=True))
    return followups


def _on_failure(
    execution: Execution, error: BaseException, options: Mapping[str, Any], *, is_exhausted: bool
) -> list[Submission]:
    """Dramatiq's ``on_failure`` (every failure) and ``on_retry_exhausted`` (the last one) callbacks."""
    claimed = execution.claimed
    followups = []
    callback = claimed.options.get("on_failure") or options.get("on_failure")
    if callback:
        details = {"type": type(error).__name__, "message": _clean(_text(error), LONGEST_MESSAGE)}
        followups.append(_callback(callback, execution, details))
    callback = claimed.options.get("on_retry_exhausted") or options.get("on_retry_exhausted")
    if callback and is_exhausted:
        limits = {"retries": claimed.failures, "max_retries": claimed.max_retries}
        followups.append(_callback(callback, execution, limits))
    return followups


def _callback(actor: str, execution: Execution, argument: Any) -> Submission:
    claimed = execution.claimed
    message = {
        "queue_name": claimed.queue,
        "actor_name": claimed.actor,
        "args": claimed.args,
        "kwargs": claimed.payload,
        "options": {**claimed.options, "retries": claimed.failures},
        "message_id": str(claimed.id),
        "message_timestamp": int(claimed.claimed_at.timestamp() * 1000),
    }
    return Submission(
        actor=actor,
        args=[message, argument],
        trace_id=claimed.trace_id,
        owner_id=claimed.owner_id,
        is_followup=True,
    )
