"""Alarms of the overview: each sentence appears when something is wrong, and not before."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from tasks.admin import alarms
from tasks.admin.alarms import Observed
from tasks.lifecycle import Author, queues
from tasks.models import Lease, Queue, TaskStat
from tasks.queries.stats import Tally
from tests import factories
from tests.admin.pages import browser_of, html
from tests.factories import database_now

pytestmark = pytest.mark.django_db


def alarms_of(browser: Client) -> list[tuple[str, str]]:
    """Read the sentences of the overview, each with its colour."""
    page = html(browser.get(reverse("admin:index")))
    found = re.findall(r'<li class="alarm alarm-(\w+)"><span class="alarm-text"><bdi>(.*?)</bdi>', page, re.DOTALL)
    return [(kind, re.sub(r"<[^>]*>", "", text)) for kind, text in found]


def count(outcome: str, number: int, *, minutes_ago: int = 1, actor: str = "act") -> None:
    moment = (database_now() - timedelta(minutes=minutes_ago)).replace(second=0, microsecond=0)
    values = {"actor": actor, "queue": "default", "run_seconds": 0.0, "waits": [], "runs": []}
    TaskStat.objects.create(span_seconds=60, start=moment, outcome=outcome, count=number, **values)


@pytest.fixture
def calm(worker: Any) -> None:
    """Let a scheduler lead and a worker serve all queues."""
    factories.make_leader()


def test_nothing_is_said_while_all_is_well(root: Client, calm: None) -> None:
    count("SUCCEEDED", 1_000)
    count("DEAD", 4)
    factories.submit()
    assert alarms_of(root) == []


def test_a_scheduler_that_has_gone_is_missed_since_then(root: Client, worker: Any) -> None:
    factories.make_leader()
    Lease.objects.update(expires_at=database_now() - timedelta(minutes=3))
    ((kind, text),) = alarms_of(root)
    assert kind == "red"
    assert "No scheduler has been running since" in text
    assert "(3 min" in text


def test_deaths_above_those_before_are_told_with_their_beginning_and_buttons(root: Client, calm: None) -> None:
    began = (database_now() - timedelta(minutes=3)).strftime("%H:%M")
    count("SUCCEEDED", 1_000, minutes_ago=40)
    count("DEAD", 5, minutes_ago=40)
    for minutes_ago in (1, 2, 3):
        count("SUCCEEDED", 10, minutes_ago=minutes_ago)
        count("DEAD", 20, minutes_ago=minutes_ago)
    ((kind, text),) = alarms_of(root)
    assert kind == "red"
    # A minute may end while the test runs.
    assert re.match(rf"act is failing\. 60 of its last 90 runs died since {began} UTC \([34] min", text)
    assert text.endswith("before 0.5%.")
    page = html(root.get(reverse("admin:index")))
    assert '<a class="small-button" href="/admin/dlq/failure/?actor=act">See the failure</a>' in page
    assert '<form method="post" action="/admin/callboard/queue/default/do/pause/">' in page


@pytest.mark.parametrize(("deaths", "successes", "deaths_before"), [(4, 0, 0), (5, 1_000, 0), (20, 80, 100)])
def test_few_rare_or_usual_deaths_are_no_alarm(
    root: Client, calm: None, deaths: int, successes: int, deaths_before: int
) -> None:
    count("DEAD", deaths)
    count("SUCCEEDED", successes)
    count("DEAD", deaths_before, minutes_ago=30)
    count("SUCCEEDED", 400, minutes_ago=30)
    assert alarms_of(root) == []


def test_due_tasks_in_a_queue_without_workers_are_red(root: Client, calm: None) -> None:
    Queue.objects.create(name="lonely")
    factories.submit(queue="lonely")
    ((kind, text),) = alarms_of(root)
    assert (kind, text[:60]) == ("red", "No worker serves queue lonely. 1 task waits, the oldest for "[:60])


def test_a_paused_queue_says_who_paused_it_and_offers_to_resume(root: Client, calm: None) -> None:
    queues.pause("other", by=Author("olga", reason="<b>bad</b> deploy"))
    page = html(root.get(reverse("admin:index")))
    ((kind, text),) = alarms_of(root)
    assert kind == "amber"
    assert re.fullmatch(
        r"Queue other has been paused for .* by olga \(&lt;b&gt;bad&lt;/b&gt; deploy\). 0 tasks wait.", text
    )
    assert '<form method="post" action="/admin/callboard/queue/other/do/resume/">' in page


def test_a_queue_that_is_behind_is_told(root: Client, calm: None) -> None:
    factories.age(factories.submit(), run_at=timedelta(minutes=8))
    ((kind, text),) = alarms_of(root)
    assert kind == "amber"
    assert text.startswith("Queue default is behind: its oldest due task has waited for 8 min")


def test_viewers_get_the_sentence_without_what_they_may_not_do(calm: None) -> None:
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.add(Group.objects.get(name="viewer"))
    queues.pause("other", by=Author("olga"))
    browser = browser_of(user)
    assert [kind for kind, _ in alarms_of(browser)] == ["amber"]
    page = html(browser.get(reverse("admin:index")))
    assert "/do/" not in page


def test_a_broker_that_is_away_is_red() -> None:
    seen = Observed([], [], {}, {}, {}, database_now() + timedelta(minutes=1), database_now(), {"broker": "down"})
    (alarm,) = alarms.alarms(User.objects.create_user("x"), seen)
    assert (alarm.kind, alarm.text[:27]) == ("red", "The broker does not answer,")


def test_what_was_before_leaves_the_last_minutes_out() -> None:
    recent, hour = {"act": Tally({"DEAD": 5})}, {"act": Tally({"DEAD": 7, "SUCCEEDED": 3})}
    seen = Observed([], [], {}, recent, hour, None, database_now(), {})
    assert alarms._before(seen, "act").counts == {"DEAD": 2, "SUCCEEDED": 3}
