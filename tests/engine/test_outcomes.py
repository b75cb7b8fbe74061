"""What follows from how a run ended."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import dramatiq
import pytest
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from tasks.engine.execution import Cancelled, Execution
from tasks.engine.outcomes import LONGEST_MESSAGE, LONGEST_TRACEBACK, outcome_of, unstorable
from tasks.errors import Snooze
from tasks.lifecycle import Outcome
from tasks.models import new_id
from tasks.states import AttemptOutcome, DeathReason, Status
from tests.actors import DEEDS, Expected
from tests.factories import imagine_claim

WORKER = new_id()


def ended(*, result: Any = None, error: BaseException | None = None, interrupt: Any = None, **claim: Any) -> Execution:
    """Make a run that ended like this."""
    execution = Execution(imagine_claim(**claim), claimed_monotonic=0.0)
    execution.started_monotonic, execution.finished_monotonic = 1.0, 2.0
    execution.result, execution.error, execution.is_captured = result, error, True
    execution.interrupts = [interrupt] if interrupt else []
    return execution


def decide(**fields: Any) -> Outcome:
    return outcome_of(ended(**fields), WORKER)


def deed(name: str, value: Any = None) -> BaseException:
    """Catch what a deed raises."""
    try:
        DEEDS[name](value)
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError(f"{name} raises nothing")


# --- Success ---


def test_a_result_is_a_success() -> None:
    said = decide(result={"a": [1, None, "ü"]})
    assert (said.status, said.outcome, said.result) == (
        Status.SUCCEEDED,
        AttemptOutcome.SUCCEEDED,
        {"a": [1, None, "ü"]},
    )
    assert (said.is_failure, said.error_type, said.death) == (False, "", None)


@pytest.mark.parametrize(
    "name", ["return object", "return nan", "return huge", "return deep", "return nul", "return bigint", "return keys"]
)
def test_a_result_that_json_or_the_database_cannot_carry_is_a_failure_that_says_why(name: str) -> None:
    said = decide(result=DEEDS[name](None))
    assert (said.outcome, said.error_type, said.is_failure) == (AttemptOutcome.FAILED, "ResultNotStorable", True)
    assert said.error_message.startswith("result")
    assert said.result is None


# --- Neither success nor failure ---


def test_a_snooze_a_shutdown_and_a_cancel_count_no_failure() -> None:
    snoozed = decide(error=Snooze(12.5))
    assert (snoozed.outcome, snoozed.retry_delay_seconds, snoozed.status) == ("SNOOZED", 12.5, Status.PENDING)
    interrupted = decide(error=Shutdown(), interrupt=Shutdown)
    assert (interrupted.outcome, interrupted.status) == (AttemptOutcome.INTERRUPTED, Status.PENDING)
    cancelled = decide(error=Cancelled(), interrupt=Cancelled)
    assert (cancelled.outcome, cancelled.status) == (AttemptOutcome.CANCELLED, Status.CANCELLED)
    assert not any(one.is_failure or one.death for one in (snoozed, interrupted, cancelled))


def test_a_shutdown_that_nobody_asked_for_is_the_actors_own_failure() -> None:
    assert decide(error=Shutdown()).is_failure


def test_a_cancel_that_nobody_asked_for_is_the_actors_own_failure() -> None:
    assert decide(error=Cancelled()).is_failure


# --- Failures ---


def test_a_failure_says_type_message_and_traceback() -> None:
    said = decide(error=deed("raise", "the reason"))
    assert (said.error_type, said.error_message, said.status) == ("RuntimeError", "the reason", Status.RETRYING)
    assert said.traceback.startswith("Traceback")
    assert "RuntimeError: the reason" in said.traceback


@pytest.mark.parametrize(
    ("name", "error_type", "message"),
    [
        ("exit", "SystemExit", ""),
        ("rude", "Rude", "rude"),
        ("keyboard", "KeyboardInterrupt", ""),
        ("unprintable", "Unprintable", "<Unprintable whose text raises ValueError>"),
        ("hostile text", "ValueError", "nul \\0 and surrogate \\ud800 <script>"),
    ],
)
def test_anything_raised_leaves_a_clear_record(name: str, error_type: str, message: str) -> None:
    said = decide(error=deed(name, "" if name == "exit" else None))
    assert (said.outcome, said.error_type, said.error_message) == (AttemptOutcome.FAILED, error_type, message)
    for text in (said.error_message, said.traceback):
        assert "\0" not in text
        text.encode()


def test_endless_texts_are_cut_at_their_beginning() -> None:
    said = decide(error=RuntimeError("x" * 10_000_000 + "the end"))
    assert len(said.error_message) <= LONGEST_MESSAGE + 1
    assert len(said.traceback) <= LONGEST_TRACEBACK + 1
    assert said.error_message.endswith("the end")


def test_a_deep_recursion_leaves_a_short_traceback() -> None:
    def recurse() -> None:
        recurse()

    try:
        recurse()
    except RecursionError as error:
        said = decide(error=error)
    assert said.error_type == "RecursionError"
    assert len(said.traceback) <= LONGEST_TRACEBACK + 1


def test_a_time_limit_is_a_failure_of_its_own_kind() -> None:
    said = decide(error=TimeLimitExceeded(), interrupt=TimeLimitExceeded)
    assert (said.outcome, said.status) == (AttemptOutcome.TIMED_OUT, Status.RETRYING)
    last = decide(error=TimeLimitExceeded(), max_retries=0)
    assert last.death == DeathReason.TIME_LIMIT_EXCEEDED


# --- Retries ---


@pytest.mark.parametrize(("failures", "delay"), [(0, 2), (1, 4), (2, 8)])
def test_delays_double_and_lie_in_d_to_a_quarter_more(failures: int, delay: float) -> None:
    drawn = [decide(error=deed("raise"), failures=failures).retry_delay_seconds for _ in range(200)]
    assert all(delay <= one <= 1.25 * delay for one in drawn)
    assert max(drawn) - min(drawn) > 0.1 * delay


def test_delays_are_capped() -> None:
    drawn = decide(error=deed("raise"), failures=60, max_retries=None, max_backoff_seconds=10.0).retry_delay_seconds
    assert 10 <= drawn <= 12.5


def test_max_retries_counts_failures_and_nothing_else() -> None:
    assert decide(error=deed("raise"), failures=2, max_retries=3, attempt=99).death is None
    assert decide(error=deed("raise"), failures=3, max_retries=3, attempt=4).death == DeathReason.MAX_RETRIES_EXCEEDED
    assert decide(error=deed("raise"), max_retries=0).death == DeathReason.MAX_RETRIES_EXCEEDED


def test_no_maximum_means_for_ever() -> None:
    assert decide(error=deed("raise"), failures=10_000, max_retries=None).death is None


def test_what_an_actor_throws_is_not_retried() -> None:
    assert decide(error=deed("throws")).death == DeathReason.NOT_RETRYABLE


def test_a_predicate_decides_in_place_of_max_retries() -> None:
    assert decide(actor="picky", error=deed("raise"), failures=0, max_retries=0).death is None
    assert decide(actor="picky", error=deed("raise"), failures=1, max_retries=9).death == DeathReason.NOT_RETRYABLE
    assert decide(actor="picky", error=Expected(), failures=0).death == DeathReason.NOT_RETRYABLE


def test_a_predicate_that_raises_leaves_the_decision_to_max_retries() -> None:
    assert decide(actor="undecided", error=deed("raise"), failures=0).death is None
    assert decide(actor="undecided", error=deed("raise"), failures=50).death == DeathReason.MAX_RETRIES_EXCEEDED


def test_a_retry_with_a_delay_waits_that_long_in_milliseconds() -> None:
    assert decide(error=dramatiq.Retry("later", delay=1500)).retry_delay_seconds == 1.5
    assert 2 <= decide(error=dramatiq.Retry("later")).retry_delay_seconds <= 2.5
    assert decide(error=dramatiq.Retry("later", delay=1500), max_retries=0).death == DeathReason.MAX_RETRIES_EXCEEDED


def test_a_retry_beyond_the_window_is_given_up() -> None:
    claim = imagine_claim()
    first = decide(error=deed("raise"), retry_until=None)
    assert first.death is None
    late = decide(error=deed("raise"), failures=1, retry_until=claim.claimed_at)
    assert late.death == DeathReason.GAVE_UP


def test_an_actor_that_is_no_longer_declared_fails_by_its_rows_limits() -> None:
    assert decide(actor="forgotten", error=deed("raise"), failures=0).status == Status.RETRYING
    assert decide(actor="forgotten", error=deed("raise"), failures=3).death == DeathReason.MAX_RETRIES_EXCEEDED


# --- Callbacks and pipelines ---


def called(said: Outcome) -> list[tuple[str, Any]]:
    """Name each follow-up with the argument that comes after the message."""
    return [(one.actor, one.args[1]) for one in said.followups]


def test_on_success_gets_the_message_and_the_result() -> None:
    said = decide(actor="with_callbacks", result=7, payload={"do": "return"}, trace_id="t" * 32, owner_id=3)
    assert called(said) == [("note", 7)]
    (followup,) = said.followups
    assert (followup.trace_id, followup.owner_id) == ("t" * 32, 3)
    message: dramatiq.Message[Any] = dramatiq.Message(**followup.args[0])
    assert (message.actor_name, message.kwargs) == ("with_callbacks", {"do": "return"})
    assert UUID(message.message_id) == said.task_id


def test_on_failure_comes_with_every_failure_and_exhausted_with_the_last() -> None:
    details = {"type": "RuntimeError", "message": "as asked"}
    again = decide(actor="with_callbacks", error=deed("raise"), max_retries=5)
    assert called(again) == [("note", details)]
    last = decide(actor="with_callbacks", error=deed("raise"), max_retries=0)
    assert called(last) == [("note", details), ("note", {"retries": 0, "max_retries": 0})]


def test_what_an_actor_throws_has_not_exhausted_its_retries() -> None:
    # As in Dramatiq: an expected error ends the task without the callback for exhausted retries.
    said = decide(actor="with_callbacks", error=deed("throws"), max_retries=0)
    assert called(said) == [("note", {"type": "Expected", "message": "expected"})]


def test_message_options_name_callbacks_too() -> None:
    said = decide(actor="add", result=7, options={"on_success": "note"})
    assert called(said) == [("note", 7)]
    said = decide(actor="add", error=deed("raise"), options={"on_failure": "note"})
    assert [actor for actor, _ in called(said)] == ["note"]


def test_neither_snooze_nor_shutdown_nor_cancel_calls_back() -> None:
    for error in (Snooze(1), Shutdown(), Cancelled()):
        assert decide(actor="with_callbacks", error=error, interrupt=type(error)).followups == ()


def pipe_target(**options: Any) -> dict[str, Any]:
    add: Callable[..., Any] = dramatiq.get_broker().get_actor("add").message_with_options
    return dict(add(args=(1,), **options).asdict())


def test_a_pipeline_passes_the_result_on_as_the_last_argument() -> None:
    said = decide(actor="add", result=41, options={"pipe_target": pipe_target()}, trace_id="t" * 32, owner_id=3)
    (followup,) = said.followups
    assert (followup.actor, list(followup.args)) == ("add", [1, 41])
    assert (followup.trace_id, followup.owner_id) == ("t" * 32, 3)


def test_a_pipeline_that_ignores_results_passes_none() -> None:
    said = decide(actor="add", result=41, options={"pipe_target": pipe_target(pipe_ignore=True)})
    assert [list(one.args) for one in said.followups] == [[1]]


def test_a_failure_ends_a_pipeline() -> None:
    said = decide(actor="add", error=deed("raise"), max_retries=0, options={"pipe_target": pipe_target()})
    assert not said.followups


# --- What the database refused ---


def test_an_outcome_that_cannot_be_stored_becomes_a_failure_without_callbacks() -> None:
    said = unstorable(ended(actor="with_callbacks", result=1, max_retries=5), WORKER, ValueError("bad \0 value"))
    assert (said.error_type, said.is_failure, said.followups) == ("ResultNotStorable", True, ())
    assert said.error_message == "the outcome could not be stored: bad \\0 value"
