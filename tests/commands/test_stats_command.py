"""``callboard stats``."""

import pytest

from tasks.states import Status
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import make_task, submit

pytestmark = pytest.mark.django_db


def test_stats_count_measure_and_list(worker) -> None:
    make_task(Status.SUCCEEDED, worker=worker)
    submit()
    stats = callboard_json("stats")
    assert stats["tasks"]["SUCCEEDED"] == stats["tasks"]["PENDING"] == 1
    assert set(stats["tasks"]) == set(Status.values)
    assert stats["capped"] == []
    assert stats["recent"]["attempts"] == {"SUCCEEDED": 1}
    assert stats["recent"]["run_seconds"]["p50"] == pytest.approx(0.005)
    assert {one["name"] for one in stats["queues"]} >= {"default", "other"}
    assert [one["id"] for one in stats["workers"]] == [str(worker.pk)]
    assert "last 5 min: " in callboard("stats")


def test_stats_say_where_they_stopped_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.queries.counts.COUNT_CAP", 1)
    submit()
    submit()
    assert callboard_json("stats")["capped"] == ["PENDING"]
    assert "PENDING\t1+" in callboard("stats")


def test_minutes_have_bounds() -> None:
    assert "--minutes: expected a whole number from 1 to 1440" in refused("stats", "--minutes", "0")[0]
