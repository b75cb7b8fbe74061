"""The chart of what ended: bars that lead to their tasks, and marks of what people did."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tasks import lifecycle
from tasks.admin import charts
from tasks.admin.charts import Bar
from tasks.admin.filters import ended_between
from tasks.lifecycle import Author, queues
from tasks.models import Task, TaskStat
from tests import factories
from tests.admin.pages import html, list_of
from tests.factories import database_now

pytestmark = pytest.mark.django_db


def finish(worker: Any, finished_at: datetime) -> Task:
    """Let a task succeed at that time."""
    task = factories.submit()
    claimed = factories.start(task, worker)
    lifecycle.succeed(factories.outcome(claimed, worker, started_at=finished_at, finished_at=finished_at))
    return task


def listed(browser: Client, ended: str) -> set[str]:
    page = html(browser.get(list_of(Task), {"ended": ended}))
    return set(re.findall(r"/callboard/task/([0-9a-f-]{36})/change/", page))


def test_a_bar_leads_to_the_tasks_that_ended_in_its_minute(root: Client, worker: Any) -> None:
    minute = (database_now() - timedelta(minutes=3)).replace(second=0, microsecond=0)
    inside = finish(worker, minute + timedelta(seconds=59))
    finish(worker, minute + timedelta(seconds=60))
    values = {"actor": "act", "queue": "default", "run_seconds": 0.0, "waits": [], "runs": []}
    TaskStat.objects.create(span_seconds=60, start=minute, outcome="SUCCEEDED", count=1, **values)
    page = html(root.get(reverse("admin:index")))
    (link,) = re.findall(r'<a href="([^"]*ended=[^"]*)" aria-label="([^"]*)"', page)
    assert link[1] == f"{minute:%a %H:%M} UTC: 1 succeeded"
    assert link[0].endswith(f"?ended={ended_between(minute, 60)}")
    assert listed(root, ended_between(minute, 60)) == {str(inside.pk)}


@pytest.mark.parametrize("ended", ["x", "1-", "-60", "1-0", "1-90000", "99999999999-60", "１-60"])
def test_a_time_that_is_none_finds_nothing(root: Client, worker: Any, ended: str) -> None:
    # Not everything: an action on all that match would act on it.
    finish(worker, database_now())
    assert listed(root, ended) == set()


def test_acts_are_marked(root: Client, worker: Any) -> None:
    queues.pause("other", by=Author("olga"))
    page = html(root.get(reverse("admin:index")))
    assert re.search(r"<li><bdi>\d\d:\d\d olga: pause queue other</bdi></li>", page)
    assert re.search(r'<line class="mark "[^>]*><title>\w+ \d\d:\d\d UTC, olga: pause queue other</title>', page)


@pytest.mark.parametrize("window", ["1h", "24h", "7d", "<b>"])
def test_each_window_has_its_chart(root: Client, worker: Any, window: str) -> None:
    page = html(root.get(reverse("admin:index"), {"window": window}))
    chosen = re.search(r'<a href="\?window=(\w+)" aria-current="true">', page)
    assert chosen
    assert chosen[1] == (window if window != "<b>" else "1h")


def test_no_chart_has_inline_style_or_script_and_all_text_is_escaped() -> None:
    drawn = charts.bars([Bar([("dead", 1)], '"><script>', '"><x')], label="<i>", highest=2)
    assert "<script>" not in drawn
    assert "<i>" not in drawn
    assert "style=" not in drawn


def test_a_single_death_among_thousands_can_be_seen() -> None:
    drawn = charts.bars([Bar([("succeeded", 9_999), ("dead", 1)], "x")], label="x", highest=10_000)
    heights = dict(re.findall(r'<rect class="(\w+)"[^>]* height="([\d.]+)"', drawn))
    assert float(heights["dead"]) >= 1


@pytest.mark.parametrize(("highest", "scale"), [(0, 2), (3, 4), (10, 10), (11, 20), (950, 1_000)])
def test_scales_are_easy_to_halve(highest: int, scale: int) -> None:
    assert charts.scale_of(highest) == scale
