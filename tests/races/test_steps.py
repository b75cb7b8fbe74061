"""Steps, checkpoints and signals beside the verbs that take their task away or end its attempt."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from tasks import lifecycle
from tasks.errors import AttemptLost
from tasks.holder import Holder
from tasks.lifecycle import checkpoint, steps
from tasks.models import Step, Task
from tasks.states import AttemptOutcome, StepKind
from tests.factories import make_worker, outcome, start, submit


def save(holder: Holder) -> None:
    checkpoint.save(holder, ["data"], 1)


def keep(holder: Holder) -> None:
    steps.keep(holder, StepKind.STEP, "charge", result=1)


def give_away(task_id: UUID) -> None:
    """Give the task to another attempt, as a rescue and a claim do."""
    Task.objects.filter(pk=task_id).update(attempt=7)


@pytest.mark.parametrize("write", [save, keep])
def test_a_write_that_waits_for_a_rescue_finds_its_task_given_away(race, write) -> None:
    worker = make_worker()
    claimed = start(submit(), worker)
    holder = Holder(claimed.id, claimed.attempt, worker.pk)
    _, written = race.while_open(partial(give_away, claimed.id), partial(write, holder))
    assert isinstance(written, AttemptLost)
    assert (Task.objects.get().checkpoint, Step.objects.count()) == (None, 0)


@pytest.mark.parametrize("write", [save, keep])
def test_a_rescue_waits_for_a_write_that_has_begun(race, write) -> None:
    worker = make_worker()
    claimed = start(submit(), worker)
    holder = Holder(claimed.id, claimed.attempt, worker.pk)
    held, _ = race.while_waiting(partial(write, holder), partial(give_away, claimed.id), lambda: "it waited")
    assert held == "it waited"
    assert Task.objects.get().attempt == 7


@pytest.mark.parametrize("first", ["completion", "signal"])
def test_a_signal_at_the_end_of_the_attempt_makes_its_task_due(race, first: str) -> None:
    worker = make_worker()
    claimed = start(submit(), worker)
    Step.objects.create(task_id=claimed.id, kind=StepKind.WAIT, name="go")
    suspended: dict[str, Any] = {"ended_as": AttemptOutcome.SNOOZED, "retry_delay_seconds": 1e6, "waits_for": "go"}
    ended = outcome(claimed, worker, **suspended)
    verbs = [partial(lifecycle.complete_many, [ended], waits=True), partial(lifecycle.signal, claimed.id, "go")]
    race.while_open(*(verbs if first == "completion" else reversed(verbs)))
    task = Task.objects.get()
    assert (task.status, task.run_at <= timezone.now()) == ("PENDING", True)
