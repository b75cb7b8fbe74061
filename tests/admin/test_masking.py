"""Who sees what of a task's data in the admin, and that a search does not tell what is hidden."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.masking import MASK
from tasks.models import Task
from tests import factories, secretive
from tests.admin.pages import browser_of, html, list_of, page_of
from tests.callers import let_see_payloads
from tests.secretive import SECRET

HIDDEN = "you need the permission"


@pytest.fixture
def owner(db):
    user = User.objects.create_user("ada", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    return user


@pytest.fixture
def task(owner, worker):
    made = secretive.make(worker, owner_id=owner.pk)
    # The overview has the failure from then on.
    lifecycle.fold_failures(**factories.make_lead())
    return made


@pytest.fixture
def blind(db) -> Client:
    """Give the browser of somebody who sees everything but payloads."""
    user = User.objects.create_user("bill", is_staff=True)
    user.user_permissions.set(Permission.objects.exclude(codename="view_payload"))
    return browser_of(user)


@pytest.fixture
def auditor(db) -> Client:
    user = User.objects.create_user("audrey", is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    return browser_of(let_see_payloads(user))


def _pages(browser, task):
    letter = factories.open_letter(task)
    selected = {"action": "redrive", "_selected_action": [str(letter.pk)]}
    return {
        "task": html(browser.get(page_of(task))),
        "dead letter": html(browser.get(page_of(letter))),
        "dead letters": html(browser.get(list_of(DeadLetter))),
        "tasks": html(browser.get(list_of(Task))),
        "overview": html(browser.get(reverse("admin:index"))),
        "confirmation": html(browser.post(list_of(DeadLetter), selected)),
        "worker": html(browser.get(reverse("admin:index"))),
    }


def test_owners_see_their_data_as_it_is(owner, task):
    let_see_payloads(owner)
    pages = _pages(browser_of(owner), task)
    for name in ("task", "dead letter", "dead letters", "confirmation"):
        assert SECRET in pages[name], name
    assert HIDDEN not in pages["task"]


def test_others_who_may_see_payloads_see_no_secrets(auditor, task):
    pages = _pages(auditor, task)
    for name, page in pages.items():
        assert SECRET not in page, name
    for name in ("task", "dead letter", "dead letters", "overview", "confirmation"):
        assert f"cannot log in with {MASK}" in pages[name], name
    assert "Traceback" in pages["task"]
    assert HIDDEN not in pages["task"]


def test_superusers_see_no_secrets_of_others(root, task):
    assert all(SECRET not in page for page in _pages(root, task).values())


def test_others_without_the_permission_see_no_data_and_read_why(blind, task):
    pages = _pages(blind, task)
    for name, page in pages.items():
        assert SECRET not in page, name
        assert "cannot log in" not in page, name
    for name in ("task", "dead letter"):
        assert HIDDEN in pages[name]
        assert "ValueError" in pages[name]


def test_positional_arguments_are_masked_by_the_names_of_their_parameters(auditor):
    task = factories.submit("login", args=["ada", SECRET], payload={})
    page = html(auditor.get(page_of(task)))
    assert "ada" in page
    assert SECRET not in page
    Task.objects.filter(pk=task.pk).update(actor="gone")
    assert SECRET not in html(auditor.get(page_of(task)))


@pytest.mark.parametrize(
    ("words", "auditor_finds", "blind_finds", "owner_finds"),
    [
        (SECRET, False, False, True),
        (SECRET[:6], False, False, True),
        ("cannot log in", True, False, True),
        ("valueerror", True, True, True),
        ("act", True, True, True),
    ],
)
def test_a_search_finds_only_by_what_can_be_read(
    auditor, blind, owner, task, words, auditor_finds, blind_finds, owner_finds
):
    letter = factories.open_letter(task)
    browsers = (auditor, auditor_finds), (blind, blind_finds), (browser_of(owner), owner_finds)
    for browser, is_found in browsers:
        page = html(browser.get(list_of(DeadLetter), {"q": words}))
        assert (str(letter.pk) in page) == is_found
