"""``callboard demo``."""

from collections.abc import Iterator

import dramatiq
import pytest

from tasks.management.callboard import demo
from tasks.models import Task
from tasks.states import Status
from tests.commands.cli import callboard, callboard_json

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget_actors() -> Iterator[None]:
    actors = dramatiq.get_broker().actors
    before = dict(actors)
    yield
    actors.clear()
    actors.update(before)


def test_the_flows_are_listed_with_a_line_about_each() -> None:
    listed = {row["name"]: row["about"] for row in callboard_json("demo")["results"]}
    assert list(listed) == ["approval", "etl", "nightly_report", "resumable_import"]
    assert all(listed.values())


def test_a_flow_is_started_and_its_tasks_are_named() -> None:
    (row,) = callboard_json("demo", "etl")["results"]
    assert (row["name"], row["status"]) == ("load", Status.BLOCKED)
    assert Task.objects.count() == 9


def test_without_the_folder_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_flows", lambda: iter(()))
    assert callboard("demo").splitlines()[1:] == []
