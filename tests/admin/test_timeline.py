"""The timeline on a task's page."""

import re
from datetime import timedelta

from tasks import lifecycle
from tasks.lifecycle import Author, queues
from tests import factories
from tests.admin.pages import html, page_of


def _steps(page):
    return re.findall(r'<li class="step-(\w+)"><b>([^<]+)</b>', page)


def test_a_running_task_shows_its_steps_so_far(root, life):
    page = html(root.get(page_of(life)))
    steps = _steps(page)
    assert steps[0] == ("past", "Created")
    assert steps[-1] == ("now", "Now")
    assert ("past", "Last started") in steps


def test_a_scheduled_task_shows_when_it_is_due(root, db):
    task = factories.submit(run_at=factories.database_now() + timedelta(hours=1))
    page = html(root.get(page_of(task)))
    assert ("ahead", "Due") in _steps(page)
    assert "+1 h" in page


def test_a_waiting_task_shows_its_expected_start_or_its_obstacle(root, db):
    task = factories.submit()
    assert "no scheduler is running; no live worker serves the band medium" in html(root.get(page_of(task)))
    factories.make_leader()
    factories.make_worker(threads=1)
    assert '<b>Expected to start</b> <span class="after">now</span>' in html(root.get(page_of(task)))
    factories.submit(priority=9, estimated_seconds=90)
    page = html(root.get(page_of(task)))
    (after,) = re.findall(r'<b>Expected to start</b> <span class="after">([^<]+)</span>', page)
    assert after == "in about 1 min 30 s: behind 1 other task"
    queues.pause("default", by=Author("ada", reason="<b>"))
    assert "queue default is paused by ada since" in html(root.get(page_of(task)))


def test_the_first_start_after_a_put_back_is_not_called_the_last(root, worker):
    task = factories.submit()
    claimed = factories.start(task, worker)
    lifecycle.put_back_many([(claimed.id, claimed.attempt)], worker_id=worker.pk)
    task.refresh_from_db()
    factories.start(task, worker)
    page = html(root.get(page_of(task)))
    assert ("past", "Started") in _steps(page)
    assert re.search(r">Attempt number:?</label>\s*<div class=\"readonly\">2<", page), "both claims count"
