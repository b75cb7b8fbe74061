"""The journal's pages, and the operator log: every door is in them."""

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from tasks import lifecycle
from tasks.lifecycle import Author, queues
from tasks.models import ApiToken, Journal, Queue
from tasks.states import Door, Status
from tests import factories
from tests.admin.pages import browser_of, html, list_of, page_of, verb_of

ADA = Author("ada", Door.API, "as agreed")


def test_the_journal_is_listed_filtered_and_searched(viewer, worker):
    task, letter = factories.submit(), factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    lifecycle.cancel(task.pk, by=ADA)
    lifecycle.discard(letter.pk, by=Author("cli:root", Door.CLI))
    queues.pause("default", by=Author(door=Door.SCHEDULER))

    def listed(**query):
        return set(re.findall(r'class="field-what[^>]*>(?:<[^>]*>)*(\w+)<', html(viewer.get(list_of(Journal), query))))

    assert listed() == {"cancel", "discard", "pause"}
    assert listed(door="api") == {"cancel"}
    assert listed(verb="pause") == {"pause"}
    assert listed(by="cli:root") == {"discard"}
    assert listed(by="nobody") == listed(verb="\0") == set()
    assert listed(q=str(letter.task_id)) == listed(q=str(letter.pk)) == {"discard"}
    assert listed(q="default") == {"pause"}


def test_an_entry_is_shown_and_cannot_be_changed(root, db):
    lifecycle.edit(factories.submit().pk, {"priority": 9}, by=ADA)
    entry = Journal.objects.get()
    page = html(root.get(page_of(entry)))
    assert "as agreed" in page
    assert "priority" in page
    assert root.post(page_of(entry), {"verb": "cancel"}).status_code == 403
    assert root.post(page_of(entry).replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert root.get(reverse("admin:callboard_journal_add")).status_code == 403
    assert Journal.objects.get().verb == "edit"


def test_only_who_may_view_the_journal_sees_it(db):
    user = User.objects.create_user("eve", is_staff=True)
    lifecycle.cancel(factories.submit().pk, by=ADA)
    entry = Journal.objects.get()
    for path in (list_of(Journal), page_of(entry)):
        assert browser_of(user).get(path).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_journal"))
    for path in (list_of(Journal), page_of(entry)):
        assert browser_of(User.objects.get(pk=user.pk)).get(path).status_code == 200


def test_the_overview_shows_one_line_for_each_act_of_any_door(root, worker):
    tasks = [factories.submit() for _ in range(3)]
    root.post(
        list_of(tasks[0]),
        {"action": "cancel", "_selected_action": [str(task.pk) for task in tasks], "confirmed": "yes", "reason": "<b>"},
    )
    queues.pause("default", by=ADA)
    page = html(root.get(reverse("admin:index")))
    log = re.search(r'<ul class="operator-log">(.*?)</ul>', page, re.DOTALL)
    assert log
    lines = [" ".join(re.sub(r"<[^>]*>", " ", line).split()) for line in log[1].split("<li>")[1:]]
    assert lines == ["now ada : pause queue default : as agreed API", "now root : cancel 3 tasks : &lt;b&gt; Admin"]


def test_a_rows_page_shows_what_other_doors_did(root, worker):
    letter = factories.open_letter(factories.make_task(Status.DEAD, worker=worker))
    queues.pause("default", by=ADA)
    assert "as agreed" in html(root.get(page_of(Queue.objects.get(pk="default"))))
    lifecycle.discard(letter.pk, by=ADA)
    for row in (letter, letter.task):
        assert "as agreed" in html(root.get(page_of(row)))


@pytest.mark.parametrize("reason", ["x" * 201, "a\0b", "two\nlines"])
def test_a_bad_reason_is_refused_and_changes_nothing(root, reason):
    queue = Queue.objects.get(pk="default")
    assert root.post(verb_of(queue, "pause"), {"confirmed": "yes", "reason": reason}).status_code == 400
    data = {"action": "pause", "_selected_action": ["default"], "confirmed": "yes", "reason": reason}
    assert root.post(list_of(Queue), data).status_code == 400
    queue.refresh_from_db()
    assert queue.paused_at is None
    assert not Journal.objects.exists()


def test_a_token_is_recorded_when_it_is_issued_and_changed(root):
    alice = User.objects.create_user("alice")
    data = {"name": "ci", "user": alice.pk, "scopes": ["read"], "expires_at_0": "", "expires_at_1": ""}
    root.post(reverse("admin:callboard_apitoken_add"), data)
    token = ApiToken.objects.get()
    root.post(page_of(token), data)
    root.post(page_of(token), {**data, "name": "cd"})
    columns = ("verb", "by", "door", "object_id", "object_name", "detail")
    assert list(Journal.objects.values_list(*columns)) == [
        ("issue", "root", "admin", str(token.pk), "ci", {"user": "alice", "scopes": ["read"]}),
        ("edit", "root", "admin", str(token.pk), "cd", {"fields": ["name"]}),
    ]
