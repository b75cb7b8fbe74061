"""restore: a discarded dead letter is open again, while its dead task is there to be re-driven."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import F
from django.utils import timezone

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.errors import IllegalTransition, NotFound
from tasks.lifecycle import Author
from tasks.lifecycle.prune import FIRST_ID
from tasks.models import Journal, Task, Worker
from tasks.states import DeathReason, Resolution, Status
from tests.factories import age, failure, make_task, open_letter, start
from tests.scheduler.stage import born_earlier

pytestmark = pytest.mark.django_db

DAY = 86_400.0


def discarded(worker: Worker | None = None) -> DeadLetter:
    letter = open_letter(make_task(Status.DEAD, worker=worker))
    lifecycle.discard(letter.pk, by=Author("bob"))
    return letter


def die_again(letter: DeadLetter, worker: Worker) -> None:
    lifecycle.retry(letter.task_id)
    task = Task.objects.get(pk=letter.task_id)
    lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))


def test_a_discarded_letter_is_open_again_and_can_be_redriven() -> None:
    letter = discarded()
    lifecycle.restore(letter.pk, by=Author("ann", reason="the wrong ones"))
    letter.refresh_from_db()
    assert (letter.resolution, letter.resolved_by, letter.resolved_at) == (Resolution.OPEN, "", None)
    entry = Journal.objects.get(verb="restore")
    assert (entry.by, entry.reason, entry.object_id) == ("ann", "the wrong ones", str(letter.pk))
    assert entry.task_id == letter.task_id
    assert lifecycle.redrive(letter.pk) == Status.PENDING


def test_the_discarded_are_restored_and_the_rest_is_skipped(worker) -> None:
    first, second = discarded(worker), discarded(worker)
    still_open = open_letter(make_task(Status.DEAD, worker=worker))
    redriven = open_letter(make_task(Status.DEAD, worker=worker))
    lifecycle.redrive(redriven.pk)
    ids = [first.pk, still_open.pk, redriven.pk, second.pk, uuid4()]
    assert {*lifecycle.restore_many(ids)} == {first.pk, second.pk}
    assert Journal.objects.filter(verb="restore").count() == 2
    assert lifecycle.restore_many(ids) == []
    assert lifecycle.restore_many([]) == []


def test_an_old_letter_that_was_restored_stays_open_as_long_as_a_new_one(lead) -> None:
    letter = discarded()
    DeadLetter.objects.update(died_at=F("died_at") - timedelta(days=9))
    lifecycle.restore(letter.pk)
    assert lifecycle.discard_old(keep_seconds=DAY, batch=10, **lead) == 0
    Journal.objects.filter(verb="restore").update(at=F("at") - timedelta(days=2))
    assert lifecycle.discard_old(keep_seconds=DAY, batch=10, **lead) == 1


def test_what_was_not_discarded_is_not_restored() -> None:
    letter = open_letter(make_task(Status.DEAD))
    with pytest.raises(IllegalTransition, match="is open, not discarded"):
        lifecycle.restore(letter.pk)
    lifecycle.redrive(letter.pk)
    lifecycle.cancel(letter.task_id)
    with pytest.raises(IllegalTransition, match="is re-driven, not discarded"):
        lifecycle.restore(letter.pk)
    with pytest.raises(NotFound):
        lifecycle.restore(uuid4())


def test_a_letter_of_a_task_that_is_not_dead_is_not_restored() -> None:
    letter = discarded()
    lifecycle.retry(letter.task_id)
    with pytest.raises(IllegalTransition, match="the task is PENDING"):
        lifecycle.restore(letter.pk)
    Task.objects.all().delete()
    with pytest.raises(NotFound, match="submit a new one"):
        lifecycle.restore(letter.pk)
    letter.refresh_from_db()
    assert letter.resolution == Resolution.DISCARDED


def test_only_the_last_death_of_a_task_is_restored(worker) -> None:
    first = discarded(worker)
    die_again(first, worker)
    with pytest.raises(IllegalTransition, match="died again"):
        lifecycle.restore(first.pk)
    second = open_letter(Task.objects.get())
    lifecycle.discard(second.pk)
    assert lifecycle.restore_many([first.pk, second.pk]) == [second.pk]


def test_a_restore_is_counted(worker, lead) -> None:
    letter = discarded(worker)
    lifecycle.fold_failures(**lead)
    assert Failure.objects.get().open == 0
    lifecycle.restore(letter.pk)
    assert Failure.objects.with_news().get().count("open") == 1
    lifecycle.fold_failures(**lead)
    found = Failure.objects.get()
    assert (found.open, found.total, found.error_type) == (1, 1, letter.error_type)
    assert lifecycle.recount_failures(**lead) == 0


def test_a_restore_brings_a_failure_back_that_was_removed(worker, lead) -> None:
    letter = discarded(worker)
    lifecycle.fold_failures(**lead)
    Failure.objects.all().delete()
    lifecycle.restore(letter.pk)
    lifecycle.fold_failures(**lead)
    found = Failure.objects.get()
    assert (found.open, found.actor, found.error_type, found.task_id) == (
        1, letter.actor, letter.error_type, letter.task_id,
    )  # fmt: skip


def test_a_dead_task_is_kept_as_long_after_a_discard_as_after_its_end(lead) -> None:
    letter = discarded()
    task = born_earlier(Task.objects.get(), timedelta(days=40))
    DeadLetter.objects.filter(pk=letter.pk).update(task_id=task.pk)
    age(task, finished_at=timedelta(days=40))

    def prune() -> int:
        bounds: dict[str, Any] = {"batch": 10, **lead}
        return lifecycle.prune_many(FIRST_ID, keep_seconds={str(Status.DEAD): 30 * DAY}, **bounds).removed

    assert prune() == 0
    lifecycle.restore(letter.pk)
    lifecycle.discard(letter.pk)
    DeadLetter.objects.update(resolved_at=timezone.now() - timedelta(days=31))
    assert prune() == 1


def test_what_the_pruner_may_be_removing_is_not_restored(settings) -> None:
    settings.KEEP_DEAD_SECONDS = 30 * DAY
    letter = discarded()
    DeadLetter.objects.update(resolved_at=timezone.now() - timedelta(days=30) + timedelta(seconds=2))
    with pytest.raises(IllegalTransition, match="too long ago"):
        lifecycle.restore(letter.pk)
    settings.KEEP_DEAD_SECONDS = 0
    lifecycle.restore(letter.pk)
