"""The settler: woken when a parent ends, and by nothing that a plain task does."""

from typing import Any

import pytest

from tasks import lifecycle
from tasks.broker.notifier import Event, notifier
from tasks.lifecycle import Submission
from tasks.scheduler import settler
from tasks.states import Status
from tests.factories import make_task, outcome, start, submit


@pytest.fixture
def _no_poll(monkeypatch: Any) -> None:
    monkeypatch.setattr(settler, "POLL_SECONDS", 60.0)


@pytest.mark.usefixtures("_no_poll")
def test_a_workflow_runs_by_wake_ups_alone(engine: Any) -> None:
    tasks = [submit()]
    for _ in range(3):
        tasks.append(submit(depends_on=[tasks[-1].pk]))
    assert {task.status for task in engine.wait_for(*tasks)} == {Status.SUCCEEDED}


@pytest.fixture
def events(db: None, wakeups: None, monkeypatch: Any) -> list[Event]:
    """Collect the wake-ups that this process would send."""
    sent: list[Event] = []
    monkeypatch.setattr(notifier, "notify", sent.append)
    return sent


def test_a_plain_tasks_life_wakes_no_settler(events, worker, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.complete_many([outcome(start(submit(), worker), worker)])
    assert events == [Event.DUE]


def test_a_child_and_the_end_of_its_parent_wake_the_settler(events, worker, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        parent, _ = lifecycle.submit_many(
            [
                Submission(actor="act", payload={"do": "return"}, ref="a"),
                Submission(actor="act", payload={"do": "return"}, depends_on=[lifecycle.DependsOn("a")]),
            ]
        )
    assert events == [Event.DUE, Event.SETTLE]
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.complete_many([outcome(start(parent, worker), worker)])
    assert events[2:] == [Event.SETTLE]


def test_an_operators_cancel_wakes_the_settler(events, django_capture_on_commit_callbacks) -> None:
    task = make_task(Status.PENDING)
    with django_capture_on_commit_callbacks(execute=True):
        lifecycle.cancel(task.pk)
    assert events[-1:] == [Event.SETTLE]
