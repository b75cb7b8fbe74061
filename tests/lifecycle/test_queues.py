"""pause, resume: nothing of a paused queue reaches a worker, whatever was in the broker already."""

import pytest
from django.db import OperationalError

from tasks import lifecycle
from tasks.broker import notifier
from tasks.errors import NotFound
from tasks.lifecycle import queues
from tasks.models import Journal, Queue
from tasks.states import Status
from tests.factories import dispatch, dispatch_due, make_task, submit
from tests.worker.manual import fails_once

pytestmark = pytest.mark.django_db


def test_dispatched_tasks_are_taken_back_and_their_hints_are_stale(worker) -> None:
    task = submit()
    hint = dispatch(task)
    queues.pause("default")
    task.refresh_from_db()
    assert (task.status, task.queued_at, task.dispatch) == (Status.PENDING, None, 1)
    assert lifecycle.claim_many([hint], worker_id=worker.pk) == []


def test_nothing_of_a_paused_queue_is_dispatched_until_it_is_resumed(worker) -> None:
    submit()
    queues.pause("default")
    assert dispatch_due() == []
    queues.resume("default")
    assert len(dispatch_due()) == 1


def test_other_queues_and_running_tasks_are_left_alone(worker) -> None:
    running = make_task(Status.RUNNING, worker=worker)
    elsewhere = make_task(Status.QUEUED, queue="other")
    queues.pause("default")
    running.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (running.status, elsewhere.status) == (Status.RUNNING, Status.QUEUED)


def test_pausing_twice_keeps_the_first_time(worker) -> None:
    first = queues.pause("default").paused_at
    assert first is not None
    assert queues.pause("default").paused_at == first


def test_a_queue_is_not_paused_if_its_tasks_cannot_be_taken_back(worker, monkeypatch) -> None:
    task = make_task(Status.QUEUED)
    fails_once(monkeypatch, queues, "take_back", OperationalError("statement timeout"))
    with pytest.raises(OperationalError):
        queues.pause("default")
    assert Queue.objects.get(pk="default").paused_at is None
    assert not Journal.objects.exists()
    queues.pause("default")
    task.refresh_from_db()
    assert task.status == Status.PENDING


def test_resuming_wakes_the_dispatcher_when_it_has_committed(
    worker, wakeups, monkeypatch, django_capture_on_commit_callbacks
) -> None:
    events: list[bool] = []
    monkeypatch.setattr(
        notifier.notifier, "notify", lambda _: events.append(Queue.objects.get(pk="default").paused_at is None)
    )
    queues.pause("default")
    with django_capture_on_commit_callbacks(execute=True):
        queues.resume("default")
    assert events == [True]
    with django_capture_on_commit_callbacks(execute=True):
        queues.resume("default")
    assert events == [True]


def test_the_taking_back_is_announced(announcements, worker) -> None:
    task = make_task(Status.QUEUED)
    with announcements() as heard:
        queues.pause("default")
    assert [(one.verb, [move.id for move in one.moves]) for one in heard] == [("requeue", [task.pk])]


@pytest.mark.parametrize("verb", [queues.pause, queues.resume])
def test_an_unknown_queue_is_refused(verb) -> None:
    with pytest.raises(NotFound, match="no queue 'nowhere'"):
        verb("nowhere")
