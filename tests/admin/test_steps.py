"""Signals, steps, progress and log lines in the admin."""

import pytest
from django.test import Client

from tasks.models import Task
from tasks.states import Status
from tasks.testing import drain
from tests.factories import submit
from tests.worker import test_checkpoints, test_steps

pytestmark = pytest.mark.django_db


def page_of(browser: Client, task: Task) -> str:
    return browser.get(f"/admin/callboard/task/{task.pk}/change/").content.decode()


def test_an_operator_sends_the_signal_that_a_task_waits_for(operator) -> None:
    task = test_steps.call(test_steps.waits)
    drain()
    assert "waits for the signal approved" in page_of(operator, task)
    address = f"/admin/callboard/task/{task.pk}/do/signal/"
    assert "Send the signal to task" in operator.post(address).content.decode()
    operator.post(address, {"confirmed": "1", "reason": "fine"})
    drain()
    task.refresh_from_db()
    assert (task.status, task.result) == (Status.SUCCEEDED, {"by": "olga", "reason": "fine"})


def test_the_button_is_there_only_while_a_task_waits_for_a_signal(operator, viewer) -> None:
    task = test_steps.call(test_steps.waits)
    other = submit()
    assert "Send signal" not in page_of(operator, task)
    drain()
    assert "Send signal" in page_of(operator, task)
    assert "Send signal" not in page_of(operator, other)
    assert "Send signal" not in page_of(viewer, task)
    operator.post(f"/admin/callboard/task/{other.pk}/do/signal/", {"confirmed": "1"})
    assert other.steps.count() == 0


def test_a_page_shows_progress_log_lines_and_steps(root) -> None:
    task = test_checkpoints.run(test_checkpoints.shows_progress)
    text = page_of(root, task)
    assert "part 3" in text
    assert "line 3" in text
    task = test_steps.go_on(test_steps.call(test_steps.charges_and_ships), days=1)
    assert "<bdi>charge</bdi>" in page_of(root, task)
