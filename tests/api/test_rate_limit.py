"""The submission limit: a token bucket by client address and by token."""

from datetime import UTC, datetime
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
import redis
from django.test import Client

from dlq.models import DeadLetter
from tasks.contract import rate_limit
from tasks.contract.rate_limit import Rate
from tasks.models import ApiToken, Task
from tasks.states import Status
from tasks.submission import EDITABLE
from tests import factories
from tests.callers import TASKS, Caller, assert_problem
from tests.waiting import wait_until

BULK = f"{TASKS}/bulk"
RATE = Rate(50, 60)
LATER = datetime(2097, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("fresh_breakers")


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
    # In three calls: the bucket gets a new token every 1.2 seconds.
    answers = [alice.submit(), _bulk(alice, 48), alice.submit()]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert [answer["RateLimit-Remaining"] for answer in answers] == ["49", "1", "0"]
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
    problem = assert_problem(refused, 429, code="too_many_at_once")
    assert "try again" not in problem["title"]
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


def test_reading_and_cancelling_are_not_limited(alice, limited):
    url = alice.submit().json()["url"]
    _bulk(alice, 49)
    assert alice.get(url).status_code == 200
    assert alice.send(f"{url}/cancel").status_code == 200
    assert_problem(alice.submit(), 429)


def _mine(caller, status, **fields):
    return factories.make_task(status, worker=factories.make_worker(), owner_id=caller.user.pk, **fields)


def _retry(caller):
    return caller.send(f"{TASKS}/{_mine(caller, Status.CANCELLED).pk}/retry")


def _run_again_now(caller):
    return caller.send(f"{TASKS}/{_mine(caller, Status.RETRYING).pk}/retry")


def _redrive(caller):
    letter = DeadLetter.objects.get(task_id=_mine(caller, Status.DEAD).pk)
    return caller.send(f"/api/v1/dlq/{letter.pk}/redrive")


def _edit(caller, task, **change):
    return caller.patch(f"{TASKS}/{task.pk}", change, content_type="application/json")


def _change_payload(caller):
    return _edit(caller, _mine(caller, Status.PENDING), payload={"do": "return", "value": 7})


def _run_sooner(caller):
    return _edit(caller, _mine(caller, Status.PENDING, run_at=LATER), run_at="2020-01-01T00:00:00Z")


def _retry_sooner(caller):
    return _edit(caller, _mine(caller, Status.RETRYING), run_at="2020-01-01T00:00:00Z")


def _retry_more_often(caller):
    return _edit(caller, _mine(caller, Status.PENDING), max_retries=4)


def _replace(caller):
    task = caller.get(f"{TASKS}/{_mine(caller, Status.PENDING, run_at=LATER).pk}").json()
    body = {name: task[name] for name in EDITABLE} | {"payload": {"do": "succeed"}}
    return caller.put(task["url"], body, content_type="application/json")


MAKE_RUN = [
    _retry, _run_again_now, _redrive, _change_payload, _run_sooner, _retry_sooner, _retry_more_often, _replace,
]  # fmt: skip


@pytest.mark.parametrize("make_run", MAKE_RUN)
def test_what_makes_a_task_run_costs_like_a_submission(alice, limited, make_run):
    _bulk(alice, 48)
    answer = make_run(alice)
    assert (answer.status_code, answer["RateLimit-Remaining"]) == (200, "1")
    assert alice.submit().status_code == 201
    before = _rows()
    refused = make_run(alice)
    assert_problem(refused, 429, code="rate_limited")
    assert int(refused["Retry-After"]) >= 1
    changed = [row for row in _rows() if row not in before]
    assert {row["version"] for row in changed} <= {1}, "only the task of this test is new"


def _rows():
    return list(Task.objects.order_by("pk").values("pk", "status", "version", "payload", "run_at", "max_retries"))


@pytest.mark.parametrize("make_run", MAKE_RUN)
def test_staff_makes_tasks_run_without_a_limit(staff, limited, make_run):
    limited.SUBMIT_RATE_LIMIT = (1, 60)
    answers = [make_run(staff) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "RateLimit-Limit" not in answers[0]


def test_an_edit_that_makes_no_more_work_costs_nothing(alice, limited):
    _bulk(alice, 50)
    task = _mine(alice, Status.PENDING, run_at=LATER, max_retries=3)
    for change in (
        {"priority": 9}, {"tags": ["a"]}, {"queue": "other"}, {"max_retries": 2}, {"payload": task.payload},
        {"run_at": "2098-01-01T00:00:00Z"}, {"run_at": "2099-01-01T00:00:00Z"},
    ):  # fmt: skip
        answer = _edit(alice, task, **change)
        assert (answer.status_code, "RateLimit-Limit" in answer) == (200, False), change


def test_a_refused_retry_costs_nothing(alice, limited):
    task = _mine(alice, Status.SUCCEEDED)
    assert_problem(alice.send(f"{TASKS}/{task.pk}/retry"), 409)
    assert _bulk(alice, 50).status_code == 201


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


@pytest.fixture
def redis_away(limited):
    limited.REDIS_URL = "redis://127.0.0.1:1/0"
    rate_limit._buckets.cache_clear()
    return limited


@pytest.mark.parametrize("limited", ["memory"], indirect=True)
def test_without_redis_tasks_are_taken_and_it_is_said(alice, redis_away, caplog):
    assert _bulk(alice, 50).status_code == 201
    assert _bulk(alice, 50).status_code == 201
    assert "the limits cannot be checked" in caplog.text


@pytest.mark.parametrize("limited", ["memory"], indirect=True)
def test_without_redis_a_setting_refuses_them(alice, redis_away):
    redis_away.SUBMIT_RATE_FAIL_OPEN = False
    response = alice.submit()
    assert_problem(response, 503, code="limiter_unavailable")
    assert response["Retry-After"]
    assert not Task.objects.exists()


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


@pytest.mark.parametrize("limited", ["memory"], indirect=True)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_redis_that_failed_is_not_asked_by_the_next_ones(alice, limited, monkeypatch, is_open):
    limited.SUBMIT_RATE_FAIL_OPEN = is_open
    asked = []

    def silent(*arguments):
        asked.append("a submission" if len(arguments) > 1 else "a probe")
        raise redis.TimeoutError("silent")

    with monkeypatch.context() as patch:
        patch.setattr(rate_limit.MemoryBuckets, "take", silent)
        patch.setattr(rate_limit.MemoryBuckets, "ping", silent)
        assert [alice.submit().status_code for _ in range(5)] == [201 if is_open else 503] * 5
        assert asked.count("a submission") == 1
        limited.REDIS_URL = "redis://named"
        assert alice.get("/health").json()["components"]["limiter"] == "down"
    wait_until(lambda: not rate_limit.breaker.is_open, timeout=5, what="the limiter to be asked again")
    assert "RateLimit-Remaining" in alice.submit()
