"""Outcomes: decides what follows the end of a run (success, retry, death, or neither); the completer writes it.

Nothing that happens after the function has returned runs it again. A result that cannot be kept is dropped with a
note, and a follow-up that cannot be submitted is a death. The user's code that is called here (texts of exceptions,
predicates, validators, a result's own methods) runs on the actor's thread and may raise anything.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from dramatiq import Retry
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from tasks.conf import conf
from tasks.errors import GiveUp, Snooze, Suspended
from tasks.lifecycle import Outcome, Submission
from tasks.log import get_logger
from tasks.payload import check_json, plain_copy
from tasks.registry import seconds
from tasks.retry import MOST_SECONDS, RetryPolicy, Verdict, after_failure
from tasks.states import AttemptOutcome, DeathReason
from tasks.worker.error_report import LONGEST_REASON, NO_ERROR, ErrorReport, clean, is_kind, reason_of, report_of
from tasks.worker.execution import Execution, Rejected, Resisted
from tasks.worker.followups import (
    FollowupNotSubmitted,
    after_death,
    after_failed_run,
    after_success,
    at_the_end_of_group,
    submittable,
)
from tasks.worker.interrupter import Cancelled

log = get_logger(__name__)

LONGEST_NOTE = 2_000
#: Length to which the message of a failure is cut if the database refuses the whole.
SHORT_MESSAGE = 500


#: Of a run that returned, and whose message a hook failed then.
REJECTED_AFTERWARDS = Rejected("the actor returned, but a middleware failed its message; it is not run again")


class OutcomeNotStorable(Exception):
    """The database refuses the outcome of an attempt."""


def outcome_of(execution: Execution, worker_id: UUID) -> Outcome:
    """Decide what an ended run means for its task."""
    error = execution.error
    if error is None and not execution.is_rejected:
        return _success(execution, worker_id)
    if error is None or (execution.is_rejected and not execution.has_started):
        return _dead(execution, worker_id, error or REJECTED_AFTERWARDS)
    if execution.is_skipped:
        return _outcome(execution, worker_id, AttemptOutcome.CANCELLED, error=error)
    if is_kind(error, Snooze):
        delay = min(error.delay_seconds, MOST_SECONDS)  # type: ignore[attr-defined]
        signal = error.signal if is_kind(error, Suspended) else ""  # type: ignore[attr-defined]
        return _outcome(execution, worker_id, AttemptOutcome.SNOOZED, retry_delay_seconds=delay, waits_for=signal)
    if is_kind(error, Shutdown) and Shutdown in execution.interrupts:
        return _outcome(execution, worker_id, AttemptOutcome.INTERRUPTED, error=error)
    if is_kind(error, Cancelled) and Cancelled in execution.interrupts:
        return _outcome(execution, worker_id, AttemptOutcome.CANCELLED, error=error)
    return _failure(execution, worker_id, error)


def verdict_of(execution: Execution) -> Verdict | None:
    """Decide what follows a failed run; None if it did not fail, or not by its own doing.

    It is decided once, for the hooks of middleware and for the row: a predicate of the actor is asked.
    """
    error = execution.error
    if error is None or execution.is_completed or is_kind(error, Resisted) or _is_no_failure(execution, error):
        return None
    if execution.verdict is None:
        execution.verdict = _what_follows(error, execution, execution.actor_options)
        if not _is_thrown(error, execution.actor_options):
            execution.count_failure()
    return execution.verdict


def _is_no_failure(execution: Execution, error: BaseException) -> bool:
    return (
        execution.is_skipped
        or is_kind(error, Snooze)
        or any(is_kind(error, kind) and kind in execution.interrupts for kind in (Shutdown, Cancelled))
    )


def undecided(execution: Execution, worker_id: UUID, problem: BaseException) -> Outcome:
    """Make an outcome without the user's code, for a run for which ``outcome_of`` raised.

    A function that returned is not run again; one that raised is, within ``max_retries``.
    """
    claimed = execution.claimed
    if execution.error is None:
        reason = f"the actor returned, but its outcome cannot be decided: {reason_of(problem)}; it is not run again"
        return _dead(execution, worker_id, FollowupNotSubmitted(reason))
    delay, death = _verdict(execution, max_retries=claimed.max_retries)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.FAILED,
        error=execution.error,
        note=f"its outcome could not be decided: {reason_of(problem)}",
        is_failure=True,
        death=death,
        retry_delay_seconds=delay,
    )


def reduced(outcome: Outcome, problem: BaseException) -> Outcome | None:
    """Remove from an outcome what the database may have refused; return None if nothing is left to remove.

    A success loses its result and then becomes a death, because it must not run again. All others keep what was
    decided, first with shorter texts, then without their callbacks.
    """
    why = reason_of(problem)
    if outcome.result is not None:
        return replace(outcome, result=None, note=_joined(outcome.note, f"the result was not kept: {why}"))
    if outcome.traceback or len(outcome.error_message) > SHORT_MESSAGE:
        message = ascii(outcome.error_message)[1:-1][-SHORT_MESSAGE:]
        note = _joined(outcome.note, f"the error was shortened: {why}")
        return replace(outcome, error_message=message, traceback="", note=note)
    if outcome.ended_as is AttemptOutcome.SUCCEEDED:
        return _refused_success(outcome, why)
    if outcome.followups or outcome.at_death:
        return replace(
            outcome, followups=(), at_death=(), note=_joined(outcome.note, f"the callbacks were dropped: {why}")
        )
    if outcome.error_message or outcome.note:
        return replace(outcome, error_type=ascii(outcome.error_type)[1:-1], error_message="", note="")
    return None


def _refused_success(outcome: Outcome, why: str) -> Outcome:
    error_type, what = OutcomeNotStorable.__name__, "its success could not be stored"
    if following := [*outcome.followups, *outcome.at_the_end_of_group]:
        actors = ", ".join(one.actor for one in following)
        error_type, what = FollowupNotSubmitted.__name__, f"what follows ({actors}) could not be submitted"
    return replace(
        outcome,
        ended_as=AttemptOutcome.FAILED,
        error_type=error_type,
        error_message=clean(f"the actor returned, but {what}: {why}; it is not run again", LONGEST_NOTE),
        is_failure=True,
        death=DeathReason.NOT_RETRYABLE,
        followups=(),
        at_death=(),
        barrier="",
        at_the_end_of_group=(),
    )


# --- Success ---------------------------------------------------------------------------------------------------------


def _success(execution: Execution, worker_id: UUID) -> Outcome:
    kept, note = _kept_result(execution)
    followups, refused = submittable(after_success(execution), execution)
    group: dict[str, Any] = {}
    if "group_completion_uuid" in execution.claimed.options:
        callbacks, refused_at_the_end = submittable(at_the_end_of_group(execution), execution)
        refused = [*refused, *refused_at_the_end]
        group = {"barrier": str(execution.claimed.options["group_completion_uuid"]), "at_the_end_of_group": callbacks}
    if refused:
        # Neither on_failure nor on_retry_exhausted is called: the function has done its work, and a callback that
        # compensates a failure would do harm. The dead letter records it.
        reason = f"the actor returned, but {'; '.join(refused)}; it is not run again"
        return _dead(execution, worker_id, FollowupNotSubmitted(reason))
    return _outcome(
        execution, worker_id, AttemptOutcome.SUCCEEDED, result=kept, note=note, followups=followups, **group
    )


def _dead(execution: Execution, worker_id: UUID, error: BaseException) -> Outcome:
    death = DeathReason.NOT_RETRYABLE
    at_death, refused = submittable(after_death(execution, death, _report(execution, error)), execution)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.FAILED,
        error=error,
        is_failure=True,
        death=death,
        note="; ".join(refused),
        at_death=at_death,
    )


def _kept_result(execution: Execution) -> tuple[Any, str]:
    """Give the result in plain JSON values, or None and why it is not kept."""
    if execution.result is None or not _keeps_results(execution):
        return None, ""
    bounds = {"max_bytes": conf.MAX_RESULT_BYTES, "max_depth": conf.MAX_JSON_DEPTH}
    try:
        faults = check_json(execution.result, field="result", **bounds)
        if not faults:
            return plain_copy(execution.result), ""
        why = f"{faults[0].field}: {faults[0].message}"
    except BaseException as error:  # noqa: BLE001 - a result's methods are the user's code
        execution.raise_interrupt(error)
        why = f"it cannot be read: {reason_of(error)}"
    return None, f"the result was not kept: {clean(why, LONGEST_REASON)}"


def _keeps_results(execution: Execution) -> bool:
    """Read Dramatiq's ``store_results`` from the message, then from the actor; results are kept by default."""
    given = (options.get("store_results") for options in (execution.claimed.options, execution.actor_options))
    return bool(next((value for value in given if value is not None), True))


# --- Failure ---------------------------------------------------------------------------------------------------------


def _failure(execution: Execution, worker_id: UUID, error: BaseException) -> Outcome:
    claimed = execution.claimed
    options = execution.actor_options
    delay, death = verdict_of(execution) or _what_follows(error, execution, options)
    is_exhausted = death is not None and not _is_thrown(error, options)
    if execution.is_rejected and death is None:
        # A hook failed the message although retries are left: Dramatiq's word for the end.
        death = DeathReason.NOT_RETRYABLE
    followups, refused = submittable(after_failed_run(execution, error, is_exhausted=is_exhausted), execution)
    at_death: list[Submission] = []
    if death is not None:
        at_death, refused_at_death = submittable(after_death(execution, death, _report(execution, error)), execution)
        refused += refused_at_death
    for reason in refused:
        log.error("a callback is dropped; the failure itself is recorded", task_id=str(claimed.id), error=reason)
    policy = _policy_of(error, options)
    return _outcome(
        execution,
        worker_id,
        AttemptOutcome.TIMED_OUT if is_kind(error, TimeLimitExceeded) else AttemptOutcome.FAILED,
        error=error,
        is_failure=True,
        death=death,
        retry_delay_seconds=delay,
        retry_queue=policy.queue if policy else None,
        retry_priority=policy.priority if policy else None,
        note="; ".join(refused),
        followups=followups,
        at_death=at_death,
    )


def _what_follows(error: BaseException, execution: Execution, options: Mapping[str, Any]) -> Verdict:
    """Apply Dramatiq's rules in Dramatiq's order: ``throws``, then ``retry_when`` instead of ``max_retries``."""
    claimed = execution.claimed
    if is_kind(error, GiveUp):
        return Verdict(0, DeathReason.GAVE_UP)
    is_thrown, is_timeout = _is_thrown(error, options), is_kind(error, TimeLimitExceeded)
    wants_retry = None if is_thrown else _wants_retry(options.get("retry_when"), claimed.failures, error)
    policy, delay, max_retries = _policy_of(error, options), _named_delay(error), claimed.max_retries
    if policy is not None:
        max_retries = max_retries if policy.max_retries is None else policy.max_retries
        delay = delay if delay is not None or policy.delay is None else min(seconds(policy.delay), MOST_SECONDS)
    verdict = _verdict(
        execution,
        max_retries=max_retries if wants_retry is None else None,
        delay_seconds=delay,
        failed_at=execution.at(execution.finished_monotonic),
        retry_until=claimed.retry_until,
        exhausted=DeathReason.TIME_LIMIT_EXCEEDED if is_timeout else DeathReason.MAX_RETRIES_EXCEEDED,
    )
    return verdict._replace(death=DeathReason.NOT_RETRYABLE) if is_thrown or wants_retry is False else verdict


def _policy_of(error: BaseException, options: Mapping[str, Any]) -> RetryPolicy | None:
    """Find the first of the actor's retry policies that is for an error."""
    for policy in options.get("retry_policies") or ():
        kinds = policy.on if isinstance(policy.on, tuple) else (policy.on,)
        if any(is_kind(error, kind) for kind in kinds):
            found: RetryPolicy = policy
            return found
    return None


def _named_delay(error: BaseException) -> float | None:
    """Read the delay that a ``dramatiq.Retry`` names; None if the backoff decides."""
    if not is_kind(error, Retry):
        return None
    try:
        delay = error.delay  # type: ignore[attr-defined]
        return None if delay is None else min(max(0.0, seconds(delay)), MOST_SECONDS)
    except BaseException as broken:  # noqa: BLE001 - it is the user's class
        log.warning("the delay of a retry cannot be read; the backoff decides", error=reason_of(broken))
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
    """Tell whether ``throws`` names an error, or another run could not avoid it; then there are no retries."""
    if is_kind(error, FollowupNotSubmitted):
        # From complete_in_transaction(): the next attempt could not submit the follow-up either.
        return True
    throws: Any = options.get("throws") or ()
    try:
        return isinstance(error, throws)
    except BaseException as broken:  # noqa: BLE001 - it is the user's class
        log.warning("an error cannot be compared with throws; max_retries decides", error=reason_of(broken))
        return False


def _wants_retry(retry_when: Any, retries: int, error: BaseException) -> bool | None:
    """Ask an actor's predicate; return None, so that ``max_retries`` decides, if there is none or it raises."""
    if retry_when is None:
        return None
    try:
        return bool(retry_when(retries, error))
    except BaseException as broken:  # noqa: BLE001 - it is the user's code
        log.warning("retry_when raised; max_retries decides", error=reason_of(broken))
        return None


# --- All outcomes ----------------------------------------------------------------------------------------------------


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
    if execution.told is not None:
        rest |= {"progress": execution.told.progress, "log": execution.told.log()}
    return Outcome(
        task_id=claimed.id,
        attempt=claimed.attempt,
        worker_id=worker_id,
        ended_as=outcome,
        started_at=execution.at(execution.started_monotonic),
        finished_at=execution.at(execution.finished_monotonic),
        actor=claimed.actor,
        build=conf.BUILD,
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
