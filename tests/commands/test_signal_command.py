"""``callboard tasks signal``, and what ``tasks show`` tells of a run."""

import pytest

from tasks.models import Journal
from tasks.states import Status
from tasks.testing import drain
from tests.commands.cli import callboard, callboard_json
from tests.worker import test_checkpoints, test_steps

pytestmark = pytest.mark.django_db


def test_a_signal_lets_its_task_go_on() -> None:
    task = test_steps.call(test_steps.waits)
    drain()
    shown = callboard_json("tasks", "show", str(task.pk))
    assert [(one["kind"], one["name"]) for one in shown["steps"]] == [("STEP", "ship"), ("WAIT", "approved")]
    words = ["tasks", "signal", str(task.pk), "approved", "--payload", "by=ada", "amount=100", "--reason", "fine"]
    answer = callboard_json(*words)
    assert (answer["status"], answer["signal"]) == ("PENDING", "approved")
    drain()
    task.refresh_from_db()
    assert (task.status, task.result) == (Status.SUCCEEDED, {"by": "ada", "amount": 100})
    assert Journal.objects.get(verb="signal").reason == "fine"


def test_show_prints_progress_log_lines_and_steps() -> None:
    task = test_checkpoints.run(test_checkpoints.shows_progress)
    text = callboard("tasks", "show", str(task.pk))
    assert "line 3" in text
    assert "part 3" in text
