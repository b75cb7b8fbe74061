"""The nightly report in ``examples/`` does what its page says."""

import csv
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

import dramatiq
import pytest

from tasks import declared_schedules
from tasks.lifecycle import schedules
from tasks.models import Schedule, Task
from tasks.states import Status
from tests import factories


@pytest.fixture
def report(db: None, settings: Any, tmp_path: Any) -> Iterator[ModuleType]:
    """Declare the actor of the nightly report, and forget it afterwards."""
    settings.VAR_DIR = tmp_path
    actors = dramatiq.get_broker().actors
    before = dict(actors)
    sys.modules.pop("examples.nightly_report.actors", None)
    yield import_module("examples.nightly_report.actors")
    actors.clear()
    actors.update(before)


def test_the_nightly_report_reports_the_day_before_its_fire(report: ModuleType, callboard: Any, tmp_path: Any) -> None:
    declared = dict(declared_schedules.read("nightly_report", report.nightly_report.options["schedule"]))
    assert schedules.declare(declared) == {}
    schedule = Schedule.objects.get()
    factories.make_task(Status.SUCCEEDED)
    for _ in range(2):
        schedules.run(schedule.pk)
        callboard.drain()
    task = Task.objects.filter(schedule_id=schedule.pk).latest("id")
    assert task.status == Status.SUCCEEDED, task.error
    day = datetime.fromisoformat(task.options["scheduled_at"]).date() - timedelta(days=1)
    (path,) = (tmp_path / "reports").iterdir()
    assert path.name == f"{day}.csv"
    rows = list(csv.reader(path.read_text().splitlines()))
    # All tasks of this test are of today.
    assert rows == [["actor", "status", "tasks"]]
    assert task.result is not None
    assert task.result["day"] == str(day)
