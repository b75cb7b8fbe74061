"""The limit of refused requests: wrong tokens and hostile bodies cannot be tried without end."""

import pytest
import redis
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tasks.contract import authentication, rate_limit
from tasks.contract.rate_limit import MemoryBuckets
from tasks.contract.refusal_limit import RefusalLimit, refusals
from tasks.models import ApiToken, Task
from tests.callers import TASKS, Caller, assert_problem


@pytest.fixture(autouse=True)
def clock(monkeypatch, settings):
    """Allow 5 refusals an hour, in buckets of this test alone; ``later`` moves their clock."""
    now = [1000.0]
    buckets = MemoryBuckets(clock=lambda: now[0])
    monkeypatch.setattr(rate_limit, "_buckets", lambda: buckets)
    monkeypatch.setattr(refusals, "_clock", lambda: now[0])
    monkeypatch.setattr(refusals, "_blocked_until", {})
    monkeypatch.setattr(authentication, "_seen", set())
    settings.REFUSED_RATE_LIMIT = (5, 3600)
    return now


@pytest.fixture
def later(clock):
    def wait(seconds):
        clock[0] += seconds

    return wait


def _bad_json(caller):
    return caller.post(TASKS, b"{", content_type="application/json")


def _unknown_task(caller):
    return caller.send(f"{TASKS}/01a22252-1c96-74c7-a19b-60fffa3d6d0a/cancel")


REFUSED = {
    "bad JSON": (_bad_json, 400),
    "an invalid field": (lambda caller: caller.submit(priority=11), 400),
    "an unknown actor": (lambda caller: caller.submit("nobody"), 400),
    "an invalid bulk": (lambda caller: caller.send(f"{TASKS}/bulk", {"tasks": [{}]}), 400),
    "a large body": (lambda caller: caller.post(TASKS, b" " * 5_000_000, content_type="application/json"), 413),
    "many values": (lambda caller: caller.post(TASKS, b"[" * 10_000, content_type="application/json"), 400),
    "a form": (lambda caller: caller.post(TASKS, b"a=1", content_type="application/x-www-form-urlencoded"), 415),
    "an unknown task": (_unknown_task, 404),
    "no such method": (lambda caller: caller.put(TASKS, b"{}", content_type="application/json"), 405),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_are_refused_again_and_again_are_refused_unread(alice, later, name):
    send, status = REFUSED[name]
    assert [send(alice).status_code for _ in range(6)] == [status] * 6
    with CaptureQueriesContext(connection) as queries:
        refused = send(alice)
    assert_problem(refused, 429, code="too_many_refused")
    assert 1 <= int(refused["Retry-After"]) <= 720
    assert all("callboard_task" not in query["sql"] for query in queries), "the body is not looked at"
    assert alice.get(TASKS).status_code == 200, "reading goes on"
    later(720)
    assert send(alice).status_code == status


def test_a_mistake_does_not_lock_out_submissions(alice, settings):
    settings.SUBMIT_RATE_LIMIT = (5, 3600)
    for _ in range(5):
        _bad_json(alice)
    assert [alice.submit().status_code for _ in range(5)] == [201] * 5


def test_one_token_does_not_lock_out_another_at_its_address(alice, bob):
    for _ in range(7):
        _bad_json(alice)
    assert _bad_json(alice).status_code == 429
    assert bob.submit().status_code == 201


def test_a_refused_body_costs_as_much_as_reading_it(alice):
    body = b'{"actor": "nobody"' + b" " * (3 * 64 * 1024) + b"}"
    assert [alice.post(TASKS, body, content_type="application/json").status_code for _ in range(3)] == [400, 400, 429]


def test_a_submission_beyond_the_limit_is_a_refusal_too(alice, settings):
    settings.SUBMIT_RATE_LIMIT = (1, 3600)
    codes = [alice.submit().json().get("code") for _ in range(8)]
    assert codes == [None, *["rate_limited"] * 6, "too_many_refused"]


def test_what_came_too_late_is_no_refusal(alice):
    url = alice.submit().json()["url"]
    assert alice.send(f"{url}/cancel").status_code == 200
    assert [alice.send(f"{url}/cancel").status_code for _ in range(8)] == [409] * 8
    assert alice.submit().status_code == 201


def test_staff_is_exempt(staff):
    assert [_bad_json(staff).status_code for _ in range(8)] == [400] * 8


def test_bad_queries_of_a_known_caller_are_not_counted(alice):
    assert [alice.get(f"{TASKS}?nope=1").status_code for _ in range(8)] == [400] * 8


def _guess(number, **headers):
    return Caller(authorization=f"Bearer cb_wrong{number}").get(TASKS, headers=headers)


def test_wrong_tokens_are_limited_before_the_database_is_asked(db, later):
    assert [_guess(number).status_code for number in range(6)] == [401] * 6
    with CaptureQueriesContext(connection) as queries:
        refused = _guess(6)
    assert_problem(refused, 429, code="too_many_refused")
    assert len(queries) == 0
    later(720)
    assert _guess(7).status_code == 401


def test_wrong_tokens_at_one_address_lock_out_no_other(db, alice):
    for number in range(8):
        _guess(number)
    alice.defaults["REMOTE_ADDR"] = "192.0.2.7"
    assert alice.get(TASKS).status_code == 200


def test_a_token_that_was_valid_is_not_locked_out_by_guesses_from_its_address(alice):
    assert alice.get(TASKS).status_code == 200
    for number in range(8):
        _guess(number)
    assert _guess(9).status_code == 429
    assert alice.get(TASKS).status_code == 200
    assert alice.submit().status_code == 201
    ApiToken.objects.update(revoked_at="2020-01-01T00:00:00Z")
    assert alice.get(TASKS).status_code == 401, "being known is no permission"
    assert alice.get(TASKS).status_code == 429


def test_strangers_who_send_bodies_are_limited_by_their_address(nobody):
    assert [nobody.submit().status_code for _ in range(6)] == [401] * 6
    Caller(authorization="Bearer x").get(TASKS)
    assert Caller(authorization="Bearer cb_wrong").get(TASKS).status_code == 429


def test_a_session_without_its_csrf_token_is_counted(db, django_user_model):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(django_user_model.objects.create_user("carol"))
    answers = [browser.post(TASKS, {}, content_type="application/json") for _ in range(7)]
    assert {answer.status_code for answer in answers} == {403}
    assert _guess(1).status_code == 429


def test_it_can_be_switched_off(alice, settings):
    settings.REFUSED_RATE_LIMIT = None
    assert [_bad_json(alice).status_code for _ in range(8)] == [400] * 8


def test_without_redis_refusals_are_free(alice, monkeypatch):
    def away(*_):
        raise redis.ConnectionError("away")

    monkeypatch.setattr(rate_limit._buckets(), "take", away)
    assert [_bad_json(alice).status_code for _ in range(8)] == [400] * 8
    assert not Task.objects.exists()


def test_callers_who_may_try_again_are_forgotten(monkeypatch, settings, clock):
    settings.REFUSED_RATE_LIMIT = (1, 1)
    monkeypatch.setattr(RefusalLimit, "_MOST", 10)
    for number in range(100):
        for _ in range(2):
            refusals.note(f"refused.ip.{number}")
        clock[0] += 1
    assert len(refusals._blocked_until) <= 10
