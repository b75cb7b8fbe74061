"""Logins: the limit for addresses, with one user name and with any; error pages and the page after the logout."""

import re

import pytest
import redis
from django.contrib.auth.models import User
from django.core.cache import cache
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from scheduler_site import logins
from tasks.contract import rate_limit

PASSWORD = "correct horse battery staple"
LOGIN = "/admin/login/"

pytestmark = pytest.mark.usefixtures("fresh_breakers")


@pytest.fixture(autouse=True)
def _limit(settings, db):
    settings.LOGIN_RATE_LIMIT, settings.LOGIN_ADDRESS_RATE_LIMIT = (3, 60), (5, 60)
    cache.clear()
    User.objects.create_superuser("root", password=PASSWORD)
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def _within_one_window(monkeypatch):
    """Stop the limiter's clock: its windows are fixed, and one could end between two logins."""
    monkeypatch.setattr("django_ratelimit.core.time.time", lambda: 1_900_000_000.0)


def _log_in(name="root", password="wrong", *, address="192.0.2.1"):
    return Client(REMOTE_ADDR=address).post(LOGIN, {"username": name, "password": password})


def _statuses(answers):
    return [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    "page", ["https://evil.example.org/", "//evil.example.org", "javascript:alert(1)", "", "http://[", "/\\evil"]
)
def test_a_login_with_an_unsafe_page_to_go_on_to_leads_to_the_admin(page):
    answer = Client().post(LOGIN, {"username": "root", "password": PASSWORD, "next": page})
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


def test_a_login_leads_to_the_page_that_asked_for_it():
    answer = Client().post(LOGIN, {"username": "root", "password": PASSWORD, "next": "/admin/callboard/task/"})
    assert answer["Location"] == "/admin/callboard/task/"


def test_an_address_that_guesses_user_names_is_limited():
    assert _statuses(_log_in(name) for name in "abcdef") == [200] * 5 + [429]
    assert _log_in("root", PASSWORD).status_code == 429, "the right password is refused too"
    assert _log_in("root", PASSWORD, address="192.0.2.2").status_code == 302, "other addresses are not limited"


def test_a_user_name_that_is_guessed_from_an_address_is_limited_there():
    assert _statuses(_log_in(name) for name in ("root", "ROOT", " root ", "root")) == [200] * 3 + [429]
    User.objects.create_superuser("ann", password=PASSWORD)
    assert _log_in("ann", PASSWORD).status_code == 302, "others behind that address are not"


def test_strangers_cannot_lock_a_user_name_out_of_other_addresses():
    for number in range(1, 5):
        _log_in(address=f"192.0.2.{number}")
    assert _log_in("root", PASSWORD, address="198.51.100.1").status_code == 302


def test_the_page_tells_how_long_to_wait():
    answer = [_log_in() for _ in range(4)][-1]
    page = answer.content.decode()
    wait = int(answer["Retry-After"])
    assert 1 <= wait <= 60
    assert re.search(r"Try again in (1 min|[1-9]\d? s|\d\.\d s)\.", page)
    assert reverse("admin:index") in page
    assert "default-src 'self'" in answer["Content-Security-Policy"]


def test_opening_the_form_does_not_count():
    assert _statuses(Client().get(LOGIN) for _ in range(5)) == [200] * 5


@pytest.mark.parametrize(("off", "on"), [("LOGIN_RATE_LIMIT", "ADDRESS"), ("LOGIN_ADDRESS_RATE_LIMIT", "name")])
def test_one_of_the_limits_can_be_switched_off(settings, off, on):
    setattr(settings, off, None)
    most = 5 if on == "ADDRESS" else 3
    assert _statuses(_log_in() for _ in range(most + 1)) == [200] * most + [429]


def test_zero_means_no_limit(settings):
    settings.LOGIN_RATE_LIMIT = settings.LOGIN_ADDRESS_RATE_LIMIT = None
    assert 429 not in _statuses(_log_in() for _ in range(6))


def test_logins_are_not_limited_while_the_cache_is_away(monkeypatch):
    def away(*_, **__):
        raise redis.ConnectionError("away")

    monkeypatch.setattr(logins, "get_usage", away)
    monkeypatch.setattr(rate_limit.breaker, "_probe", away)
    assert _log_in("root", PASSWORD).status_code == 302
    assert rate_limit.breaker.is_open, "the next one does not wait for the cache"
    monkeypatch.setattr(logins, "get_usage", lambda *_, **__: pytest.fail("the cache was asked"))
    assert _log_in("root", PASSWORD).status_code == 302


@pytest.mark.parametrize("path", ["/admin/nowhere/", "/admin/callboard/task/"])
def test_error_pages_obey_the_content_security_policy(path):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.create_user("new", is_staff=True))
    answers = [browser.get(path), browser.post(reverse("admin:password_change"), {})]
    for answer in answers:
        page = answer.content.decode()
        assert answer.status_code in (403, 404)
        assert "Callboard" in page
        assert "default-src 'self'" in answer["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|<script", page)


@pytest.mark.parametrize("name", ["400", "403", "404", "429", "500", "503"])
def test_error_pages_need_no_database(name, django_assert_num_queries):
    with django_assert_num_queries(0):
        page = render_to_string(f"{name}.html")
    assert f"Error {name}" in page


def test_an_expired_form_is_explained():
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(User.objects.get(username="root"))
    page = browser.post(reverse("admin:logout")).content.decode()
    assert "Nothing was changed" in page


def test_the_page_after_the_logout_shows_no_tabs():
    browser = Client()
    browser.force_login(User.objects.get(username="root"))
    page = browser.post(reverse("admin:logout")).content.decode()
    assert "You are logged out." in page
    assert 'id="tabs"' not in page
