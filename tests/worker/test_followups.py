"""Callbacks and pipelines: what they submit, and what happens when they cannot."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import dramatiq
import pytest
from dramatiq.middleware import Shutdown

from tasks import registry
from tasks.errors import Snooze
from tasks.lifecycle import Outcome
from tasks.lifecycle.submit import checked
from tasks.states import AttemptOutcome, DeathReason, Status
from tasks.worker.interrupter import Cancelled
from tests.worker.runs import decide, deed

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


def test_snooze_shutdown_and_cancel_have_no_callbacks() -> None:
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


# --- Follow-ups that cannot be submitted ---


def picky_target() -> dict[str, Any]:
    return dict(dramatiq.get_broker().get_actor("picky_about").message_with_options(args=()).asdict())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"actor": "calls_back_nobody", "result": 1}, "on_success 'no_such_actor'"),
        ({"options": {"on_success": "elsewhere"}, "result": 1}, "on_success 'elsewhere'"),
        ({"options": {"on_success": "note"}, "result": object()}, "on_success 'note'"),
        ({"actor": "add", "options": {"pipe_target": {"actor_name": "add"}}, "result": 1}, "pipe_target 'add'"),
        ({"actor": "add", "options": {"pipe_target": 7}, "result": 1}, "pipe_target 7"),
        ({"options": {"pipe_target": "of add"}, "result": "text"}, "pipe_target 'add'"),
        ({"options": {"pipe_target": "of picky_about"}, "result": {"value": 13}}, "pipe_target 'picky_about'"),
    ],
)
@pytest.mark.parametrize("max_retries", [0, 5, None])
def test_a_success_whose_followup_cannot_be_submitted_dies_and_is_not_run_again(
    fields: dict[str, Any], named: str, max_retries: int | None
) -> None:
    targets = {"of add": pipe_target(), "of picky_about": picky_target()}
    options = {name: targets.get(str(value), value) for name, value in fields.get("options", {}).items()}
    said = decide(**{**fields, "options": options, "max_retries": max_retries})
    assert (said.ended_as, said.death) == (AttemptOutcome.FAILED, DeathReason.NOT_RETRYABLE)
    assert (said.is_failure, said.followups, said.result) == (True, (), None)
    assert said.error_type == "FollowupNotSubmitted"
    assert said.error_message.startswith(f"the actor returned, but {named} cannot be submitted: ")
    assert said.error_message.endswith("; it is not run again")


def test_one_followup_that_cannot_be_submitted_takes_the_others_along() -> None:
    said = decide(actor="calls_back_nobody", result=1, options={"pipe_target": pipe_target()})
    assert (said.death, said.followups) == (DeathReason.NOT_RETRYABLE, ())


def test_a_followup_that_takes_no_result_comes_although_the_result_cannot_be_kept() -> None:
    said = decide(actor="add", result=object(), options={"pipe_target": pipe_target(pipe_ignore=True)})
    assert [list(one.args) for one in said.followups] == [[1]]
    assert (said.status, said.result, said.note[:23]) == (Status.SUCCEEDED, None, "the result was not kept")


@pytest.mark.parametrize(("max_retries", "status"), [(0, Status.DEAD), (3, Status.RETRYING)])
def test_a_failure_whose_callback_cannot_be_submitted_is_recorded_unchanged(max_retries: int, status: Status) -> None:
    said = decide(actor="calls_back_nobody", error=deed("raise"), max_retries=max_retries)
    assert (said.status, said.error_type, said.error_message) == (status, "RuntimeError", "as asked")
    assert said.note.startswith("on_failure 'no_such_actor' cannot be submitted: ")
    # The other callback comes.
    assert [one.actor for one in said.followups] == (["note"] if status == Status.DEAD else [])


def test_followups_are_checked_once_and_not_by_the_thread_that_writes(monkeypatch) -> None:
    (followup,) = decide(actor="with_callbacks", result=7).followups
    monkeypatch.setattr(registry, "check_arguments", lambda *_, **__: pytest.fail("asked again"))
    assert checked(followup)["args"] == followup.args
