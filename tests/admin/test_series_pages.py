"""Queue and actor pages: load, waits, what runs and why the oldest wait; each with few queries."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import F
from django.test import Client
from django.urls import reverse

from tasks.lifecycle import Author, queues
from tasks.models import Queue, TaskStat
from tasks.states import Status
from tests import factories
from tests.admin.pages import browser_of, html, page_of
from tests.factories import database_now

pytestmark = pytest.mark.django_db

BUCKET_OF_A_SECOND = 9


def store(outcome: str = "SUCCEEDED", number: int = 10, **fields: Any) -> None:
    """Store what ended in the last minute; all of it waited and ran for up to a second."""
    start = (database_now() - timedelta(minutes=1)).replace(second=0, microsecond=0)
    times = [0] * BUCKET_OF_A_SECOND + [number]
    values = {"actor": "act", "queue": "default", "run_seconds": number * 0.75, "waits": times, "runs": times}
    TaskStat.objects.create(span_seconds=60, start=start, outcome=outcome, count=number, **{**values, **fields})


def numbers(page: str) -> dict[str, str]:
    return dict(re.findall(r'class="panel number[^"]*" aria-label="([^"]*)"><h2>.*?</h2><p><b>([^<]*)</b>', page))


def test_a_queue_shows_its_load_and_waits(root: Client, worker: Any) -> None:
    store(number=4_800)
    store("SUBMITTED", 30, runs=[], waits=[])
    store("SUBMITTED", 10, actor="add", runs=[], waits=[])
    store(queue="other", number=7)
    page = html(root.get(page_of(Queue.objects.get(name="default")), {"window": "1h"}))
    assert numbers(page) == {
        "Threads busy on average": "1.0",
        "Wait before start, p50": "750 ms",
        "Wait before start, p95": "975 ms",
    }
    assert "4,800 succeeded" in page
    assert "queue=default" in page
    assert re.findall(r'<bdi>(\w+)</bdi></th><td class="n">(\d+)</td><td class="n quiet">(\d+%)', page) == [
        ("act", "30", "75%"),
        ("add", "10", "25%"),
    ]


def test_a_queue_shows_the_oldest_due_tasks_with_what_they_wait_for(root: Client, worker: Any) -> None:
    young, old = factories.submit(), factories.submit(priority=1)
    factories.age(old, run_at=timedelta(hours=2))
    factories.submit(run_at=database_now() + timedelta(hours=1))
    running = factories.make_task(Status.RUNNING, worker=worker)
    queues.pause("default", by=Author("olga", reason="<i>"))
    page = html(root.get(page_of(Queue.objects.get(name="default"))))
    due = page[page.index("Due longest") : page.index("Running now")]
    assert re.findall(r"/task/([0-9a-f-]{36})/", due) == [str(old.pk), str(young.pk)]
    assert "queue default is paused by olga since" in due
    assert "&lt;i&gt;" in due
    assert re.findall(r"/task/([0-9a-f-]{36})/", page[page.index("Running now") :])[0] == str(running.pk)


def test_a_queue_page_hides_tasks_from_those_who_may_not_see_them(worker: Any) -> None:
    factories.submit()
    user = User.objects.create_user("quentin", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_queue"))
    page = html(browser_of(user).get(page_of(Queue.objects.get(name="default"))))
    assert "Wait before start, p95" in page
    assert "ended=" not in page
    assert "Due longest" not in page
    assert "?queue=default" not in page


def test_a_queue_page_runs_few_queries(root: Client, worker: Any, django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        factories.submit()
    with django_assert_max_num_queries(28):
        html(root.get(page_of(Queue.objects.get(name="default"))))


def test_actors_are_listed_with_their_rates_busiest_first(
    root: Client, worker: Any, django_assert_max_num_queries: Any
) -> None:
    store(number=97)
    store("DEAD", 3)
    store(actor="gone<b>", number=500)
    with django_assert_max_num_queries(10):
        page = html(root.get(reverse("admin:callboard_actors")))
    assert re.findall(r'<a href="/admin/callboard/task/actors/[^"]*"><bdi>([^<]*)</bdi>', page)[:2] == [
        "gone&lt;b&gt;",
        "act",
    ]
    row = page[page.index("actors/act/") :]
    assert re.findall(r'data-label="(?:Runs|Failing|Died|p50)">([^<]*)<', row)[:4] == ["100", "3.0%", "3", "750 ms"]
    assert re.findall(r'aria-current="page"[^>]*>([^<]+)<', page) == ["Actors"]


def test_an_actor_shows_its_defaults_schema_and_percentiles(
    root: Client, worker: Any, django_assert_max_num_queries: Any
) -> None:
    store(number=10)
    with django_assert_max_num_queries(10):
        page = html(root.get(reverse("admin:callboard_actor", args=["act"])))
    assert numbers(page)["Run time, p95"] == "975 ms"
    assert re.search(r"<dt>Max retries</dt><dd><bdi>3</bdi>", page)
    assert "&quot;additionalProperties&quot;: false" in page
    assert "actor=act" in page


def test_an_actor_of_an_earlier_release_is_shown_while_it_has_statistics(root: Client, worker: Any) -> None:
    address = reverse("admin:callboard_actor", args=["gone/../x"])
    assert root.get(address).status_code == 404
    store(actor="gone/../x")
    assert "Not declared in this release" in html(root.get(address))
    TaskStat.objects.update(start=F("start") - timedelta(hours=3))
    assert "Not declared in this release" in html(root.get(address, {"window": "1h"}))


@pytest.mark.parametrize("odd", ["%00", "%ff", "%ED%A0%80", "x" * 10_000])
def test_what_cannot_be_the_name_of_an_actor_is_not_found(root: Client, worker: Any, odd: str) -> None:
    assert root.get(f"{reverse('admin:callboard_actors')}{odd}/").status_code == 404


def test_actors_need_the_permission_to_see_tasks(worker: Any) -> None:
    browser = browser_of(User.objects.create_user("nobody", is_staff=True))
    assert browser.get(reverse("admin:callboard_actors")).status_code == 403
    assert browser.get(reverse("admin:callboard_actor", args=["act"])).status_code == 403
    assert Client().get(reverse("admin:callboard_actors")).status_code == 302
