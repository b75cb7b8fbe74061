"""Middleware of a team's old settings: what rows do already is left out or refused, never done twice."""

import logging
from typing import Any

import dramatiq
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from dramatiq import broker as stock_broker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    GroupCallbacks,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from dramatiq.rate_limits.backends import StubBackend

from tasks.broker.brokers import InProcessBroker
from tasks.broker.groups import TaskGroups
from tasks.errors import NotSupported
from tasks.models import Attempt, Task
from tasks.worker import middleware as ours
from tests.engines import middleware

STOCK = [AgeLimit, Callbacks, Pipelines, Retries, ShutdownNotifications, TimeLimit]


class TeamsRetries(Retries):
    """A kind of the team's own."""


@pytest.mark.parametrize("kind", STOCK)
def test_stock_middleware_is_left_out_with_a_word(inprocess_broker, caplog, kind: Any) -> None:
    before = list(inprocess_broker.middleware)
    with caplog.at_level(logging.WARNING):
        inprocess_broker.add_middleware(kind())
    assert inprocess_broker.middleware == before
    assert kind.__name__ in caplog.text


@pytest.mark.parametrize(
    "one",
    [Retries(max_retries=5), TimeLimit(time_limit=1), AgeLimit(max_age=1), ShutdownNotifications(True), TeamsRetries()],
)
def test_stock_middleware_that_would_mean_something_else_is_refused(inprocess_broker, one: Any) -> None:
    with pytest.raises(NotSupported, match=type(one).__name__):
        inprocess_broker.add_middleware(one)


def test_stock_retries_beside_ours_run_nothing_twice(scheduled, declare, run) -> None:
    scheduled.broker.add_middleware(Retries())

    def fails() -> None:
        raise RuntimeError

    run(declare(fails, max_retries=2, min_backoff=1, max_backoff=1).send())
    assert (Task.objects.count(), Attempt.objects.count()) == (1, 3)


@pytest.mark.parametrize("kind", STOCK)
def test_a_middleware_can_be_placed_by_the_stock_ones(kind: Any) -> None:
    broker, mine = InProcessBroker(middleware=middleware()), dramatiq.Middleware()
    broker.add_middleware(mine, before=kind)
    following = broker.middleware[broker.middleware.index(mine) + 1]
    assert type(following) is (ours.Retries if kind is Retries else ours.Compatibility)


def test_stock_group_callbacks_give_way_to_rows(inprocess_broker) -> None:
    inprocess_broker.add_middleware(GroupCallbacks(StubBackend()))
    (only,) = [one for one in inprocess_broker.middleware if isinstance(one, GroupCallbacks)]
    assert isinstance(only, TaskGroups)


# --- Checks ---


def found(id: str) -> list[Any]:
    return [message for message in run_checks() if message.id == id]


@pytest.mark.parametrize("name", [f"dramatiq.middleware.{kind.__name__}" for kind in STOCK])
def test_a_check_refuses_stock_middleware_by_name(settings, name: str) -> None:
    assert not found("callboard.E004")
    listed = [*settings.DRAMATIQ_BROKER["MIDDLEWARE"], name]
    settings.DRAMATIQ_BROKER = {**settings.DRAMATIQ_BROKER, "MIDDLEWARE": listed}
    (error,) = found("callboard.E004")
    assert name in error.msg


def test_a_check_refuses_an_encoder_that_would_be_ignored(settings) -> None:
    settings.DRAMATIQ_ENCODER = "dramatiq.encoder.JSONEncoder"
    assert not found("callboard.E005")
    settings.DRAMATIQ_ENCODER = "dramatiq.encoder.PickleEncoder"
    (error,) = found("callboard.E005")
    assert "PickleEncoder" in error.msg


def test_a_check_tells_that_results_are_kept_twice(settings) -> None:
    assert not found("callboard.I001")
    settings.DRAMATIQ_RESULT_BACKEND = {"BACKEND": "dramatiq.results.backends.StubBackend"}
    assert found("callboard.I001")


def test_a_check_names_annotations_that_check_nothing(inprocess_broker) -> None:
    def work(a: "Nowhere", b: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert not found("callboard.W002")
    dramatiq.actor(broker=inprocess_broker)(work)
    (warning,) = found("callboard.W002")
    assert "'a'" in warning.msg
    assert "'work'" in warning.msg
    assert "Nowhere" in warning.msg


def test_actors_that_were_declared_before_our_broker_are_an_error_at_the_start(monkeypatch) -> None:
    early = StubBroker()
    monkeypatch.setattr(stock_broker, "global_broker", early)
    InProcessBroker(middleware=middleware())
    dramatiq.actor(actor_name="too_early", broker=early)(lambda: None)
    with pytest.raises(ImproperlyConfigured, match="too_early"):
        InProcessBroker(middleware=middleware())
