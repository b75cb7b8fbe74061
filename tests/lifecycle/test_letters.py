"""redrive_many, discard_many: what can be done is done, the rest is skipped."""

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle.letters import discard_many, redrive_many
from tasks.models import TaskEvent
from tasks.states import Resolution, Status
from tests.factories import make_task, open_letter

pytestmark = pytest.mark.django_db


def test_open_letters_are_redriven_and_the_rest_is_skipped(worker) -> None:
    tasks = [make_task(Status.DEAD, worker=worker) for _ in range(3)]
    letters = [open_letter(task) for task in tasks]
    lifecycle.discard(letters[0].pk)
    moved = redrive_many([letter.pk for letter in letters], by="ada")
    assert {one.id for one in moved} == {tasks[1].pk, tasks[2].pk}
    assert {one.status for one in moved} == {Status.PENDING}
    resolutions = {letter.pk: letter.resolution for letter in DeadLetter.objects.all()}
    assert [resolutions[letter.pk] for letter in letters] == [
        Resolution.DISCARDED,
        Resolution.REDRIVEN,
        Resolution.REDRIVEN,
    ]
    assert set(TaskEvent.objects.filter(verb="redrive").values_list("by", flat=True)) == {"ada"}
    assert redrive_many([letter.pk for letter in letters]) == []


def test_a_resolved_letter_does_not_redrive_the_next_death_of_its_task(worker) -> None:
    task = make_task(Status.DEAD, worker=worker)
    first = open_letter(task)
    lifecycle.redrive(first.pk)
    lifecycle.cancel(task.pk)
    assert redrive_many([first.pk]) == []
    task.refresh_from_db()
    assert task.status == Status.CANCELLED


def test_open_letters_are_discarded_and_the_rest_is_skipped(worker) -> None:
    task, other = make_task(Status.DEAD, worker=worker), make_task(Status.DEAD, worker=worker)
    letter, redriven = open_letter(task), open_letter(other)
    lifecycle.redrive(redriven.pk)
    assert discard_many([letter.pk, redriven.pk], by="ada") == [letter.pk]
    letter.refresh_from_db()
    assert (letter.resolution, letter.resolved_by) == (Resolution.DISCARDED, "ada")
    assert letter.resolved_at is not None
    assert TaskEvent.objects.filter(task_id=task.pk, verb="discard", by="ada").count() == 1
    task.refresh_from_db()
    assert task.status == Status.DEAD
    assert discard_many([letter.pk]) == []
