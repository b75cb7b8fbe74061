"""Follow-ups: the tasks that Dramatiq's callbacks and pipelines submit together with an outcome."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from dramatiq import Message

from tasks.broker.send import submission_of
from tasks.lifecycle import Submission
from tasks.lifecycle.deaths import details_of
from tasks.lifecycle.submit import checked
from tasks.lifecycle.submit_unique import never_refused
from tasks.payload import plain_copy
from tasks.states import DeathReason
from tasks.worker.error_report import ErrorReport, name_of, reason_of, text_of
from tasks.worker.execution import Execution

#: What is to be submitted, in words, and a function that makes the submission.
Followup = tuple[str, Callable[[], Submission]]


class FollowupNotSubmitted(Exception):
    """A task succeeded, but its callback or the next task of its pipeline cannot be submitted."""


def submittable(wanted: Iterable[Followup], execution: Execution) -> tuple[list[Submission], list[str]]:
    """Check follow-ups; return those that can be submitted, and a sentence for each of the others.

    They are checked on the actor's thread, because a validator is the user's code and the thread that writes them
    serves all tasks.
    """
    ready, refused = [], []
    for name, make in wanted:
        try:
            submission = make()
            row = never_refused(checked(submission))
            ready.append(replace(submission, row={**row, "args": plain_copy(row["args"])}))
        except BaseException as error:  # noqa: BLE001 - a validator is the user's code
            execution.raise_interrupt(error)
            refused.append(f"{name} cannot be submitted: {reason_of(error)}")
    return ready, refused


def after_success(execution: Execution) -> Iterator[Followup]:
    """Yield Dramatiq's ``on_success`` callback and the next message of a pipeline."""
    callback = _callback_of("on_success", execution)
    if callback:
        yield f"on_success {callback!r:.100}", partial(_callback, callback, execution, execution.result)
    target = execution.claimed.options.get("pipe_target")
    if target is not None:
        name = target.get("actor_name") if isinstance(target, dict) else target
        yield f"pipe_target {name!r:.100}", partial(_next_of_pipeline, target, execution)


def at_the_end_of_group(execution: Execution) -> Iterator[Followup]:
    """Yield the completion callbacks of the group that a task belongs to."""
    for message in execution.claimed.options.get("group_completion_callbacks") or ():
        name = message.get("actor_name") if isinstance(message, dict) else message
        yield f"group callback {name!r:.100}", partial(_after_group, message, execution)


def _after_group(callback: Mapping[str, Any], execution: Execution) -> Submission:
    claimed = execution.claimed
    following = submission_of(Message(**callback), trace_id=claimed.trace_id)
    return replace(following, owner_id=claimed.owner_id)


def after_failed_run(execution: Execution, error: BaseException, *, is_exhausted: bool) -> Iterator[Followup]:
    """Yield Dramatiq's ``on_failure`` (every failure) and ``on_retry_exhausted`` (the last one) callbacks."""
    claimed = execution.claimed
    callback = _callback_of("on_failure", execution)
    if callback:
        details = {"type": name_of(error), "message": text_of(error)}
        yield f"on_failure {callback!r:.100}", partial(_callback, callback, execution, details)
    callback = _callback_of("on_retry_exhausted", execution)
    if callback and is_exhausted:
        limits = {"retries": claimed.failures, "max_retries": claimed.max_retries}
        yield f"on_retry_exhausted {callback!r:.100}", partial(_callback, callback, execution, limits)


def after_death(execution: Execution, reason: DeathReason, report: ErrorReport) -> Iterator[Followup]:
    """Yield the ``on_death`` callback of a task that dies with this attempt."""
    callback = _callback_of("on_death", execution)
    if callback:
        details = details_of(reason, report.error_type, report.message)
        yield f"on_death {callback!r:.100}", partial(_callback, callback, execution, details)


def _next_of_pipeline(target: Mapping[str, Any], execution: Execution) -> Submission:
    claimed = execution.claimed
    message: Message[Any] = Message(**target)
    if not (message.options.get("pipe_ignore") or execution.actor_options.get("pipe_ignore")):
        message = message.copy(args=(*message.args, execution.result))
    following = submission_of(message, delay=message.options.get("delay"), trace_id=claimed.trace_id)
    return replace(following, owner_id=claimed.owner_id, is_followup=True)


def _callback_of(option: str, execution: Execution) -> Any:
    return execution.claimed.options.get(option) or execution.actor_options.get(option)


def _callback(actor: str, execution: Execution, argument: Any) -> Submission:
    claimed = execution.claimed
    return Submission(
        actor=actor,
        args=[execution.message().asdict(), argument],
        trace_id=claimed.trace_id,
        owner_id=claimed.owner_id,
        is_followup=True,
    )
