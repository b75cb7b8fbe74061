"""discard: an open dead letter is resolved, and its task stays dead."""

import pytest

from tasks import lifecycle
from tasks.lifecycle import Author
from tasks.models import Journal
from tasks.states import Resolution, Status
from tests.factories import make_task, open_letter

pytestmark = pytest.mark.django_db


def test_a_discard_resolves_the_letter_and_leaves_the_task_dead() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    lifecycle.discard(letter.pk, by=Author("bob"))
    letter.refresh_from_db()
    task.refresh_from_db()
    assert (letter.resolution, letter.resolved_by, task.status) == (Resolution.DISCARDED, "bob", Status.DEAD)
    event = Journal.objects.get()
    assert (event.verb, event.by) == ("discard", "bob")


def test_open_letters_are_discarded_and_the_rest_is_skipped(worker) -> None:
    task, other = make_task(Status.DEAD, worker=worker), make_task(Status.DEAD, worker=worker)
    letter, redriven = open_letter(task), open_letter(other)
    lifecycle.redrive(redriven.pk)
    assert lifecycle.discard_many([letter.pk, redriven.pk], by=Author("ada")) == [letter.pk]
    letter.refresh_from_db()
    assert (letter.resolution, letter.resolved_by) == (Resolution.DISCARDED, "ada")
    assert letter.resolved_at is not None
    assert Journal.objects.filter(task_id=task.pk, verb="discard", by="ada").count() == 1
    task.refresh_from_db()
    assert task.status == Status.DEAD
    assert lifecycle.discard_many([letter.pk]) == []
