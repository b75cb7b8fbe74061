"""The tracks of a worker's page: what its threads did, in a bounded read."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from tasks.lifecycle import workers
from tasks.models import Attempt, Task, Worker, new_id
from tasks.queries import worker_attempts
from tasks.queries.worker_attempts import recent_attempts
from tasks.states import AttemptOutcome
from tests import factories
from tests.admin.pages import browser_of, html, page_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reads go on however slow this machine is."""
    monkeypatch.setattr(worker_attempts, "LONGEST_SECONDS", 60.0)


@pytest.fixture
def worker(worker: Worker) -> Worker:
    """Give a worker that started long ago."""
    Worker.objects.filter(pk=worker.pk).update(started_at=timezone.now() - timedelta(days=2))
    worker.refresh_from_db()
    return worker


def ran(worker: Worker, start: float, end: float, outcome: AttemptOutcome = AttemptOutcome.SUCCEEDED) -> Task:
    """Let an attempt have run from so many seconds ago until so many seconds ago."""
    task, now = factories.submit(), timezone.now()
    Attempt.objects.create(
        task_id=task.pk, number=1, outcome=outcome, worker_id=worker.pk,
        started_at=now - timedelta(seconds=start), finished_at=now - timedelta(seconds=end),
    )  # fmt: skip
    return task


def tracks_of(page: str) -> list[list[str]]:
    """Read the labels of each track."""
    drawn = re.findall(r'<svg class="chart track".*?</svg>', page, re.DOTALL)
    return [re.findall(r"<title>([^<]*)</title>", one) for one in drawn]


def test_attempts_that_overlap_are_in_tracks_of_their_own(root: Any, worker: Worker) -> None:
    first = ran(worker, 600, 300)
    ran(worker, 500, 400, AttemptOutcome.TIMED_OUT)
    ran(worker, 290, 200, AttemptOutcome.FAILED)
    ran(factories.make_worker(), 600, 300)
    running = factories.start(factories.submit(), worker)
    page = html(root.get(page_of(worker)))
    (so_long,) = set(re.findall(r'runs for ([^<"]*)', page))
    assert tracks_of(page) == [
        [
            "act, attempt 1: succeeded after 5 min",
            "act, attempt 1: failed after 1 min 30 s",
            f"act, attempt {running.attempt}: runs for {so_long}",
        ],
        ["act, attempt 1: timed out after 1 min 40 s"],
    ]
    assert 'class="timed-out"' in page
    assert f'<a href="{page_of(first)}" aria-label="act, attempt 1: succeeded after 5 min">' in page
    assert "The last 15 minutes." in page
    places = [float(x) for x in re.findall(r'<rect class="succeeded" x="([\d.]+)"', page)]
    assert places == [pytest.approx(1000 * 300 / 900, abs=5)], "to scale: 10 of 15 minutes ago"


def test_what_is_older_than_the_window_is_left_out(root: Any, worker: Worker) -> None:
    ran(worker, 2_000, 1_000)
    assert "Thread activity" not in html(root.get(page_of(worker)))


def test_a_worker_that_started_just_now_begins_with_its_start(root: Any, worker: Worker) -> None:
    Worker.objects.filter(pk=worker.pk).update(started_at=timezone.now() - timedelta(seconds=60))
    ran(worker, 60, 30)
    page = html(root.get(page_of(worker)))
    assert "Since its start." in page
    assert float(re.search(r'<rect class="succeeded" x="([\d.]+)"', page)[1]) < 60  # type: ignore[index]


def test_the_newest_attempts_are_shown_to_their_own_scale(root: Any, worker: Worker, monkeypatch: Any) -> None:
    monkeypatch.setattr(worker_attempts, "MOST_ATTEMPTS", 2)
    for ago in (800, 60, 40, 20):
        ran(worker, ago, ago - 10)
    found = recent_attempts(worker)
    assert (len(found.attempts), found.is_capped) == (2, True)
    page = html(root.get(page_of(worker)))
    assert [len(one) for one in tracks_of(page)] == [2]
    assert re.search(r'<rect class="succeeded" x="0.00"', page), "the oldest that is shown begins the track"


def test_a_read_that_took_long_goes_no_further_and_says_so(root: Any, worker: Worker, monkeypatch: Any) -> None:
    monkeypatch.setattr(worker_attempts, "LONGEST_SECONDS", -1.0)
    ran(worker, 10, 5)
    ran(worker, 100, 50)
    assert len(recent_attempts(worker).attempts) == 1
    assert "Only the last 15 s" in html(root.get(page_of(worker)))


def test_a_worker_that_is_gone_shows_its_last_minutes(root: Any, worker: Worker) -> None:
    task = ran(worker, 86_400, 86_390, AttemptOutcome.CRASHED)
    workers.leave(worker.pk)
    gone_at = timezone.now() - timedelta(seconds=86_395)
    Worker.objects.filter(pk=worker.pk).update(stopped_at=gone_at)
    page = html(root.get(page_of(worker)))
    assert tracks_of(page) == [["act, attempt 1: crashed after 10 s"]], "its rescue came after its end"
    Task.objects.filter(pk=task.pk).delete()
    Attempt.objects.create(
        task_id=new_id(), number=1, outcome=AttemptOutcome.SUCCEEDED, worker_id=worker.pk, finished_at=gone_at
    )
    page = html(root.get(page_of(worker)))
    assert tracks_of(page) == [["a removed task, attempt 1: succeeded after &lt;1 ms"]]
    assert 'role="img" aria-label="Track 1: 1 attempt"' in page, "it links nowhere"


def test_only_who_may_see_tasks_sees_what_ran(django_user_model: Any, worker: Worker) -> None:
    ran(worker, 100, 50)
    user = django_user_model.objects.create_user("bill", is_staff=True)
    user.user_permissions.add(_permission("view_worker"))
    assert "Thread activity" not in html(browser_of(user).get(page_of(worker)))
    user = django_user_model.objects.create_user("bea", is_staff=True)
    user.user_permissions.add(_permission("view_worker"), _permission("view_task"))
    assert "Thread activity" in html(browser_of(user).get(page_of(worker)))


def _permission(codename: str) -> Permission:
    return Permission.objects.get(codename=codename, content_type__app_label="callboard")


def test_an_attempt_is_read_once_although_the_read_goes_step_by_step(worker: Worker) -> None:
    tasks = [ran(worker, ago + 1, ago) for ago in (0, 14, 15, 16, 59, 61, 200, 241, 800)]
    found = recent_attempts(worker)
    assert sorted(one.task_id for one in found.attempts) == sorted(task.pk for task in tasks)
