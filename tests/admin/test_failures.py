"""Failure and operation pages: what they show to whom, and what their forms do."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.lifecycle import operations
from tasks.models import Journal, Operation
from tasks.states import DeathReason, ObjectKind, OperationState
from tests import factories
from tests.admin.pages import html, list_of, messages_of, page_of
from tests.callers import let_see_payloads

pytestmark = pytest.mark.django_db

HOSTILE = "</b><script>alert(1)</script>\u202e"
SECRET = "hunter2-swordfish"


def die(worker, *, count=1, message="as asked", build="", **task):
    tasks = [factories.submit(max_retries=0, **task) for _ in range(count)]
    ends = {"death": DeathReason.NOT_RETRYABLE, "error_message": message, "build": build}
    lifecycle.complete_many([factories.failure(factories.start(one, worker), worker, **ends) for one in tasks])
    lifecycle.fold_failures(**factories.make_lead())
    return tasks


@pytest.fixture
def failure(worker):
    die(worker, count=3, tags=["tenant:acme"])
    return Failure.objects.get()


def begin(browser, failure, verb="redrive", **data):
    return browser.post(f"{page_of(failure).removesuffix('change/')}begin/{verb}/", data, follow=True)


def look_after(browser, failure, **data):
    answer = browser.post(f"{page_of(failure).removesuffix('change/')}look-after/", data, follow=True)
    failure.refresh_from_db()
    return answer


def act(browser, operation, name):
    answer = browser.post(f"{page_of(operation).removesuffix('change/')}act/{name}/", follow=True)
    operation.refresh_from_db()
    return answer


def test_the_list_has_open_failures_with_exact_counts(operator, worker, failure):
    # What the leader has not added up yet counts, too.
    lifecycle.discard(DeadLetter.objects.newest_first()[0].pk)
    page = html(operator.get(list_of(Failure)))
    assert '<td class="field-open">2</td>' in page
    lifecycle.discard_many(list(DeadLetter.objects.open().values_list("pk", flat=True)))
    lifecycle.fold_failures(**factories.make_lead())
    assert "No failures: no dead task needs a decision." in html(operator.get(list_of(Failure)))
    assert "RuntimeError" in html(operator.get(f"{list_of(Failure)}?show=all"))


def test_a_page_says_what_the_deaths_have_in_common(operator, failure):
    page = html(operator.get(page_of(failure)))
    assert "tenant:acme" in page
    assert "Re-drive 3…" in page


def test_a_viewer_sees_no_payload_no_message_and_no_form(viewer, worker):
    die(worker, message=SECRET, actor="login", payload={"user": "ada", "password": SECRET})
    page = html(viewer.get(page_of(Failure.objects.get())))
    assert SECRET not in page
    assert "Re-drive" not in page
    assert 'name="note"' not in page
    assert SECRET not in html(viewer.get(list_of(Failure)))


def test_secrets_are_masked_for_those_who_see_payloads(operator, worker):
    let_see_payloads(User.objects.get(username="olga"))
    die(worker, message=f"refused {SECRET}", actor="login", payload={"user": "ada", "password": SECRET})
    page = html(operator.get(page_of(Failure.objects.get())))
    assert "refused" in page
    assert SECRET not in page


def test_hostile_text_stays_text(operator, worker):
    let_see_payloads(User.objects.get(username="olga"))
    die(
        worker,
        count=2,
        message=HOSTILE,
        tags=[HOSTILE.replace("\u202e", "")],
        payload={"do": "return", "value": HOSTILE},
    )
    failure = Failure.objects.get()
    look_after(operator, failure, note="<script>alert(1)</script>")
    for address in (list_of(Failure), page_of(failure)):
        assert "<script>alert" not in html(operator.get(address))


def test_a_preview_a_start_and_its_buttons(operator, failure, worker):
    answer = begin(operator, failure, canary="1", rate_per_second="0.5", stop_percent="", reason="the fix is out")
    operation = Operation.objects.get()
    assert answer.redirect_chain == [(page_of(operation), 302)]
    assert (operation.state, operation.failure, operation.reason) == ("PREVIEW", failure.pk, "the fix is out")
    act(operator, operation, "resume")
    assert operation.state == OperationState.CANARY
    act(operator, operation, "slower")
    assert operation.rate_per_second == 0.25
    act(operator, operation, "faster")
    assert operation.rate_per_second == 0.5
    act(operator, operation, "pause")
    assert operation.state == OperationState.PAUSED
    refused = act(operator, operation, "pause")
    assert messages_of(refused) == ["Nothing was done: cannot pause an operation that is PAUSED."]
    assert "Re-drive" in html(operator.get(page_of(failure)))
    act(operator, operation, "cancel")
    assert operation.state == OperationState.CANCELLED
    assert [one.verb for one in Journal.objects.about(ObjectKind.OPERATION, str(operation.pk))] == [
        "create", "resume", "edit", "edit", "pause", "cancel",
    ]  # fmt: skip
    assert operator.get(f"{page_of(operation).removesuffix('change/')}act/pause/").status_code == 405
    assert operator.post(f"{page_of(operation).removesuffix('change/')}act/explode/").status_code == 404


def test_people_look_after_a_failure(operator, failure):
    look_after(operator, failure, assign="me")
    assert failure.assignee == "olga"
    look_after(operator, failure, note="line one\r\nline two")
    assert failure.note == "line one\nline two"
    look_after(operator, failure, snooze="day")
    assert failure.snoozed_until is not None
    assert "No failures" in html(operator.get(list_of(Failure)))
    assert "RuntimeError" in html(operator.get(f"{list_of(Failure)}?show=snoozed"))
    look_after(operator, failure, snooze="end")
    look_after(operator, failure, assign="nobody")
    assert (failure.snoozed_until, failure.assignee) == (None, "")
    assert Journal.objects.of_verb("edit").filter(kind="failure", by="olga").count() == 5


def test_an_operation_that_stopped_links_to_what_died_again(operator, failure, worker):
    begin(operator, failure, canary="3", stop_percent="10")
    operation, lead = Operation.objects.get(), factories.make_lead()
    operations.resume(operation.pk)
    lifecycle.step_operation(operation.pk, **lead)
    for item in operation.items.all():
        task = item.task
        lifecycle.fail(factories.failure(factories.start(task, worker), worker, death=DeathReason.NOT_RETRYABLE))
    lifecycle.step_operation(operation.pk, **lead)
    page = html(operator.get(page_of(operation)))
    assert "3 of the canary died again" in page
    assert str(task.pk) in page
    assert "Go on" in page


def test_pages_cost_the_same_number_of_queries_for_any_number_of_rows(operator, failure, worker):
    def count(address):
        with CaptureQueriesContext(connection) as captured:
            html(operator.get(address))
        return len(captured)

    begin(operator, failure)
    addresses = [list_of(Failure), page_of(failure), list_of(Operation), page_of(Operation.objects.get())]
    for address in addresses:
        count(address)
    few = [count(address) for address in addresses]
    die(worker, count=20)
    die(worker, message="another")
    begin(operator, failure)
    assert Failure.objects.count() == 2
    assert [count(address) for address in addresses] == few
    assert max(few) < 40


def test_a_page_names_builds_and_snoozes_until_a_new_one(operator, db):
    worker = factories.make_worker(build="v41")
    die(worker, build="v41")
    failure = Failure.objects.get()
    page = html(operator.get(page_of(failure)))
    seen = r'in build <code title="v41">v41</code>, first seen <time[^>]*>[^<]*</time> in the same build<'
    assert re.search(seen, page)
    die(worker, build="v42")
    page = html(operator.get(page_of(failure)))
    assert re.search(r">v42</code>, first seen <time[^>]*>[^<]*</time> in build <code[^>]*>v41</code>", page)
    assert "build <b><bdi>v41</bdi></b>" in page, "what its deaths have in common"
    answer = look_after(operator, failure, snooze="build")
    assert failure.snoozed_builds == ["v41", "v42"]
    assert "snoozed until a task dies of it in a new build" in html(answer)
    assert "No failures" in html(operator.get(list_of(Failure)))
    assert "RuntimeError" in html(operator.get(f"{list_of(Failure)}?show=snoozed"))
    look_after(operator, failure, snooze="end")
    assert failure.snoozed_builds is None
