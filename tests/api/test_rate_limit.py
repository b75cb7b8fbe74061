"""The submission limit: a token bucket by client address and by token."""

import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from types import SimpleNamespace
from uuid import uuid4

import pytest
import redis
from django.test import Client

from tasks.checks import check_submission_limit
from tasks.contract import rate_limit
from tasks.contract.client_address import client_address
from tasks.contract.rate_limit import MemoryBuckets, Rate, RedisBuckets
from tasks.models import ApiToken, Task
from tests.callers import TASKS, Caller, assert_problem

BULK = f"{TASKS}/bulk"
RATE = Rate(50, 60)


@pytest.fixture(params=["redis", "memory"])
def limited(request, settings):
    """50 a minute, with buckets of this test alone."""
    settings.SUBMIT_RATE_LIMIT = (50, 60)
    if request.param == "redis":
        settings.REDIS_URL = request.getfixturevalue("redis_url")
        settings.BROKER_NAMESPACE = f"test-{id(request)}"
    else:
        settings.REDIS_URL = ""
    rate_limit._buckets.cache_clear()
    yield settings
    if request.param == "redis":
        client = redis.Redis.from_url(settings.REDIS_URL)
        for key in client.scan_iter(f"{settings.BROKER_NAMESPACE}:*"):
            client.delete(key)
    rate_limit._buckets.cache_clear()


def _bulk(caller, count, **extra):
    return caller.send(BULK, {"tasks": [{"actor": "add", "payload": {"a": 1}}] * count}, **extra)


def test_fifty_are_taken_and_the_next_is_told_when(alice, limited):
    answers = [alice.submit() for _ in range(50)]
    assert [answer.status_code for answer in answers] == [201] * 50
    assert [answer["RateLimit-Remaining"] for answer in (answers[0], answers[-1])] == ["49", "0"]
    refused = alice.submit()
    problem = assert_problem(refused, 429, code="rate_limited")
    assert "50 tasks in 60 s" in problem["detail"]
    assert (refused["RateLimit-Limit"], refused["RateLimit-Remaining"]) == ("50", "0")
    assert refused["RateLimit-Policy"] == '"submit";q=50;w=60'
    assert refused["RateLimit"] == f'"submit";r=0;t={refused["RateLimit-Reset"]}'
    assert refused["Retry-After"] in {"1", "2"}
    assert 55 <= int(refused["RateLimit-Reset"]) <= 60
    assert Task.objects.count() == 50


def test_a_bulk_costs_as_many_as_it_has(alice, limited):
    assert _bulk(alice, 30)["RateLimit-Remaining"] == "20"
    refused = _bulk(alice, 21)
    assert_problem(refused, 429)
    assert refused["RateLimit-Remaining"] == "20"
    assert _bulk(alice, 20).status_code == 201
    assert Task.objects.count() == 50


def test_a_bulk_that_no_bucket_can_hold_is_told_to_be_split(alice, limited):
    refused = _bulk(alice, 51)
    problem = assert_problem(refused, 429, code="rate_limited")
    assert "split" in problem["detail"]
    assert refused["RateLimit-Limit"] == "50"
    assert not {"Retry-After", "RateLimit-Remaining"} & set(refused.headers), "waiting would not help"
    assert _bulk(alice, 50).status_code == 201


def test_two_tokens_behind_one_address_share_its_bucket(alice, bob, limited):
    _bulk(alice, 50)
    assert_problem(bob.submit(), 429)
    assert bob.submit(priority=1).status_code == 429


def test_one_token_at_two_addresses_has_one_bucket(alice, limited):
    alice.defaults["REMOTE_ADDR"] = "192.0.2.1"
    assert _bulk(alice, 50).status_code == 201
    alice.defaults["REMOTE_ADDR"] = "192.0.2.2"
    assert_problem(_bulk(alice, 1), 429)


def test_another_token_at_another_address_is_another_caller(alice, bob, limited):
    _bulk(alice, 50)
    bob.defaults["REMOTE_ADDR"] = "192.0.2.9"
    assert _bulk(bob, 50).status_code == 201


def test_what_one_bucket_refuses_is_taken_out_of_none(alice, limited):
    _bulk(alice, 40)
    alice.defaults["REMOTE_ADDR"] = "192.0.2.7"
    assert_problem(_bulk(alice, 20), 429)
    fresh = Caller(alice.user)
    fresh.defaults["REMOTE_ADDR"] = "192.0.2.7"
    assert _bulk(fresh, 50).status_code == 201


def test_staff_is_exempt(staff, limited):
    answers = [_bulk(staff, 1000), staff.submit()]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert "RateLimit-Limit" not in answers[0]


def test_a_session_is_limited_by_its_address(limited, db, django_user_model):
    browser = Client()
    browser.force_login(django_user_model.objects.create_user("carol"))
    body = {"tasks": [{"actor": "add", "payload": {"a": 1}}] * 50}
    assert browser.post(BULK, body, content_type="application/json").status_code == 201
    assert browser.post(BULK, body, content_type="application/json").status_code == 429


def test_what_is_invalid_costs_nothing(alice, limited):
    bodies = [{"actor": "no_such"}, {"actor": "add"}, {"actor": "add", "payload": {"a": 1}, "queue": "nowhere"}, {}]
    for body in bodies:
        assert_problem(alice.send(TASKS, body), 400)
        assert_problem(alice.send(BULK, {"tasks": [body] * 10}), 400)
    assert _bulk(alice, 50).status_code == 201


def test_a_replay_costs_nothing(alice, limited):
    key = {"idempotency-key": "k"}
    assert _bulk(alice, 49, headers=key)["RateLimit-Remaining"] == "1"
    for _ in range(3):
        replay = _bulk(alice, 49, headers=key)
        assert (replay.status_code, replay["Idempotency-Replayed"]) == (200, "true")
        assert "RateLimit-Remaining" not in replay
    assert alice.submit().status_code == 201


def test_a_refused_submission_leaves_its_key_free(alice, limited):
    _bulk(alice, 50)
    assert_problem(_bulk(alice, 1, headers={"idempotency-key": "k"}), 429)
    limited.SUBMIT_RATE_LIMIT = None
    assert _bulk(alice, 1, headers={"idempotency-key": "k"}).status_code == 201


def test_reading_and_verbs_are_not_limited(alice, limited):
    url = alice.submit().json()["url"]
    _bulk(alice, 49)
    assert alice.get(url).status_code == 200
    assert alice.send(f"{url}/cancel").status_code == 200
    assert_problem(alice.submit(), 429)


def test_it_can_be_switched_off(alice, limited):
    limited.SUBMIT_RATE_LIMIT = None
    assert _bulk(alice, 51).status_code == 201


@pytest.mark.parametrize(
    "forwarded", ["203.0.113.1", "203.0.113.2, 203.0.113.3", "::1", "unknown", "'; FLUSHALL", "", "203.0.113.1:80"]
)
def test_a_made_up_x_forwarded_for_changes_nothing(alice, limited, forwarded):
    _bulk(alice, 50)
    other = Caller(alice.user)
    assert_problem(_bulk(other, 1, headers={"x-forwarded-for": forwarded}), 429)


def test_behind_a_trusted_proxy_each_client_has_a_bucket_and_none_can_choose_it(alice, bob, limited):
    limited.TRUSTED_PROXIES = [ip_network("127.0.0.0/8")]
    assert _bulk(alice, 50, headers={"x-forwarded-for": "203.0.113.1"}).status_code == 201
    assert_problem(_bulk(bob, 1, headers={"x-forwarded-for": "198.51.100.9, 203.0.113.1"}), 429)
    assert _bulk(bob, 1, headers={"x-forwarded-for": "203.0.113.1, 203.0.113.2"}).status_code == 201


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("remote", "forwarded", "found"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, rubbish", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("fd00::1", "2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("", "203.0.113.1", "203.0.113.1"),
        ("", "", "None"),
    ],
)
def test_the_address_that_counts(settings, remote, forwarded, found):
    settings.TRUSTED_PROXIES = PROXIES
    assert client_address(remote, forwarded) == found


@pytest.fixture
def redis_away(limited):
    limited.REDIS_URL = "redis://127.0.0.1:1/0"
    rate_limit._buckets.cache_clear()
    return limited


@pytest.mark.parametrize("limited", ["memory"], indirect=True)
def test_without_redis_tasks_are_taken_and_it_is_said(alice, redis_away, caplog):
    assert _bulk(alice, 50).status_code == 201
    assert _bulk(alice, 50).status_code == 201
    assert "submission limit cannot be checked" in caplog.text


@pytest.mark.parametrize("limited", ["memory"], indirect=True)
def test_without_redis_a_setting_refuses_them(alice, redis_away):
    redis_away.SUBMIT_RATE_FAIL_OPEN = False
    response = alice.submit()
    assert_problem(response, 429, code="rate_limited")
    assert response["Retry-After"] == "1"
    assert not Task.objects.exists()


def test_a_bucket_fills_smoothly():
    clock = SimpleNamespace(now=1000.0)
    buckets = MemoryBuckets(clock=lambda: clock.now)
    assert buckets.take(["a"], 50, RATE).is_allowed
    refused = buckets.take(["a"], 1, RATE)
    assert not refused.is_allowed
    assert refused.wait_seconds == pytest.approx(1.2)
    clock.now += 1.1
    assert not buckets.take(["a"], 1, RATE).is_allowed
    clock.now += 0.2
    assert buckets.take(["a"], 1, RATE).is_allowed
    clock.now += 3600
    assert buckets.take(["a"], 1, RATE).left == 49


class _Hesitant(MemoryBuckets):
    """Lets others have a turn between looking and taking."""

    def _level(self, *args):
        level = super()._level(*args)
        time.sleep(0.0001)
        return level


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_however_many_ask_at_once_no_more_than_the_budget_is_admitted(kind, redis_url):
    buckets = RedisBuckets(redis_url, f"test-{uuid4()}") if kind == "redis" else _Hesitant()
    # It fills by less than a unit while this test runs.
    budget, sizes = Rate(1_000, 86_400), [1, 2, 3, 5, 7] * 100
    with ThreadPoolExecutor(20) as threads:
        verdicts = list(threads.map(lambda size: buckets.take(["ip", f"token.{size}"], size, budget), sizes))
    admitted = sum(size for size, verdict in zip(sizes, verdicts, strict=True) if verdict.is_allowed)
    assert sum(sizes) == 1_800
    assert admitted == 1_000
    assert 0 <= min(verdict.left for verdict in verdicts) < 1


def test_a_bucket_in_redis_fills_smoothly_on_its_own_clock(redis_url):
    buckets, fast = RedisBuckets(redis_url, "test-refill"), Rate(1000, 1)
    key = f"{id(buckets)}"
    assert buckets.take([key], 1000, fast).is_allowed
    left = [buckets.take([key], 0, fast).left for _ in range(50)]
    assert left == sorted(left)
    assert 0 < left[-1] < 1000


def test_a_full_bucket_takes_no_room_in_redis(redis_url):
    client = redis.Redis.from_url(redis_url)
    RedisBuckets(redis_url, "test-expiry").take(["a"], 25, RATE)
    try:
        assert 29_000 < client.pttl("test-expiry:__limit__.a") <= 31_000
    finally:
        client.delete("test-expiry:__limit__.a")


def test_buckets_in_memory_do_not_pile_up(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    buckets = MemoryBuckets(clock=lambda: clock.now)
    monkeypatch.setattr(MemoryBuckets, "_MOST", 10)
    for number in range(100):
        clock.now += 2
        buckets.take([str(number)], 1, RATE)
    assert len(buckets._held) <= 11


@pytest.mark.parametrize(
    ("redis_there", "limit", "processes", "found"),
    [("redis://h", (50, 60), 4, []), ("", (50, 60), 1, []), ("", None, 4, []), ("", (50, 60), 4, ["tasks.E002"])],
)
def test_buckets_in_memory_are_for_one_process(settings, redis_there, limit, processes, found):
    settings.REDIS_URL, settings.SUBMIT_RATE_LIMIT, settings.WEB_CONCURRENCY = redis_there, limit, processes
    assert [error.id for error in check_submission_limit()] == found


def test_tokens_have_a_bucket_each_and_not_their_secret_in_redis(alice, limited, monkeypatch):
    seen: list[str] = []
    buckets = rate_limit._buckets()

    def take(keys, *rest):
        seen.extend(keys)
        return buckets.take(keys, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(rate_limit, "_buckets", lambda: SimpleNamespace(take=take))
        alice.submit()
    assert seen == ["ip.127.0.0.1", f"token.{ApiToken.objects.get().pk}"]
