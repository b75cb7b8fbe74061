"""Series and sums over statistics: whole minutes, any mix of periods, and percentiles from histograms."""

from datetime import timedelta
from typing import Any

import pytest

from tasks.models import TaskStat
from tasks.queries import stats
from tasks.queries.stats import Window
from tests.factories import database_now

pytestmark = pytest.mark.django_db


def store(minutes_ago: float, count: int, *, span: int = 60, outcome: str = "SUCCEEDED", **fields: Any) -> None:
    """Store a row of the period in which that moment lies."""
    moment = database_now() - timedelta(minutes=minutes_ago)
    start = moment - timedelta(seconds=moment.timestamp() % span)
    times = {
        "actor": "act",
        "queue": "default",
        "run_seconds": 0.5 * count,
        "waits": [count],
        "runs": [0] * 9 + [count],
    }
    TaskStat.objects.create(span_seconds=span, start=start, outcome=outcome, count=count, **{**times, **fields})


def test_a_series_has_a_point_for_each_minute_and_the_last_is_now() -> None:
    store(0, 3)
    store(0, 1, outcome="DEAD")
    store(59, 2, queue="other")
    store(60, 100)
    points = stats.series(Window.HOUR)
    assert len(points) == 60
    assert points[-1].counts == {"SUCCEEDED": 3, "DEAD": 1}
    assert points[0].counts == {"SUCCEEDED": 2}
    assert points.total().ended == 6
    assert points.total().death_share == pytest.approx(1 / 6)
    assert points.total(last=5).ended == 4
    assert stats.series(Window.HOUR, queue="other").total().ended == 2
    assert stats.series(Window.HOUR, actor="nobody").total().ended == 0


def test_longer_windows_add_up_rows_of_all_periods() -> None:
    store(0, 1)
    store(300, 2, span=600)
    store(4 * 1_440, 4, span=3_600)
    assert stats.series(Window.DAY).total().ended == 3
    assert stats.series(Window.WEEK).total().ended == 7
    assert (len(stats.series(Window.DAY)), len(stats.series(Window.WEEK))) == (48, 56)


def test_percentiles_come_from_the_histograms() -> None:
    store(1, 90, waits=[90], runs=[])
    store(2, 10, waits=[0] * 11 + [10], runs=[])
    total = stats.series(Window.HOUR, with_times=True).total()
    assert total.wait(0.5) == pytest.approx(0.001 * 50 / 90)
    assert 2.5 < (total.wait(0.95) or 0) <= 5
    assert total.run(0.5) is None


def test_actors_and_queues_are_added_up_alone() -> None:
    store(1, 5)
    store(1, 2, outcome="RETRYING", actor="other")
    store(1, 7, outcome="SUBMITTED", queue="mail")
    found = stats.by_actor(seconds=600, with_times=True)
    assert found["act"].counts == {"SUCCEEDED": 5, "SUBMITTED": 7}
    assert found["act"].run_seconds == 6.0
    assert 0.5 < (found["act"].run(0.5) or 0) <= 1
    assert found["other"].failure_share == 1
    assert stats.by_actor(seconds=600, actors=["other"]).keys() == {"other"}
    assert stats.by_queue(seconds=600)["mail"].of("SUBMITTED") == 7


def test_the_baseline_is_yesterday_or_else_the_hour_before() -> None:
    store(90, 3)
    assert stats.baseline().ended == 3
    store(1_440 + 30, 8, span=600)
    assert stats.baseline().ended == 8
