"""``callboard stats``."""

import pytest

from tasks.models import TaskStat
from tasks.states import Status
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import database_now, make_task, submit

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


def test_stats_show_the_rates_of_actors() -> None:
    start = database_now().replace(second=0, microsecond=0)
    values = {"span_seconds": 60, "start": start, "actor": "act", "queue": "default", "run_seconds": 1.0, "waits": []}
    TaskStat.objects.create(outcome="SUCCEEDED", count=15, runs=[0] * 9 + [15], **values)
    TaskStat.objects.create(outcome="DEAD", count=5, runs=[], **values)
    assert callboard_json("stats")["actors"][0]["succeeded"] == 15
    assert "act\t0.0\t4.0\t25.0%\t5\t0.75\t0.975" in callboard("stats")
