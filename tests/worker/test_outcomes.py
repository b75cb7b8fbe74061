"""What follows from how a run ended."""

from enum import IntEnum
from typing import Any

import dramatiq
import pytest
from django.db import DataError
from dramatiq.middleware import Shutdown, TimeLimitExceeded

from tasks.errors import Snooze
from tasks.lifecycle import Outcome
from tasks.states import AttemptOutcome, DeathReason, Status
from tasks.worker.error_report import LONGEST_MESSAGE, LONGEST_TRACEBACK
from tasks.worker.interrupter import Cancelled
from tasks.worker.outcomes import outcome_of, reduced, undecided
from tests.actors import DEEDS, Expected
from tests.factories import imagine_claim
from tests.worker.runs import WORKER, decide, deed, ended

# --- Success ---


def test_a_result_is_a_success() -> None:
    said = decide(result={"a": [1, None, "ü"]})
    assert (said.status, said.ended_as, said.result) == (
        Status.SUCCEEDED,
        AttemptOutcome.SUCCEEDED,
        {"a": [1, None, "ü"]},
    )
    assert (said.is_failure, said.error_type, said.death) == (False, "", None)


UNSTORABLE = [
    "return object", "return nan", "return huge", "return deep", "return nul", "return bigint", "return keys",
    "return date", "return exiting result", "return exiting kind",
]  # fmt: skip


@pytest.mark.parametrize("name", UNSTORABLE)
def test_a_result_that_cannot_be_kept_is_a_success_without_it_and_a_note_says_why(name: str) -> None:
    said = decide(result=DEEDS[name](None))
    assert (said.status, said.ended_as, said.result) == (Status.SUCCEEDED, AttemptOutcome.SUCCEEDED, None)
    assert (said.is_failure, said.error_type, said.death) == (False, "", None)
    assert said.note.startswith("the result was not kept: ")


def test_a_note_names_the_value_that_is_not_json() -> None:
    said = decide(result={"lines": [1, {"at": DEEDS["return date"](None)}]})
    assert said.note == "the result was not kept: result.lines.1.at: expected a JSON value, got date"


def test_a_note_of_the_run_and_one_of_the_result_are_both_there() -> None:
    execution = ended(result=object())
    execution.remark("left a transaction open")
    assert outcome_of(execution, WORKER).note.startswith("left a transaction open; the result was not kept: ")
    failed = ended(error=deed("raise"))
    failed.remark("left a transaction open")
    assert outcome_of(failed, WORKER).note == "left a transaction open"


def test_a_result_that_its_actor_still_changes_is_kept_as_it_was() -> None:
    result = {"list": [1]}
    said = decide(result=result)
    result["list"].append(2)
    assert said.result == {"list": [1]}


class Words(list[str]):
    """A user's subclass of list, which JSON can represent."""


class Colour(IntEnum):
    RED = 1


def test_a_result_is_kept_in_plain_values() -> None:
    said = decide(result={"words": Words(["a"]), "colour": Colour.RED, "ü": (1.5, None, True)})
    assert said.result == {"words": ["a"], "colour": 1, "ü": [1.5, None, True]}
    assert [type(one) for one in (said.result["words"], said.result["colour"])] == [list, int]


@pytest.mark.parametrize("result", [7, object(), DEEDS["return bigint"](None)])
def test_results_of_actors_that_store_none_are_not_kept_and_leave_no_note(result: Any) -> None:
    for fields in ({"actor": "keeps_nothing"}, {"options": {"store_results": False}}):
        said = decide(result=result, **fields)
        assert (said.status, said.result, said.note) == (Status.SUCCEEDED, None, "")


def test_the_message_says_whether_to_keep_a_result_before_the_actor_does() -> None:
    assert decide(actor="keeps_nothing", result=7, options={"store_results": True}).result == 7


# --- Neither success nor failure ---


def test_a_snooze_a_shutdown_and_a_cancel_count_no_failure() -> None:
    snoozed = decide(error=Snooze(12.5))
    assert (snoozed.ended_as, snoozed.retry_delay_seconds, snoozed.status) == ("SNOOZED", 12.5, Status.PENDING)
    interrupted = decide(error=Shutdown(), interrupt=Shutdown)
    assert (interrupted.ended_as, interrupted.status) == (AttemptOutcome.INTERRUPTED, Status.PENDING)
    cancelled = decide(error=Cancelled(), interrupt=Cancelled)
    assert (cancelled.ended_as, cancelled.status) == (AttemptOutcome.CANCELLED, Status.CANCELLED)
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
    assert (said.ended_as, said.error_type, said.error_message) == (AttemptOutcome.FAILED, error_type, message)
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
    assert (said.ended_as, said.status) == (AttemptOutcome.TIMED_OUT, Status.RETRYING)
    last = decide(error=TimeLimitExceeded(), max_retries=0)
    assert last.death == DeathReason.TIME_LIMIT_EXCEEDED


HOSTILE = [
    ("exiting text", "ExitingText"),
    ("exiting class", "ExitingClass"),
    ("exiting attributes", "ExitingAttributes"),
    ("exiting name", "ExitingName"),
    ("exiting methods", "ExitingMethods"),
    ("exiting cause", "RuntimeError"),
]


@pytest.mark.parametrize(("name", "error_type"), HOSTILE)
@pytest.mark.parametrize("actor", ["act", "picky", "undecided", "throws_what_exits", "calls_back_nobody"])
def test_an_exception_that_raises_when_it_is_inspected_is_a_failure_like_any_other(
    actor: str, name: str, error_type: str
) -> None:
    said = decide(actor=actor, error=deed(name), max_retries=3)
    assert (said.ended_as, said.error_type, said.status) == (AttemptOutcome.FAILED, error_type, Status.RETRYING)


@pytest.mark.parametrize("delay", ["soon", object(), float("nan")])
def test_a_retry_whose_delay_cannot_be_read_is_still_a_retry(delay: Any) -> None:
    said = decide(error=dramatiq.Retry("later", delay=delay))
    assert (said.status, said.error_type) == (Status.RETRYING, "Retry")


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


def test_without_a_maximum_a_task_is_retried_for_ever() -> None:
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


# --- When nothing can be decided ---


def test_a_success_whose_outcome_cannot_be_decided_is_not_run_again() -> None:
    said = undecided(ended(result=1, max_retries=5), WORKER, ZeroDivisionError("ours"))
    assert (said.ended_as, said.death) == (AttemptOutcome.FAILED, DeathReason.NOT_RETRYABLE)
    assert "ZeroDivisionError: ours" in said.error_message


def test_a_failure_whose_outcome_cannot_be_decided_keeps_its_error_and_its_retries() -> None:
    said = undecided(ended(error=deed("raise"), max_retries=5), WORKER, ZeroDivisionError("ours"))
    assert (said.status, said.error_type, said.error_message) == (Status.RETRYING, "RuntimeError", "as asked")
    assert "ZeroDivisionError: ours" in said.note
    last = undecided(ended(error=deed("raise"), max_retries=0), WORKER, ZeroDivisionError("ours"))
    assert last.death == DeathReason.MAX_RETRIES_EXCEEDED


# --- What the database refused ---

REFUSED = DataError("unsupported Unicode escape sequence\nDETAIL:  Failing row contains (the payload).")


def steps(said: Outcome) -> list[Outcome]:
    """Reduce an outcome until nothing is left to remove."""
    found = []
    while (rest := reduced(said, REFUSED)) is not None:
        found.append(said := rest)
        assert len(found) < 10
    return found


def test_a_success_loses_its_result_then_dies_and_is_never_run_again() -> None:
    without_result, dead, bare = steps(decide(result=1, max_retries=5))
    assert (without_result.status, without_result.result) == (Status.SUCCEEDED, None)
    assert without_result.note == "the result was not kept: DataError: unsupported Unicode escape sequence"
    assert (dead.ended_as, dead.death, dead.error_type) == (
        AttemptOutcome.FAILED, DeathReason.NOT_RETRYABLE, "OutcomeNotStorable",
    )  # fmt: skip
    assert (bare.death, bare.error_message, bare.note) == (DeathReason.NOT_RETRYABLE, "", "")


def test_a_success_whose_followups_the_database_refuses_dies_and_names_them() -> None:
    _, dead, _ = steps(decide(actor="with_callbacks", result=1))
    assert (dead.death, dead.error_type, dead.followups) == (DeathReason.NOT_RETRYABLE, "FollowupNotSubmitted", ())
    assert "what follows (note) could not be submitted: DataError" in dead.error_message


def test_a_failure_keeps_its_decision_with_less_and_less_text() -> None:
    failed = decide(actor="with_callbacks", error=RuntimeError("ü" * 2_000 + "the end"), max_retries=5)
    shorter, without_callbacks, bare = steps(failed)
    assert {(one.status, one.is_failure, one.retry_delay_seconds) for one in (shorter, without_callbacks, bare)} == {
        (Status.RETRYING, True, failed.retry_delay_seconds)
    }
    assert (shorter.error_message[-7:], shorter.traceback, shorter.followups) == ("the end", "", failed.followups)
    assert len(shorter.error_message) <= 500
    assert without_callbacks.followups == ()
    assert (bare.error_type, bare.error_message) == ("RuntimeError", "")
