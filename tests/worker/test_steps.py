"""Durable steps: each runs once in a task's life, and waits hold no thread."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone

from tasks import current, lifecycle
from tasks.errors import AlreadySignalled, WaitTimedOut
from tasks.lifecycle import Author
from tasks.lifecycle.signal import open_wait, signal
from tasks.models import Journal, Step, Task
from tasks.states import Status
from tasks.testing import drain
from tests.actors import noted
from tests.factories import submit

pytestmark = pytest.mark.django_db


def call(function: Any, actor: str = "act", **fields: Any) -> Task:
    """Submit a task that calls a function of this module."""
    return submit(actor, payload={"do": "call", "value": f"{__name__}.{function.__name__}"}, **fields)


def go_on(task: Task, **travel: float) -> Task:
    """Run what is due now, or on the way to a later time."""
    drain(until=timedelta(**travel) if travel else None)
    return Task.objects.get(pk=task.pk)


def outcomes(task: Task) -> list[str]:
    return [one.outcome for one in task.attempts.all()]


def charge(amount: int) -> Any:
    noted.append(f"charge {amount}")
    return {"receipt": (1, amount)}


def ship() -> None:
    noted.append("ship")


def charges_and_ships() -> Any:
    receipt = current.step("charge", charge, 5)
    current.step("ship", ship)
    if current.attempt() < 3:
        raise RuntimeError("again")
    return receipt


def test_a_finished_step_returns_what_it_returned_and_is_not_called_again() -> None:
    task = go_on(call(charges_and_ships), days=1)
    assert (task.status, task.attempt) == (Status.SUCCEEDED, 3)
    # Every attempt gets the same: JSON.
    assert task.result == {"receipt": [1, 5]}
    assert noted == ["charge 5", "ship"]


async def charge_async(amount: int) -> int:
    noted.append(f"charge {amount}")
    return amount


async def charges_async() -> Any:
    amount = await current.astep("charge", charge_async, amount=5)
    if current.attempt() < 3:
        raise RuntimeError("again")
    await current.asleep(days=3)
    return [amount, await current.await_for("approved")]


def test_a_coroutine_has_steps_sleeps_and_waits_too() -> None:
    task = go_on(call(charges_async, "act_async"), days=4)
    assert (task.status, open_wait(task.pk)) == (Status.PENDING, ("approved", None))
    signal(task.pk, "approved", "by Ada")
    task = go_on(task, days=4)
    assert (task.status, task.result, noted) == (Status.SUCCEEDED, [5, "by Ada"], ["charge 5"])


def fails_in_a_step() -> None:
    def fail() -> None:
        noted.append("fail")
        if len(noted) < 3:
            raise RuntimeError("again")

    current.step("fail", fail)


def test_a_step_that_raises_is_called_again_by_the_next_attempt() -> None:
    assert go_on(call(fails_in_a_step), days=1).status == Status.SUCCEEDED
    assert noted == ["fail"] * 3


def rolls_a_step_back() -> None:
    with transaction.atomic():
        current.step("ship", ship)
        if current.attempt() == 1:
            raise RuntimeError("again")


def test_a_step_in_a_transaction_is_rolled_back_with_it() -> None:
    assert go_on(call(rolls_a_step_back), days=1).status == Status.SUCCEEDED
    assert noted == ["ship"] * 2


def steps_twice() -> None:
    current.step("ship", ship)
    current.step("ship", ship)


def steps_with_a_long_name() -> None:
    current.step("x" * 10_000, ship)


def steps_without_a_name() -> None:
    current.step("", ship)


def steps_by_number() -> None:
    current.step(5, ship)  # type: ignore[arg-type]


def snoozes_for_no_number() -> None:
    current.snooze(seconds=float("nan"))


def returns_ten_megabytes() -> None:
    current.step("large", lambda: "x" * 10_000_000)


def sleeps_backwards() -> None:
    current.sleep(days=-1)


def sleeps_for_ever() -> None:
    current.sleep(days=1e12)


def sleeps_in_a_transaction() -> None:
    with transaction.atomic():
        current.sleep(days=1)


def waits_in_a_transaction() -> None:
    with transaction.atomic():
        current.wait_for("approved")


def steps_too_often() -> None:
    for number in range(6):
        current.step(f"{number}", ship)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (steps_twice, "DuplicateName: this run has had a step with the name 'ship'; each needs a name of its own"),
        (steps_with_a_long_name, "NotStorable: expected 1 to 100 printable characters as the name of a step, got 'xxx"),
        (steps_without_a_name, "NotStorable: expected 1 to 100 printable characters as the name of a step, got ''"),
        (steps_by_number, "NotStorable: expected 1 to 100 printable characters as the name of a step, got 5"),
        (snoozes_for_no_number, "ValueError: expected a number of seconds, got nan"),
        (returns_ten_megabytes, "NotStorable: the result of step large: result: expected at most 65536 bytes of JSON"),
        (sleeps_backwards, "ValueError: expected a time of at least 0 seconds, got -86400.0"),
        (sleeps_for_ever, "OverflowError: "),
        (sleeps_in_a_transaction, "RuntimeError: A durable atomic block cannot be nested"),
        (waits_in_a_transaction, "RuntimeError: A durable atomic block cannot be nested"),
        (steps_too_often, "NotStorable: expected at most 5 steps, waits and loops in a run (MAX_STEPS)"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_what_was_expected(function, message, settings) -> None:
    settings.MAX_STEPS = 5
    task = go_on(call(function, max_retries=0))
    assert task.status == Status.DEAD
    assert task.error.startswith(message)


# --- Sleeps ---


def sleeps() -> str:
    current.step("ship", ship)
    current.sleep(days=3)
    noted.append("awake")
    current.sleep(hours=1, name="again")
    return "done"


def test_a_sleep_ends_the_attempt_and_counts_no_failure() -> None:
    task = go_on(call(sleeps))
    assert (task.status, task.failures, noted) == (Status.PENDING, 0, ["ship"])
    assert timedelta(days=3) - timedelta(minutes=1) < task.run_at - timezone.now() <= timedelta(days=3)
    task = go_on(task, days=2)
    assert (task.status, task.attempt) == (Status.PENDING, 1)
    task = go_on(task, days=4)
    assert (task.status, task.result) == (Status.SUCCEEDED, "done")
    # The code between the two sleeps runs in each attempt that comes there.
    assert noted == ["ship", "awake", "awake"]
    assert outcomes(task) == ["SNOOZED", "SNOOZED", "SUCCEEDED"]


def test_a_sleep_that_was_begun_ends_when_it_would_have_whatever_happens_meanwhile() -> None:
    task = go_on(call(sleeps))
    Task.objects.filter(pk=task.pk).update(run_at=timezone.now())
    task = go_on(task)
    assert (task.status, task.attempt, noted) == (Status.PENDING, 2, ["ship"])
    assert task.run_at - timezone.now() > timedelta(days=2, hours=23)


# --- Signals ---


def waits() -> Any:
    current.step("ship", ship)
    return current.wait_for("approved")


def waits_a_day() -> Any:
    try:
        return current.wait_for("approved", timeout=86_400)
    except WaitTimedOut as error:
        return str(error)


def test_a_task_goes_on_when_its_signal_comes() -> None:
    task = go_on(call(waits))
    assert (task.status, outcomes(task)) == (Status.PENDING, ["SNOOZED"])
    assert open_wait(task.pk) == ("approved", None)
    assert go_on(task, days=365).attempt == 1
    signal(task.pk, "other")
    assert go_on(task).attempt == 1
    signal(task.pk, "approved", {"by": "Ada"}, by=Author(name="ada", reason="fine"))
    assert open_wait(task.pk) is None
    task = go_on(task)
    assert (task.status, task.result, noted) == (Status.SUCCEEDED, {"by": "Ada"}, ["ship"])
    entry = Journal.objects.get(verb="signal", by="ada")
    assert (entry.task_id, entry.reason, entry.detail) == (task.pk, "fine", {"name": "approved"})


def test_a_signal_that_comes_early_is_kept() -> None:
    task = call(waits)
    signal(task.pk, "approved", [1])
    task = go_on(task)
    assert (task.status, task.result, outcomes(task)) == (Status.SUCCEEDED, [1], ["SUCCEEDED"])


def test_a_wait_times_out_once_and_for_all() -> None:
    task = go_on(call(waits_a_day))
    assert (task.status, open_wait(task.pk) is not None) == (Status.PENDING, True)
    task = go_on(task, days=2)
    assert (task.status, task.result) == (Status.SUCCEEDED, "the signal approved did not come in time")


def waits_and_fails() -> Any:
    try:
        return current.wait_for("approved", timeout=0)
    except WaitTimedOut:
        if current.attempt() == 1:
            raise RuntimeError("again") from None
        return "timed out"


def test_a_signal_after_the_time_out_is_refused_and_the_next_attempt_goes_the_same_way() -> None:
    task = go_on(call(waits_and_fails))
    assert task.status == Status.RETRYING
    with pytest.raises(AlreadySignalled):
        signal(task.pk, "approved")
    assert go_on(task, days=1).result == "timed out"


def test_the_first_of_two_signals_counts() -> None:
    task = go_on(call(waits))
    signal(task.pk, "approved", 1)
    with pytest.raises(AlreadySignalled):
        signal(task.pk, "approved", 2)
    assert go_on(task).result == 1


def fails_and_waits() -> Any:
    if current.attempt() == 2:
        raise RuntimeError("again")
    return current.wait_for("approved")


def test_a_signal_does_not_cut_the_delay_before_a_retry_short() -> None:
    task = go_on(call(fails_and_waits, min_backoff_seconds=3600))
    Task.objects.filter(pk=task.pk).update(run_at=timezone.now())
    task = go_on(task)
    assert task.status == Status.RETRYING
    signal(task.pk, "approved", 1)
    assert Task.objects.get(pk=task.pk).run_at > timezone.now() + timedelta(minutes=50)
    assert go_on(task, days=1).result == 1


# --- The end of a task ---


def test_steps_and_signals_go_with_their_task(lead) -> None:
    deleted, pruned = go_on(call(waits)), go_on(call(charges_and_ships), days=1)
    assert Step.objects.filter(task_id__in=[deleted.pk, pruned.pk]).count() == 4
    lifecycle.delete(deleted.pk)
    lifecycle.prune_many(UUID(int=0), keep_seconds={"SUCCEEDED": -(10**6)}, batch=10, **lead)
    assert not Step.objects.exists()


def test_a_plain_task_has_none() -> None:
    task = go_on(submit())
    assert (task.checkpoint, task.progress, task.log, task.attempts.get().log) == (None, None, None, None)
    assert not Step.objects.exists()
