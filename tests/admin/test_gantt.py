"""The Gantt strip on a task's page: a track for each attempt, to scale, and flags for what people did."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client

from tasks import lifecycle
from tasks.admin import gantt
from tasks.lifecycle import Author
from tasks.models import Attempt, Journal, Task
from tests import factories
from tests.admin.pages import html, page_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def twice_failed(worker: Any) -> Task:
    """Give a task that waited 10 s, failed after 10 s, was retried after 20 s, failed after 60 s, and was re-driven."""
    task = factories.submit()
    for death in (None, "not_retryable"):
        Task.objects.filter(pk=task.pk).update(run_at=F("created_at"))
        task.refresh_from_db()
        claimed = factories.start(task, worker)
        lifecycle.complete_many([factories.failure(claimed, worker, death=death)])
    task.refresh_from_db()
    began = task.created_at
    for number, start, end in ((1, 10, 20), (2, 40, 100)):
        Attempt.objects.filter(task_id=task.pk, number=number).update(
            started_at=began + timedelta(seconds=start), finished_at=began + timedelta(seconds=end)
        )
    Task.objects.filter(pk=task.pk).update(finished_at=began + timedelta(seconds=100))
    task.refresh_from_db()
    return task


def tracks(page: str) -> list[tuple[str, list[tuple[str, float, float]], str]]:
    """Read each track's name, its parts in thousandths of the whole, and its note."""
    found = re.findall(
        r'<div class="gantt-name">([^<]*)</div><svg class="chart track".*?>(.*?)</svg><div class="gantt-note">([^<]*)<',
        page,
        re.DOTALL,
    )
    part = re.compile(r'<rect class="([\w-]+)" x="([\d.]+)" y="3" width="([\d.]+)"')
    return [(name, [(kind, float(x), float(w)) for kind, x, w in part.findall(svg)], note) for name, svg, note in found]


def test_each_attempt_has_a_track_to_scale_and_its_backoff_a_label(root: Client, twice_failed: Task) -> None:
    first, second = tracks(html(root.get(page_of(twice_failed))))
    assert first == ("Attempt 1", [("in-row", 0.0, 100.0), ("failed", 100.0, 100.0)], "failed after 10 s")
    assert second == (
        "Attempt 2",
        [("backoff", 200.0, 200.0), ("failed", 400.0, 600.0)],
        "retried after 20 s, failed after 1 min",
    )


def test_acts_are_flags_at_their_times(root: Client, twice_failed: Task) -> None:
    lifecycle.retry(twice_failed.pk, by=Author("<olga>"))
    Journal.objects.filter(task_id=twice_failed.pk).update(at=twice_failed.created_at + timedelta(seconds=50))
    page = html(root.get(page_of(twice_failed)))
    assert "redrive by &lt;olga&gt;" in page
    assert page.count('<line class="mark"') == len(tracks(page)) == 3
    assert tracks(page)[-1][0] == "Next"


def test_a_running_attempt_has_a_track_until_now(root: Client, worker: Any) -> None:
    task = factories.submit()
    factories.start(task, worker)
    factories.age(
        task, created_at=timedelta(seconds=100), run_at=timedelta(seconds=100), started_at=timedelta(seconds=50)
    )
    ((name, parts, note),) = tracks(html(root.get(page_of(task))))
    assert (name, note) == ("Attempt 1", "runs for 50 s")
    assert [kind for kind, *_ in parts] == ["in-row", "running"]
    assert parts[1][2] == pytest.approx(500, abs=10)


def test_only_the_newest_attempts_have_tracks(twice_failed: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gantt, "MOST_TRACKS", 1)
    found = gantt.gantt(twice_failed, list(twice_failed.attempts.order_by("-number")), [])
    assert found is not None
    assert [one["name"] for one in found["tracks"]] == ["Attempt 2"]
    assert found["is_cut"]
