"""The overview: numbers, warnings, and links to lists."""

import re
from datetime import timedelta

from django.contrib.auth.models import Permission, User
from django.db.models import F
from django.test import Client
from django.urls import reverse

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.lifecycle import Author, queues, workers
from tasks.models import Task
from tasks.queries import counts
from tasks.states import Status
from tests import factories
from tests.admin.pages import MODELS, html, list_of, page_of


def die(worker, message):
    claimed = factories.start(factories.submit(), worker)
    lifecycle.complete_many([factories.failure(claimed, worker, error_message=message, death="not_retryable")])


def test_failures_with_most_deaths_in_the_last_hour_come_first(root, worker):
    for message in ("order 1 has no amount", "order 2 has no amount", "the disk is full", "it was long ago"):
        die(worker, message)
    lifecycle.fold_failures(**factories.make_lead())
    amount, disk, old = Failure.objects.order_by("first_seen_at")
    Failure.objects.filter(pk=old.pk).update(open=9, last_seen_at=F("last_seen_at") - timedelta(hours=2))
    DeadLetter.objects.filter(fingerprint=old.pk).update(died_at=F("died_at") - timedelta(hours=2))
    # What the leader has not added up yet counts, too.
    die(worker, "order 3 has no amount")
    page = html(root.get(reverse("admin:index")))
    rows = re.findall(
        r'<a class="cause-text" href="([^"]*)"><bdi>([^<]*)</bdi>.*?aria-label="(\d+) deaths in the last hour".*?'
        r'data-label="Open"><b>(\d+)<.*?<a class="small-button" href="([^"]*)"', page, re.DOTALL,
    )  # fmt: skip
    assert rows == [
        (page_of(amount), "RuntimeError: order 2 has no amount", "3", "3", page_of(amount)),
        (page_of(disk), "RuntimeError: the disk is full", "1", "1", page_of(disk)),
        (page_of(old), "RuntimeError: it was long ago", "0", "9", page_of(old)),
    ]
    assert re.search(r"Dead and undecided</a></h2>\s*<p><b>13</b>", page)
    page = html(root.get(list_of(DeadLetter), {"cause": amount.pk}))
    assert "1 × act: RuntimeError: the disk is full" in page, "the filter offers the others"


def test_a_failure_that_is_snoozed_or_decided_is_not_on_the_overview(root, worker):
    lead = factories.make_lead()
    for message in ("the disk is full", "the net is down"):
        die(worker, message)
    lifecycle.fold_failures(**lead)
    full, down = Failure.objects.order_by("first_seen_at")
    assert html(root.get(reverse("admin:index"))).count('small-button" href="/admin/dlq/failure/') == 2
    lifecycle.look_after(full.pk, {"snoozed_until_new_build": True})
    lifecycle.discard_many(list(DeadLetter.objects.of_cause(down.pk).values_list("pk", flat=True)))
    lifecycle.fold_failures(**lead)
    assert "No failures: no dead task needs a decision." in html(root.get(reverse("admin:index")))


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
    lifecycle.fold_failures(**factories.make_lead())
    factories.submit()
    queues.pause("other", by=Author("root"))
    page = html(root.get(reverse("admin:index")))
    assert re.search(r'<a class="chip chip-dead" href="/admin/callboard/task/\?status=DEAD">Dead <b>1</b></a>', page)
    assert "chip-running" not in page, "a status without tasks is not shown"
    assert "No scheduler is running" in page, "there is a term, and nobody holds the lease"
    assert str(worker) in page
    assert '<a href="/admin/dlq/failure/?actor=act"><bdi>act</bdi></a>' in page


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
