"""The overview: numbers, warnings, and links to lists."""

import re

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from dlq import queries as dead_letters
from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import Author, queues, workers
from tasks.models import Task
from tasks.queries import counts
from tasks.states import Status
from tests import factories
from tests.admin.pages import MODELS, html, list_of, page_of


def test_open_dead_letters_are_grouped_by_cause(root, worker):
    def die(message):
        claimed = factories.start(factories.submit(), worker)
        lifecycle.complete_many([factories.failure(claimed, worker, error_message=message, death="not_retryable")])

    for message in ("order 1 has no amount", "order 2 has no amount", "the disk is full"):
        die(message)
    page = html(root.get(reverse("admin:index")))
    causes = re.findall(r'\?cause=([0-9a-f]{32})"><bdi>([^<]*)</bdi></a>.*?data-label="Open"><b>(\d+)<', page)
    assert [(error, count) for _, error, count in causes] == [
        ("RuntimeError: order 2 has no amount", "2"),
        ("RuntimeError: the disk is full", "1"),
    ]
    assert 'aria-label="2 deaths in the last hour"' in page
    page = html(root.get(list_of(DeadLetter), {"cause": causes[0][0]}))
    assert page.count("has no amount</span>") == 2
    assert "disk is full</span>" not in page
    assert "1 × act: RuntimeError: the disk is full" in page, "the filter offers the others"


def test_open_dead_letters_are_counted_up_to_a_cap(root, worker, monkeypatch):
    monkeypatch.setattr(dead_letters, "MOST_LETTERS", 2)
    for _ in range(3):
        factories.make_task(Status.DEAD, worker=worker)
    assert '<span class="count">2+</span>' in html(root.get(reverse("admin:index")))


def test_every_page_has_tabs_of_visible_lists(root, life):
    tabs = re.search(r'<nav id="tabs".*?</nav>', html(root.get(page_of(life))), re.DOTALL)
    assert tabs
    for model in MODELS:
        assert f'href="{list_of(model)}"' in tabs[0]
    assert re.findall(r'aria-current="page"[^>]*>([^<]+)<', tabs[0]) == ["Tasks"]


def test_an_account_without_permissions_is_told_what_to_do(db):
    browser = Client()
    browser.force_login(User.objects.create_user("new", is_staff=True))
    page = html(browser.get(reverse("admin:index")))
    assert "Ask an administrator" in page
    assert 'id="tabs"' not in page


def test_the_overview_shows_counts_causes_and_warnings(root, worker):
    factories.make_lead()
    factories.make_task(Status.DEAD, worker=worker)
    factories.submit()
    queues.pause("other", by=Author("root"))
    page = html(root.get(reverse("admin:index")))
    assert re.search(r'<a class="chip chip-dead" href="/admin/callboard/task/\?status=DEAD">Dead <b>1</b></a>', page)
    assert "chip-running" not in page, "a status without tasks is not shown"
    assert "No scheduler is running" in page, "there is a term, and nobody holds the lease"
    assert str(worker) in page
    assert '<a href="/admin/dlq/deadletter/?actor=act"><bdi>act</bdi></a>' in page


def test_the_overview_warns_when_no_worker_takes_tasks(root, worker):
    factories.submit()
    assert "No worker is taking tasks" not in html(root.get(reverse("admin:index")))
    factories.let_lease_run_out(worker)
    page = html(root.get(reverse("admin:index")))
    assert "No worker is taking tasks" in page
    assert "1 worker is silent" in page


def test_the_overview_shows_what_the_user_may_see(life):
    user = User.objects.create_user("nobody", is_staff=True)
    browser = Client()
    browser.force_login(user)
    page = html(browser.get(reverse("admin:index")))
    for heading in ("Queues", "Workers", "What is failing", "Journal", "Throughput", "Top actors"):
        assert heading not in page
    user.user_permissions.add(Permission.objects.get(codename="view_worker"))
    page = html(browser.get(reverse("admin:index")))
    assert "Workers" in page
    assert "Queues" not in page


def test_the_overview_runs_few_and_bounded_queries(root, life, django_assert_max_num_queries):
    with django_assert_max_num_queries(36) as queries:
        html(root.get(reverse("admin:index")))
    of_tasks = [query["sql"] for query in queries if re.search(r"callboard_task\b", query["sql"])]
    unbounded = [sql for sql in of_tasks if "LIMIT" not in sql]
    assert [sql for sql in unbounded if "RUNNING" not in sql] == [], "RUNNING has its own small index"


def test_a_capped_count_has_a_plus_sign(root, life, monkeypatch):
    many = {status: counts.Count(10_000, True) for status in Status}
    monkeypatch.setattr(counts, "counts_by_status", lambda **_: many)
    assert re.search(r'Running <b title="At least this many[^"]*">10,000\+</b>', html(root.get(list_of(Task))))
    assert re.search(r'Running <b title="At least this many[^"]*">10,000\+</b>', html(root.get(reverse("admin:index"))))


def test_the_overview_shows_the_build_and_memory_of_workers_and_marks_the_deploy(root, db):
    commit = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0"
    worker = factories.make_worker(build=commit)
    workers.beat(worker.pk, memory_bytes=184_300_000)
    page = html(root.get(reverse("admin:index")))
    assert f'<code title="{commit}">a1b2c3d4e5</code>' in page
    assert '<td class="n" data-label="Memory">184 MB</td>' in page
    assert re.search(r'<line class="mark deploy"[^>]*><title>\w+ \d\d:\d\d UTC, Worker: deploy build a1b2c3d4e5', page)
    assert re.search(r"<b>Worker</b>: deploy <bdi>build a1b2c3d4e5</bdi>", page), "a build has no page"
    for address in (list_of(worker), page_of(worker)):
        shown = html(root.get(address))
        assert "184 MB" in shown
        assert commit in shown
