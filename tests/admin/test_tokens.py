"""API tokens: created, shown once, changed, revoked."""

import re

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from tasks.models import ApiToken
from tasks.queries.tokens import token_for_secret
from tests.admin.pages import browser_of, list_of, page_of, verb_of


def _make_token(browser, user, **fields):
    return browser.post(
        reverse("admin:callboard_apitoken_add"),
        {"name": "ci", "user": user.pk, "scopes": ["read"], "expires_at_0": "", "expires_at_1": "", **fields},
    )


def test_a_new_tokens_secret_is_shown_once(root):
    alice = User.objects.create_user("alice")
    answer = _make_token(root, alice)
    page = answer.content.decode()
    secret = re.search(r"cb_[\w-]{40,}", page)
    assert secret
    assert "no-store" in answer["Cache-Control"]
    token = ApiToken.objects.get()
    assert (token.user, token.name, token.digest) == (alice, "ci", ApiToken.hash(secret[0]))
    found = token_for_secret(secret[0])
    assert found is not None
    for path in (page_of(token), list_of(ApiToken), reverse("admin:index")):
        assert secret[0] not in root.get(path).content.decode()
    assert secret[0] not in str([list(entry) for entry in LogEntry.objects.values_list()])
    assert LogEntry.objects.get().object_id == str(token.pk)


def test_a_token_expires_at_the_given_time(root):
    alice = User.objects.create_user("alice")
    assert (
        "Must be in the future"
        in _make_token(root, alice, expires_at_0="2001-01-01", expires_at_1="00:00:00").content.decode()
    )
    assert not ApiToken.objects.exists()
    _make_token(root, alice, expires_at_0="2101-01-01", expires_at_1="00:00:00")
    token = ApiToken.objects.get()
    assert token.expires_at is not None
    change = {"name": "cd", "user": "999", "scopes": ["read"], "expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"}
    root.post(page_of(token), change)
    token.refresh_from_db()
    assert (token.name, token.user, token.expires_at.year) == ("cd", alice, 2100)
    assert LogEntry.objects.count() == 2


def test_scopes_actors_and_queues_are_selected_and_changed(root, worker):
    boss = User.objects.get(username="root")
    assert "Select a valid choice" in _make_token(root, boss, actors=["nobody"]).content.decode()
    assert "This field is required" in _make_token(root, boss, scopes=[]).content.decode()
    _make_token(root, boss, scopes=["read", "submit"], actors=["act"], queues=["default", "other"])
    token = ApiToken.objects.get()
    assert (token.scopes, token.actors, token.queues) == (["read", "submit"], ["act"], ["default", "other"])
    ApiToken.objects.update(actors=["act", "of the last deploy"])
    root.post(page_of(token), {"name": "ci", "scopes": ["operate"], "actors": ["of the last deploy"], "queues": []})
    token.refresh_from_db()
    assert (token.scopes, token.actors, token.queues) == (["operate"], ["of the last deploy"], [])


def test_only_superusers_create_tokens_for_other_users(db):
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("add_apitoken", "view_apitoken")))
    boss = User.objects.create_superuser("boss")
    answer = _make_token(browser_of(user), boss)
    assert "Select a valid choice" in answer.content.decode()
    assert not ApiToken.objects.exists()
    assert "cb_" in _make_token(browser_of(user), user).content.decode()


def test_only_superusers_change_tokens_of_other_users(db):
    admin, boss = User.objects.create_user("admin", is_staff=True), User.objects.create_superuser("boss")
    admin.groups.add(Group.objects.get(name="admin"))
    wider = {"name": "ci", "scopes": ["read", "operate"], "expires_at_0": "", "expires_at_1": ""}
    for user, scopes in ((boss, ["read"]), (admin, ["read", "operate"])):
        token, _ = ApiToken.issue(user=user, name="ci", scopes=["read"])
        assert browser_of(admin).get(page_of(token)).status_code == 200
        browser_of(admin).post(page_of(token), wider)
        token.refresh_from_db()
        assert token.scopes == scopes
    browser_of(admin).post(verb_of(ApiToken.objects.get(user=boss), "revoke"), {"confirmed": "yes"})
    assert ApiToken.objects.get(user=boss).revoked_at is not None, "whoever sees a leak can stop it"


def test_operators_have_no_access_to_tokens(operator):
    assert operator.get(list_of(ApiToken)).status_code == 403
    assert operator.get(reverse("admin:callboard_apitoken_add")).status_code == 403


def test_a_revoked_token_cannot_be_changed(root):
    token, secret = ApiToken.issue(user=User.objects.create_user("alice"), name="laptop")
    root.post(verb_of(token, "revoke"), {"confirmed": "yes"})
    assert token_for_secret(secret) is None
    root.post(page_of(token), {"name": "x", "expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"})
    token.refresh_from_db()
    assert (token.name, token.expires_at) == ("laptop", None)
