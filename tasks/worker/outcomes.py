"""What follows from how a run ended: succeed, retry, die, or neither. Reads an actor's options, writes nothing.

What comes after the function has returned never runs it again: a result that cannot be kept is dropped with a note, a
follow-up that cannot be submitted is a death. All code of the user's that is asked here (texts of exceptions,
predicates, validators, what a result is made of) is asked on the actor's thread and may raise whatever it likes.
"""

import json
import marshal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

import dramatiq
import structlog
from django.conf import settings
from dramatiq import Message, Retry
from dramatiq.middleware import Interrupt, Shutdown, TimeLimitExceeded

from tasks.broker.send import submission_of
from tasks.errors import CallboardError, Snooze, describe
from tasks.lifecycle import Outcome, Submission
from tasks.lifecycle.submit import checked
from tasks.payload import check_json, encode
from tasks.registry import seconds
from tasks.retry import MOST_SECONDS, Verdict, after_failure
from tasks.states import AttemptOutcome, DeathReason
from tasks.worker.error_report import NO_ERROR, ErrorReport, clean, name_of, report_of, text_of
from tasks.worker.execution import Execution
from tasks.worker.interrupter import Cancelled

log = structlog.get_logger(__name__)

LONGEST_NOTE = 2_000
LONGEST_REASON = 1_000
#: Of the message of a failure that the database refused as it was.
SHORT_MESSAGE = 500

#: What is to be submitted, in words, and what makes the submission.
Followup = tuple[str, Callable[[], Submission]]


class FollowupNotSubmitted(Exception):
    """A task succeeded and its callback, or the next task of its pipeline, cannot be submitted."""


class OutcomeNotStorable(Exception):
    """The database does not take what is to be written about an attempt."""


def outcome_of(execution: Execution, worker_id: UUID) -> Outcome:
    """Decide what an ended run means for its task."""
    error = execution.error
    if error is None:
        return _success(execution, worker_id)
    if _is(error, Snooze):
        delay = min(error.delay_seconds, MOST_SECONDS)  # type: ignore[attr-defined]
        return _outcome(execution, worker_id, AttemptOutcome.SNOOZED, retry_delay_seconds=delay)
    if _is(error, Shutdown) and Shutdown in execution.interrupts:
        return _outcome(execution, worker_id, AttemptOutcome.INTERRUPTED, error=error)
    if _is(error, Cancelled) and Cancelled in execution.interrupts:
        return _outcome(execution, worker_id, AttemptOutcome.CANCELLED, error=error)
    return _failure(execution, worker_id, error)


def undecided(execution: Execution, worker_id: UUID, problem: BaseException) -> Outcome:
    """Say what can be said when ``outcome_of`` raised, and ask no code of the user's again.

    A function that returned is not run again; one that raised is, within ``max_retries``.
    """
    claimed = execution.claimed
    if execution.error is None:
        reason = f"the actor returned, but what follows cannot be told: {_reason(problem)}; it is not run again"
        return _dead(execution, worker_id, FollowupNotSubmitted(reason))
    delay, death = _verdict(execution, max_retries=claimed.max_retries)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.FAILED,
        error=execution.error,
        note=f"what follows from it could not be told: {_reason(problem)}",
        is_failure=True,
        death=death,
        retry_delay_seconds=delay,
    )


def reduced(outcome: Outcome, problem: BaseException) -> Outcome | None:
    """Leave out of an outcome what the database may have refused; None if nothing is left to leave out.

    A success becomes one without a result, then a death: it is never run again. All others keep what was decided, with
    shorter texts, then without their callbacks.
    """
    why = _reason(problem)
    if outcome.result is not None:
        return replace(outcome, result=None, note=_joined(outcome.note, f"the result was not kept: {why}"))
    if outcome.traceback or len(outcome.error_message) > SHORT_MESSAGE:
        message = ascii(outcome.error_message)[1:-1][-SHORT_MESSAGE:]
        note = _joined(outcome.note, f"the error was shortened: {why}")
        return replace(outcome, error_message=message, traceback="", note=note)
    if outcome.ended_as is AttemptOutcome.SUCCEEDED:
        return _refused_success(outcome, why)
    if outcome.followups:
        return replace(outcome, followups=(), note=_joined(outcome.note, f"the callbacks were dropped: {why}"))
    if outcome.error_message or outcome.note:
        return replace(outcome, error_type=ascii(outcome.error_type)[1:-1], error_message="", note="")
    return None


def _refused_success(outcome: Outcome, why: str) -> Outcome:
    error_type, what = OutcomeNotStorable.__name__, "its success could not be stored"
    if outcome.followups:
        actors = ", ".join(one.actor for one in outcome.followups)
        error_type, what = FollowupNotSubmitted.__name__, f"what follows ({actors}) could not be submitted"
    return replace(
        outcome,
        ended_as=AttemptOutcome.FAILED,
        error_type=error_type,
        error_message=clean(f"the actor returned, but {what}: {why}; it is not run again", LONGEST_NOTE),
        is_failure=True,
        death=DeathReason.NOT_RETRYABLE,
        followups=(),
    )


# --- Success ---------------------------------------------------------------------------------------------------------


def _success(execution: Execution, worker_id: UUID) -> Outcome:
    kept, note = _kept_result(execution)
    followups, refused = _submittable(_on_success(execution), execution)
    if refused:
        # Neither on_failure nor on_retry_exhausted is called: the function did what it was to do, and a callback that
        # makes up for a failure would do harm. The dead letter tells whoever cares.
        reason = f"the actor returned, but {'; '.join(refused)}; it is not run again"
        return _dead(execution, worker_id, FollowupNotSubmitted(reason))
    return _outcome(execution, worker_id, AttemptOutcome.SUCCEEDED, result=kept, note=note, followups=followups)


def _dead(execution: Execution, worker_id: UUID, error: Exception) -> Outcome:
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.FAILED,
        error=error,
        is_failure=True,
        death=DeathReason.NOT_RETRYABLE,
    )


def _kept_result(execution: Execution) -> tuple[Any, str]:
    """Give the result in plain JSON values, or None and why it is not kept."""
    if execution.result is None or not _keeps_results(execution):
        return None, ""
    bounds = {"max_bytes": settings.MAX_RESULT_BYTES, "max_depth": settings.MAX_JSON_DEPTH}
    try:
        faults = check_json(execution.result, field="result", **bounds)
        if not faults:
            return _plain(execution.result), ""
        why = f"{faults[0].field}: {faults[0].message}"
    except BaseException as error:  # noqa: BLE001 - what a result is made of is the user's code
        _let_interrupts_by(error, execution)
        why = f"it cannot be read: {_reason(error)}"
    return None, f"the result was not kept: {clean(why, LONGEST_REASON)}"


def _keeps_results(execution: Execution) -> bool:
    """Heed Dramatiq's ``store_results``, of the message before that of the actor; results are kept by default."""
    given = (options.get("store_results") for options in _options(execution))
    return bool(next((value for value in given if value is not None), True))


def _plain(value: Any) -> Any:
    """Copy a JSON value, so that who writes it calls no code of the user's, and no actor's thread still changes it."""
    try:
        # A tenth of what JSON takes; it knows the built-in types themselves, and no class that was made from one.
        return marshal.loads(marshal.dumps(value))  # noqa: S302 - our own bytes
    except ValueError:
        return json.loads(encode(value))


# --- Failure ---------------------------------------------------------------------------------------------------------


def _failure(execution: Execution, worker_id: UUID, error: BaseException) -> Outcome:
    claimed = execution.claimed
    options = _actor_options(claimed.actor)
    delay, death = _what_follows(error, execution, options)
    is_exhausted = death is not None and not _is_thrown(error, options)
    followups, refused = _submittable(_on_failure(execution, error, is_exhausted=is_exhausted), execution)
    for reason in refused:
        log.error("a callback is dropped; the failure stays what it is", task_id=str(claimed.id), error=reason)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.TIMED_OUT if _is(error, TimeLimitExceeded) else AttemptOutcome.FAILED,
        error=error,
        is_failure=True,
        death=death,
        retry_delay_seconds=delay,
        note="; ".join(refused),
        followups=followups,
    )


def _what_follows(error: BaseException, execution: Execution, options: Mapping[str, Any]) -> Verdict:
    """Dramatiq's rules in Dramatiq's order: ``throws``, then ``retry_when`` in place of ``max_retries``."""
    claimed = execution.claimed
    is_thrown, is_timeout = _is_thrown(error, options), _is(error, TimeLimitExceeded)
    wants_retry = None if is_thrown else _wants_retry(options.get("retry_when"), claimed.failures, error)
    verdict = _verdict(
        execution,
        max_retries=claimed.max_retries if wants_retry is None else None,
        delay_seconds=_named_delay(error),
        failed_at=execution.at(execution.finished_monotonic),
        retry_until=claimed.retry_until,
        exhausted=DeathReason.TIME_LIMIT_EXCEEDED if is_timeout else DeathReason.MAX_RETRIES_EXCEEDED,
    )
    return verdict._replace(death=DeathReason.NOT_RETRYABLE) if is_thrown or wants_retry is False else verdict


def _named_delay(error: BaseException) -> float | None:
    """Read the delay that a ``dramatiq.Retry`` names; None if the backoff decides."""
    if not _is(error, Retry):
        return None
    try:
        delay = error.delay  # type: ignore[attr-defined]
        return None if delay is None else min(max(0.0, seconds(delay)), MOST_SECONDS)
    except BaseException as broken:  # noqa: BLE001 - it is the user's class
        log.warning("a retry names no delay that can be read; the backoff decides", error=_reason(broken))
        return None


def _verdict(execution: Execution, **rules: Any) -> Verdict:
    claimed = execution.claimed
    return after_failure(
        claimed.failures + 1,
        min_backoff_seconds=claimed.min_backoff_seconds,
        max_backoff_seconds=claimed.max_backoff_seconds,
        **rules,
    )


def _is_thrown(error: BaseException, options: Mapping[str, Any]) -> bool:
    """Tell whether ``throws`` names it, or nothing of it can be mended by another run; it never had any retries."""
    if _is(error, FollowupNotSubmitted):
        # From complete_in_transaction(): what cannot be submitted now cannot be submitted by the next attempt.
        return True
    throws: Any = options.get("throws") or ()
    try:
        return isinstance(error, throws)
    except BaseException as broken:  # noqa: BLE001 - it is the user's class
        log.warning("an error cannot be compared with throws; max_retries decides", error=_reason(broken))
        return False


def _wants_retry(retry_when: Any, retries: int, error: BaseException) -> bool | None:
    """Ask an actor's predicate; None if it has none, or if it raises: then ``max_retries`` decides."""
    if retry_when is None:
        return None
    try:
        return bool(retry_when(retries, error))
    except BaseException as broken:  # noqa: BLE001 - it is the user's code
        log.warning("retry_when raised; max_retries decides", error=_reason(broken))
        return None


# --- Follow-ups ------------------------------------------------------------------------------------------------------


def _submittable(wanted: Iterable[Followup], execution: Execution) -> tuple[list[Submission], list[str]]:
    """Check follow-ups, and say which cannot be submitted and why.

    Here and not when they are written: a validator is the user's code, and the thread that writes is everybody's.
    """
    ready, refused = [], []
    for name, make in wanted:
        try:
            submission = make()
            row = checked(submission)
            ready.append(replace(submission, row={**row, "args": _plain(row["args"])}))
        except BaseException as error:  # noqa: BLE001 - a validator is the user's code
            _let_interrupts_by(error, execution)
            refused.append(f"{name} cannot be submitted: {_reason(error)}")
    return ready, refused


def _on_success(execution: Execution) -> Iterator[Followup]:
    """Dramatiq's ``on_success`` callback and the next message of a pipeline."""
    callback = _callback_named("on_success", execution)
    if callback:
        yield f"on_success {callback!r:.100}", partial(_callback, callback, execution, execution.result)
    target = execution.claimed.options.get("pipe_target")
    if target is not None:
        name = target.get("actor_name") if isinstance(target, dict) else target
        yield f"pipe_target {name!r:.100}", partial(_next_of_pipeline, target, execution)


def _next_of_pipeline(target: Mapping[str, Any], execution: Execution) -> Submission:
    claimed = execution.claimed
    message: Message[Any] = Message(**target)
    if not (message.options.get("pipe_ignore") or _actor_options(claimed.actor).get("pipe_ignore")):
        message = message.copy(args=(*message.args, execution.result))
    following = submission_of(message, delay=message.options.get("delay"), trace_id=claimed.trace_id)
    return replace(following, owner_id=claimed.owner_id, is_followup=True)


def _on_failure(execution: Execution, error: BaseException, *, is_exhausted: bool) -> Iterator[Followup]:
    """Dramatiq's ``on_failure`` (every failure) and ``on_retry_exhausted`` (the last one) callbacks."""
    claimed = execution.claimed
    callback = _callback_named("on_failure", execution)
    if callback:
        details = {"type": name_of(error), "message": text_of(error)}
        yield f"on_failure {callback!r:.100}", partial(_callback, callback, execution, details)
    callback = _callback_named("on_retry_exhausted", execution)
    if callback and is_exhausted:
        limits = {"retries": claimed.failures, "max_retries": claimed.max_retries}
        yield f"on_retry_exhausted {callback!r:.100}", partial(_callback, callback, execution, limits)


def _callback_named(option: str, execution: Execution) -> Any:
    of_message, of_actor = _options(execution)
    return of_message.get(option) or of_actor.get(option)


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


# --- What all of them need -------------------------------------------------------------------------------------------


def _outcome(
    execution: Execution,
    worker_id: UUID,
    outcome: AttemptOutcome,
    *,
    error: BaseException | None = None,
    note: str = "",
    **rest: Any,
) -> Outcome:
    claimed, report = execution.claimed, _report(execution, error)
    return Outcome(
        task_id=claimed.id,
        attempt=claimed.attempt,
        worker_id=worker_id,
        ended_as=outcome,
        started_at=execution.at(execution.started_monotonic),
        finished_at=execution.at(execution.finished_monotonic),
        actor=claimed.actor,
        note=_joined(execution.note, note),
        error_type=report.error_type,
        error_message=report.message,
        traceback=report.traceback,
        **rest,
    )


def _report(execution: Execution, error: BaseException | None) -> ErrorReport:
    if error is None:
        return NO_ERROR
    return execution.error_report if execution.error_report and error is execution.error else report_of(error)


def _joined(*notes: str) -> str:
    present = [note for note in notes if note]
    return clean("; ".join(present), LONGEST_NOTE) if present else ""


def _is(error: BaseException, kind: type[BaseException]) -> bool:
    # Not isinstance(): it asks the exception for its __class__.
    return issubclass(type(error), kind)


def _let_interrupts_by(error: BaseException, execution: Execution) -> None:
    """Raise what was sent to the actor's thread: in ``complete_in_transaction()`` the function still runs."""
    if execution.is_armed and _is(error, Interrupt):
        raise error


def _reason(error: BaseException) -> str:
    """Say in a line why something was refused."""
    if _is(error, CallboardError):
        errors = getattr(error, "errors", ())
        return clean(describe(errors) if errors else text_of(error), LONGEST_REASON)
    # Of what the database says the first line only: the next ones quote the row.
    lines = text_of(error).splitlines()
    return clean(f"{name_of(error)}: {lines[0] if lines else ''}".removesuffix(": "), LONGEST_REASON)


def _options(execution: Execution) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Options of the message and of its actor."""
    return execution.claimed.options, _actor_options(execution.claimed.actor)


def _actor_options(name: str) -> Mapping[str, Any]:
    actor = dramatiq.get_broker().actors.get(name)
    return {} if actor is None else actor.options
