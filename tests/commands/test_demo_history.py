"""``callboard demo --history``: a made-up day that agrees with itself, labelled, and only on an empty stack."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import dramatiq
import pytest
from django.core.management.base import CommandError
from django.db.models import Sum
from django.utils import timezone

from dlq.models import DeadLetter, Failure
from tasks.models import Attempt, Journal, Operation, OperationItem, Schedule, Task, TaskStat, Worker
from tasks.states import AttemptOutcome, Status, TaskOutcome, WorkerStatus
from tasks.testing import drain
from tests import factories
from tests.commands.cli import callboard, callboard_json

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def _shop() -> Iterator[None]:
    """Declare the shop's actors for one test."""
    known = dramatiq.get_broker().actors
    before = dict(known)
    from examples.shop import actors

    for actor in vars(actors).values():
        if isinstance(actor, dramatiq.Actor) and actor.actor_name not in known:
            dramatiq.get_broker().declare_actor(actor)
    yield
    known.clear()
    known.update(before)


def test_a_day_is_written_and_agrees_with_itself() -> None:
    counts = {row["name"]: row["rows"] for row in callboard_json("demo", "--history")["results"]}
    now = timezone.now()
    tasks = Task.objects.all()
    assert counts["tasks"] == tasks.count() > 5_000
    # One may wait for its retry.
    assert set(tasks.values_list("status", flat=True)) - {Status.RETRYING} == {
        Status.PENDING, Status.SUCCEEDED, Status.DEAD, Status.CANCELLED,
    }  # fmt: skip
    assert not tasks.exclude(tags=["demo"]).exists()
    assert not tasks.filter(finished_at__gt=now).exists()

    by_task = Counter(Attempt.objects.values_list("task_id", flat=True))
    assert {id: number for id, number in tasks.values_list("id", "attempt") if number} == dict(by_task)
    dead = set(tasks.filter(status=Status.DEAD).values_list("id", flat=True))
    assert set(DeadLetter.objects.exclude(resolution="REDRIVEN").values_list("task_id", flat=True)) == dead
    assert not Worker.objects.exclude(status=WorkerStatus.GONE).exists()

    _assert_causes_are_counted()
    _assert_statistics_agree()
    _assert_operation_agrees()
    assert {"deploy", "pause", "resume", "redrive", "discard", "cancel"} <= set(
        Journal.objects.values_list("verb", flat=True)
    )
    assert Schedule.objects.count() == 2
    assert tasks.filter(schedule_id__isnull=False, scheduled_at__isnull=False).count() > 1_000


def _assert_causes_are_counted() -> None:
    letters = DeadLetter.objects.all()
    assert Failure.objects.aggregate(Sum("open"), Sum("total")) == {
        "open__sum": letters.open().count(),
        "total__sum": letters.count(),
    }
    bug = Failure.objects.get(error_type="KeyError")
    assert (bug.actor, bug.error_message, bug.frame) == ("charge_card", "'CHF'", "shop/actors.py:19 in charge_card")
    assert (bug.first_build, bug.last_build) == ("shop-2", "shop-2")
    assert bug.open > 20
    payloads = Task.objects.filter(pk__in=letters.of_cause(bug.pk).values("task_id")).values_list("payload", flat=True)
    assert {payload["currency"] for payload in payloads} == {"CHF"}


def _assert_statistics_agree() -> None:
    since = Worker.objects.earliest("started_at").started_at
    counted = dict(TaskStat.objects.filter(start__gte=since).values_list("outcome").annotate(Sum("count")))
    assert counted[TaskOutcome.SUBMITTED] == Task.objects.filter(created_at__gte=since).count()
    assert counted[TaskOutcome.SUCCEEDED] == Attempt.objects.filter(outcome=AttemptOutcome.SUCCEEDED).count()
    assert counted[TaskOutcome.DEAD] == DeadLetter.objects.count()
    assert TaskStat.objects.filter(start__lt=timezone.now() - timedelta(days=6)).exists()


def _assert_operation_agrees() -> None:
    operation = Operation.objects.get()
    items = OperationItem.objects.filter(operation=operation)
    assert operation.total == operation.moved == operation.succeeded == items.count() == 10
    assert DeadLetter.objects.filter(resolution="REDRIVEN").count() == 10
    assert Journal.objects.get(operation_id=operation.pk, count__isnull=False).count == 10


def test_the_dead_letters_of_the_bug_succeed_when_they_are_re_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.shop.actors.time.sleep", lambda _: None)
    callboard("demo", "--history")
    letters = DeadLetter.objects.open().filter(error_type="KeyError")
    ids = list(letters.values_list("pk", flat=True))
    Task.objects.filter(status__in=[Status.PENDING, Status.RETRYING]).delete()
    callboard("dlq", "redrive", *map(str, ids))
    drain()
    assert {task.status for task in Task.objects.filter(dead_letters__in=ids)} == {Status.SUCCEEDED}


def test_a_stack_that_is_not_empty_is_refused_and_unchanged() -> None:
    factories.submit()
    with pytest.raises(CommandError, match="expected an empty stack, but there are tasks; made-up rows must not mix"):
        callboard("demo", "--history")
    assert (Task.objects.count(), Worker.objects.count(), Schedule.objects.count()) == (1, 0, 0)


def test_a_flow_and_a_history_are_two_commands() -> None:
    with pytest.raises(CommandError, match="not allowed with argument"):
        callboard("demo", "etl", "--history")
