"""The page that edits the payload of a dead task: what it takes, and what it leaves as it was."""

import json

import pytest
from django.contrib.auth.models import Permission, User

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.models import Journal, Task
from tasks.states import Status
from tests import factories
from tests.admin.pages import browser_of, html, messages_of, page_of
from tests.callers import _member, let_see_payloads

pytestmark = pytest.mark.django_db

SECRET = "hunter2-swordfish"


@pytest.fixture
def chief(db):
    return browser_of(_member("clara", "admin"))


def address(letter):
    return f"{page_of(letter).removesuffix('change/')}edit/"


def make_letter(**fields):
    return factories.open_letter(factories.make_task(Status.DEAD, **fields))


def send(browser, letter, payload, **data):
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return browser.post(address(letter), {"payload": text, **data})


def untouched(letter):
    task = Task.objects.get(pk=letter.task_id)
    return (
        task.status == Status.DEAD
        and task.version == 1
        and DeadLetter.objects.get(pk=letter.pk).is_open
        and not Journal.objects.filter(verb__in=["edit", "redrive"]).exists()
    )


def test_a_payload_is_edited_and_the_task_runs_again(chief, worker):
    letter = make_letter(worker=worker)
    lifecycle.fold_failures(**factories.make_lead())
    for page in (page_of(letter), page_of(Failure.objects.get())):
        assert address(letter) in html(chief.get(page))
    page = html(chief.get(address(letter)))
    assert "&quot;do&quot;" in page
    assert "Schema of the payload" in page
    answer = chief.post(
        address(letter), {"payload": '{"do": "return", "value": 7}', "reason": "it was a text"}, follow=True
    )
    assert "re-driven with the new payload" in messages_of(answer)[0]
    task = Task.objects.get(pk=letter.task_id)
    assert (task.payload, task.status) == ({"do": "return", "value": 7}, Status.PENDING)
    edits = Journal.objects.filter(by="clara", reason="it was a text").order_by("id").values_list("verb", flat=True)
    assert list(edits) == ["edit", "redrive"]


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({"do": "return", "nonsense": 1}, "nonsense"),
        ({}, "do"),
        ("[]", "expected a JSON object"),
        ("", "not JSON"),
        ('{"do": ', "not JSON"),
        ('{"do": "a", "do": "b"}', "twice"),
        ('{"do": NaN}', "NaN"),
        ("[" * 100_000, "payload"),
        ({"do": "\0"}, "payload.do"),
        ({"do": "return", "value": "x" * 300_000}, "bytes"),
        ('{"do": "</textarea><script>alert(1)</script>", "x": 1}', "x"),
    ],
)
def test_a_bad_payload_is_explained_and_changes_nothing(chief, payload, says):
    letter = make_letter()
    answer = send(chief, letter, payload)
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "Nothing was done" in page
    assert says in page.partition('role="alert"')[2].partition("</ul>")[0]
    assert "<script>alert" not in page
    assert untouched(letter)


def test_a_secret_stays_masked_and_is_kept_only_as_it_was(chief):
    letter = make_letter(actor="login", payload={"user": "ada", "password": SECRET})
    page = html(chief.get(address(letter)))
    assert SECRET not in page
    assert "********" in page
    assert send(chief, letter, {"user": "bob", "password": "********"}).status_code == 400
    assert untouched(letter)
    assert (
        "as it was"
        in messages_of(
            chief.post(address(letter), {"payload": '{"user": "ada", "password": "********"}'}, follow=True)
        )[0]
    )
    assert Task.objects.get(pk=letter.task_id).payload == {"user": "ada", "password": SECRET}


def test_invisible_characters_are_written_as_escapes_and_come_back_the_same(chief):
    letter = make_letter(payload={"do": "return", "value": "a\u202eb\U000e0041"})
    page = html(chief.get(address(letter)))
    assert "a\\u202eb\\udb40\\udc41" in page


def test_only_those_who_may_change_and_see_payloads_edit_them(viewer, operator, worker):
    letter = make_letter()
    for browser in (viewer, operator):
        assert browser.get(address(letter)).status_code == 403
        assert send(browser, letter, {"do": "return"}).status_code == 403
        assert address(letter) not in html(browser.get(page_of(letter)))
    assert untouched(letter)
    blind = User.objects.create_user("blind", is_staff=True)
    names = ("view_deadletter", "redrive_deadletter", "view_task", "add_task")
    blind.user_permissions.set(Permission.objects.filter(codename__in=names))
    assert browser_of(blind).get(address(letter)).status_code == 403
    assert browser_of(let_see_payloads(blind)).get(address(letter)).status_code == 200


def test_a_letter_that_is_not_open_is_not_edited(chief):
    letter = make_letter()
    lifecycle.discard(letter.pk)
    answer = chief.post(address(letter), {"payload": '{"do": "fail"}'}, follow=True)
    assert messages_of(answer) == ["Nothing to edit: the dead letter is not open."]
    assert Task.objects.get().version == 1
    gone = make_letter()
    Task.objects.filter(pk=gone.task_id).delete()
    answer = chief.get(address(gone), follow=True)
    assert "was removed" in messages_of(answer)[0]
    answer = chief.post(address(gone), {"payload": "{"}, follow=True)
    assert "was removed" in messages_of(answer)[0]
