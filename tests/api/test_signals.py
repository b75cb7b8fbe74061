"""Signals over REST, and what tasks show of their runs."""

from typing import Any

import pytest

from tasks.models import Journal, Task
from tasks.testing import drain
from tests.callers import TASKS, assert_problem
from tests.factories import submit
from tests.worker import test_checkpoints, test_steps

pytestmark = pytest.mark.django_db


def waiting(owner: Any = None) -> Task:
    task = test_steps.call(test_steps.waits, owner_id=owner)
    drain()
    return task


def test_a_signal_lets_its_task_go_on_and_is_in_the_journal(staff) -> None:
    task = waiting()
    (obstacle,) = staff.get(f"{TASKS}/{task.pk}").json()["waiting_for"][-1:]
    assert obstacle == {
        "kind": "signal_missing",
        "message": "waits for the signal approved",
        "signal": "approved",
        "times_out_at": None,
    }
    body = {"payload": {"by": "Ada"}, "reason": "within the budget"}
    answer = staff.send(f"{TASKS}/{task.pk}/signals/approved", body)
    assert (answer.status_code, answer.json()["status"]) == (200, "PENDING")
    drain()
    assert staff.get(f"{TASKS}/{task.pk}/result").json()["result"] == {"by": "Ada"}
    entry = Journal.objects.get(verb="signal")
    assert (entry.reason, entry.door, entry.detail) == ("within the budget", "api", {"name": "approved"})
    assert_problem(staff.send(f"{TASKS}/{task.pk}/signals/approved"), 409, code="already_resolved")
    assert_problem(staff.send(f"{TASKS}/{task.pk}/signals/other"), 409, code="illegal_transition")


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("x" * 101, {}, "signal"),
        ("%07", {}, "signal"),
        ("approved", {"payload": "x" * 70_000}, "payload"),
        ("approved", {"payload": "nul \0"}, "payload"),
        ("approved", {"data": 1}, "data"),
    ],
)
def test_a_signal_that_cannot_be_kept_is_refused_with_its_field(staff, name, body, field) -> None:
    answer = staff.send(f"{TASKS}/{waiting().pk}/signals/{name}", body)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert not Journal.objects.filter(verb="signal").exists()


def test_a_task_takes_a_bounded_number_of_signals(staff, settings) -> None:
    settings.MAX_STEPS = 2
    task = submit()
    codes = [staff.send(f"{TASKS}/{task.pk}/signals/{name}").status_code for name in "abc"]
    assert codes == [200, 200, 409]


def test_progress_and_log_lines_are_in_the_answers(staff) -> None:
    task = test_checkpoints.run(test_checkpoints.shows_progress)
    found = staff.get(f"{TASKS}/{task.pk}").json()
    assert found["progress"] == {"done": 3, "total": 3, "note": "part 3"}
    first = staff.get(f"{TASKS}/{task.pk}/attempts").json()["results"][0]
    assert [one["line"] for one in first["log"]] == ["line 0", "line 1", "line 2", "line 3"]
    assert first["log_dropped"] == 0


def test_the_age_of_a_checkpoint_is_shown_and_not_the_checkpoint(staff) -> None:
    task = test_checkpoints.run(test_checkpoints.counts_up)
    found = staff.get(f"{TASKS}/{task.pk}").json()
    assert found["checkpointed_at"] is not None
    assert "checkpoint" not in found
