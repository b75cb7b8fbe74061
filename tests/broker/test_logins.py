"""A server that refuses the login is told from one that is away."""

import os
from types import SimpleNamespace

import dramatiq
import pytest
from django.core.management.base import CommandError

from scheduler_site import waiting
from scheduler_site.embedded.processes import free_port
from scheduler_site.server_url import ServerUrl
from tasks.broker import logins
from tasks.checks import check_logins
from tasks.contract import rate_limit, readiness
from tasks.errors import BrokerUnavailable


class ProbableAuthenticationError(Exception):
    """As pika names it."""


@pytest.fixture
def redis_address():
    if not os.environ.get("TEST_REDIS_URL"):
        pytest.skip("needs Redis")
    return ServerUrl.parse(os.environ["TEST_REDIS_URL"])


@pytest.fixture
def wrong(redis_address, settings, monkeypatch):
    """Give the limits a login that their Redis refuses."""
    host = redis_address.hosts[0]
    settings.REDIS_URL = f"redis://:not-the-password-of-it@{host.name}:{host.port}/0"
    rate_limit._buckets.cache_clear()
    yield settings.REDIS_URL
    rate_limit._buckets.cache_clear()


def test_a_refused_login_is_named_and_the_password_is_not(wrong) -> None:
    (name, words), *more = logins.refused().items()
    assert (name, more) == ("REDIS_URL", [])
    assert "invalid username-password pair" in words
    assert "not-the-password-of-it" not in words


def test_a_redis_without_the_password_is_refused_as_well(wrong, settings, redis_address) -> None:
    """As REDIS_URL=redis://redis:6379 of another stack, beside a Redis that wants one."""
    settings.REDIS_URL = f"redis://{redis_address.hosts[0].name}:{redis_address.hosts[0].port}"
    assert list(logins.refused()) == ["REDIS_URL"]


def test_a_server_that_is_away_refuses_nothing(settings) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}"
    assert list(logins.failures()) == ["REDIS_URL"]
    assert logins.refused() == {}


def test_the_broker_of_a_wrong_login_is_named(monkeypatch) -> None:
    def ping() -> None:
        raise BrokerUnavailable("ACCESS_REFUSED") from ProbableAuthenticationError("403")

    monkeypatch.setattr(dramatiq.get_broker(), "source", SimpleNamespace(ping=ping))
    assert logins.refused() == {"BROKER_URL": "ACCESS_REFUSED"}


def test_a_process_does_not_start_with_a_refused_login(wrong, monkeypatch) -> None:
    monkeypatch.setattr(waiting, "_missing_migrations", list)
    with pytest.raises(CommandError, match="REDIS_URL: the server refuses the login"):
        waiting.wait_until_ready(0.1)


def test_a_check_names_it(wrong) -> None:
    (error,) = check_logins(databases=["default"])
    assert (error.id, error.msg[:44]) == ("callboard.E022", "REDIS_URL: the server refuses the login: inv")
    assert check_logins(databases=None) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_breakers")
def test_health_is_an_error_and_readiness_is_not(wrong, client) -> None:
    """Nothing has to be taken from the balancer, but somebody has to look."""
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["components"]["limiter"]) == (200, readiness.REFUSED)
    health = client.get("/health")
    assert (health.status_code, health.json()["components"]["limiter"]) == (503, readiness.REFUSED)
