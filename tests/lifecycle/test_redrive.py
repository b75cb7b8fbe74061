"""redrive: the task of an open dead letter begins a second life."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.errors import AlreadyResolved, InvalidTask, NotFound, TooManyTasks
from tasks.lifecycle import Author, workers
from tasks.models import Journal, Task
from tasks.states import DeathReason, Resolution, Status
from tasks.worker.flight_recorder import Record
from tests.factories import database_now, failure, make_due, make_task, make_worker, open_letter, start, submit

pytestmark = pytest.mark.django_db


def test_a_redrive_resets_failures_and_crashes_and_nothing_else(lead) -> None:
    task = submit(max_retries=1)
    crashed, worker = make_worker(), make_worker()
    claimed = start(task, crashed)
    records = [Record(f"{claimed.id}:{claimed.attempt}", database_now(), is_stuck=False, has_ended=False)]
    workers.report_end(crashed.pk, kind="crashed", detail="", records=records)
    lifecycle.rescue_lost(**lead)
    task.refresh_from_db()
    lifecycle.fail(failure(start(task, worker), worker))
    task.refresh_from_db()
    make_due(task)
    lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.MAX_RETRIES_EXCEEDED))
    task.refresh_from_db()
    assert (task.status, task.dispatch, task.attempt, task.failures, task.crashes) == (Status.DEAD, 3, 3, 2, 1)
    assert lifecycle.redrive(open_letter(task).pk, by=Author("ann")) == Status.PENDING
    task.refresh_from_db()
    assert (task.status, task.dispatch, task.attempt, task.failures, task.crashes) == (Status.PENDING, 3, 3, 0, 0)
    assert start(task, worker).attempt == 4


def test_a_redrive_resolves_the_letter_and_notes_who() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    lifecycle.redrive(letter.pk, by=Author("ann"))
    letter.refresh_from_db()
    assert (letter.resolution, letter.resolved_by) == (Resolution.REDRIVEN, "ann")
    assert letter.resolved_at is not None
    event = Journal.objects.get()
    assert (event.verb, event.by, event.task_id) == ("redrive", "ann", task.pk)


def test_a_resolved_letter_cannot_be_redriven_or_discarded() -> None:
    redriven, discarded = open_letter(make_task(Status.DEAD)), open_letter(make_task(Status.DEAD))
    lifecycle.redrive(redriven.pk)
    lifecycle.discard(discarded.pk)
    for letter, word in ((redriven, "re-driven"), (discarded, "discarded")):
        for verb in (lifecycle.redrive, lifecycle.discard):
            with pytest.raises(AlreadyResolved, match=f"was {word} before"):
                verb(letter.pk)
    assert Task.objects.get(pk=discarded.task_id).status == Status.DEAD


def test_an_old_letter_does_not_redrive_a_task_that_died_again(worker) -> None:
    task = make_task(Status.DEAD)
    first = open_letter(task)
    lifecycle.redrive(first.pk)
    task.refresh_from_db()
    lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))
    with pytest.raises(AlreadyResolved):
        lifecycle.redrive(first.pk)
    assert Task.objects.get().status == Status.DEAD
    assert open_letter(task).pk != first.pk


def test_each_death_is_a_letter_and_at_most_one_is_open(worker) -> None:
    task = make_task(Status.DEAD)
    for _ in range(3):
        assert DeadLetter.objects.open().filter(task_id=task.pk).count() == 1
        lifecycle.retry(task.pk)
        assert not DeadLetter.objects.open().exists()
        task.refresh_from_db()
        lifecycle.fail(failure(start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))
    assert DeadLetter.objects.filter(task_id=task.pk).count() == 4
    assert DeadLetter.objects.open().count() == 1


def test_a_missing_row_is_not_found() -> None:
    for verb in (lifecycle.redrive, lifecycle.discard):
        with pytest.raises(NotFound):
            verb(uuid4())


def test_the_letter_of_a_removed_task_stays_and_cannot_be_redriven() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    Task.objects.filter(pk=task.pk).delete()
    with pytest.raises(NotFound, match="submit a new one"):
        lifecycle.redrive(letter.pk)
    letter.refresh_from_db()
    assert letter.is_open
    lifecycle.discard(letter.pk)


@pytest.mark.parametrize("verb", ["redrive", "redrive_many", "retry"])
def test_a_redrive_is_announced_as_one_by_every_verb_so_that_it_is_dispatched_at_once(announcements, verb) -> None:
    task = make_task(Status.DEAD)
    verbs: dict[str, Callable[[], Any]] = {
        "redrive": lambda: lifecycle.redrive(open_letter(task).pk),
        "redrive_many": lambda: lifecycle.redrive_many([open_letter(task).pk]),
        "retry": lambda: lifecycle.retry(task.pk),
    }
    with announcements() as heard:
        verbs[verb]()
    assert Journal.objects.get().verb == "redrive"
    assert [(one.verb, [move.status for move in one.moves]) for one in heard] == [("redrive", [Status.PENDING])]


def test_a_task_that_does_not_fit_its_actor_any_more_is_not_redriven_and_its_letter_stays_open() -> None:
    task = make_task(Status.DEAD)
    Task.objects.filter(pk=task.pk).update(payload={"what": "an older release took"})
    with pytest.raises(InvalidTask):
        lifecycle.redrive(open_letter(task).pk)
    task.refresh_from_db()
    assert task.status == Status.DEAD
    assert open_letter(task).is_open


def test_open_letters_are_redriven_and_the_rest_is_skipped(worker) -> None:
    tasks = [make_task(Status.DEAD, worker=worker) for _ in range(3)]
    letters = [open_letter(task) for task in tasks]
    lifecycle.discard(letters[0].pk)
    moved = lifecycle.redrive_many([letter.pk for letter in letters], by=Author("ada"))
    assert {one.id for one in moved} == {tasks[1].pk, tasks[2].pk}
    assert {one.status for one in moved} == {Status.PENDING}
    resolutions = {letter.pk: letter.resolution for letter in DeadLetter.objects.all()}
    assert [resolutions[letter.pk] for letter in letters] == [
        Resolution.DISCARDED,
        Resolution.REDRIVEN,
        Resolution.REDRIVEN,
    ]
    assert set(Journal.objects.filter(verb="redrive").values_list("by", flat=True)) == {"ada"}
    assert lifecycle.redrive_many([letter.pk for letter in letters]) == []


def test_a_resolved_letter_does_not_redrive_the_next_death_of_its_task(worker) -> None:
    task = make_task(Status.DEAD, worker=worker)
    first = open_letter(task)
    lifecycle.redrive(first.pk)
    lifecycle.cancel(task.pk)
    assert lifecycle.redrive_many([first.pk]) == []
    task.refresh_from_db()
    assert task.status == Status.CANCELLED


def test_a_redrive_gives_the_task_the_payload_that_it_brings() -> None:
    task = make_task(Status.DEAD)
    Task.objects.filter(pk=task.pk).update(payload={"what": "an older release took"})
    payload = {"do": "return", "value": 7}
    assert lifecycle.redrive(open_letter(task).pk, by=Author("ann"), payload=payload) == Status.PENDING
    task.refresh_from_db()
    assert (task.payload, task.status) == (payload, Status.PENDING)
    verbs = Journal.objects.filter(task_id=task.pk, by="ann").order_by("id").values_list("verb", "kind", "detail")
    assert list(verbs) == [
        ("edit", "task", {"fields": ["payload"]}),
        ("redrive", "dead_letter", {"status": "DEAD"}),
    ]


def test_a_payload_that_does_not_fit_changes_nothing() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)
    with pytest.raises(InvalidTask) as refused:
        lifecycle.redrive(letter.pk, payload={"do": "return", "nonsense": 1})
    assert "nonsense" in refused.value.errors[0].field
    _assert_untouched(task, letter)


def test_a_refused_redrive_takes_the_new_payload_back() -> None:
    task = make_task(Status.DEAD)
    letter = open_letter(task)

    def refuse(_count: int) -> None:
        raise TooManyTasks

    with pytest.raises(TooManyTasks):
        lifecycle.redrive(letter.pk, payload={"do": "fail"}, admit=refuse)
    _assert_untouched(task, letter)


def test_a_resolved_letter_gives_no_payload_to_its_task() -> None:
    task, removed = make_task(Status.DEAD), make_task(Status.DEAD)
    letter = open_letter(task)
    lifecycle.discard(letter.pk)
    with pytest.raises(AlreadyResolved):
        lifecycle.redrive(letter.pk, payload={"do": "fail"})
    with pytest.raises(NotFound):
        lifecycle.redrive(uuid4(), payload={"do": "fail"})
    orphan = open_letter(removed)
    Task.objects.filter(pk=removed.pk).delete()
    with pytest.raises(NotFound, match="submit a new one"):
        lifecycle.redrive(orphan.pk, payload={"do": "fail"})
    assert Task.objects.get(pk=task.pk).payload == task.payload


def _assert_untouched(task: Task, letter: DeadLetter) -> None:
    before = (task.payload, task.version)
    task.refresh_from_db()
    letter.refresh_from_db()
    assert (task.payload, task.version, task.status, letter.is_open) == (*before, Status.DEAD, True)
    assert not Journal.objects.filter(verb__in=["edit", "redrive"]).exists()
