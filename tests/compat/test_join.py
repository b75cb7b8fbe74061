"""``broker.join()`` and django-dramatiq's ``DramatiqTestCase``: tests that teams already have."""

import time
import unittest
from typing import Any

import dramatiq
import pytest
from django.db import connection
from django_dramatiq.test import DramatiqTestCase as Stock
from dramatiq.errors import QueueJoinTimeout, QueueNotFound
from dramatiq.results import ResultFailure

from tasks.broker import join as join_module
from tasks.broker.notifier import notifier
from tasks.errors import NotSupported
from tasks.models import Task
from tasks.testing import DramatiqTestCase, drain
from tests.actors import act, add, elsewhere


@pytest.mark.slow
def test_join_waits_until_the_tasks_of_a_queue_have_ended(engine) -> None:
    sent = [act.send("sleep", 0.05) for _ in range(3)]
    act.send_with_options(args=("return",), delay=300)
    engine.broker.join("default")
    assert set(Task.objects.values_list("status", flat=True)) == {"SUCCEEDED"}
    assert len(sent) + 1 == Task.objects.count()


@pytest.mark.slow
def test_join_raises_what_a_task_died_of(engine) -> None:
    act.send_with_options(args=("raise", "broken"), max_retries=0)
    with pytest.raises(ResultFailure, match="broken") as caught:
        engine.broker.join("default", interval=10)
    assert caught.value.orig_exc_type == "RuntimeError"
    engine.broker.join("default", fail_fast=False)
    dramatiq.get_broker().join("other")


@pytest.mark.slow
def test_join_gives_up_at_its_time_out(engine) -> None:
    act.send_with_options(args=("return",), delay=60_000)
    with pytest.raises(QueueJoinTimeout):
        engine.broker.join("default", timeout=200)


def test_join_of_an_undeclared_queue_is_refused() -> None:
    with pytest.raises(QueueNotFound):
        dramatiq.get_broker().join("no such queue")


@pytest.mark.django_db
def test_join_returns_at_once_if_nothing_waits() -> None:
    add.send(1)
    elsewhere.send(1)
    drain("default")
    dramatiq.get_broker().join("default")
    assert connection.in_atomic_block


@pytest.mark.django_db
def test_join_inside_a_transaction_names_drain() -> None:
    add.send(1)
    with pytest.raises(NotSupported, match=r"sees into this transaction.*tasks\.testing\.drain\(\)"):
        dramatiq.get_broker().join("default")


@pytest.mark.django_db(transaction=True)
def test_join_without_a_worker_names_what_is_missing_and_drain(monkeypatch) -> None:
    monkeypatch.setattr(join_module, "PATIENCE_SECONDS", 0.15)
    add.send(1)
    broker: Any = dramatiq.get_broker()
    began = time.monotonic()
    with pytest.raises(NotSupported, match=r"no scheduler is running; no live worker.*tasks\.testing\.drain\(\)"):
        broker.join("default", interval=10)
    assert time.monotonic() - began >= 0.15


def errors_of(case: type[unittest.TestCase]) -> list[Any]:
    """Run a test of a team's as unittest does; return what it raised."""

    class TeamsTest(case):  # type: ignore[misc, valid-type]
        def test_a_task_runs(self) -> None:
            sent = [add.send(1, 2), add.send_with_options(args=(3, 4), delay=100)]
            self.broker.join("default")
            self.worker.join()
            assert [one.get_result() for one in sent] == [3, 7]

    result = unittest.TestResult()
    TeamsTest("test_a_task_runs").run(result)
    return result.errors + result.failures


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_stock_test_case_is_told_what_to_do(idle_engine, monkeypatch) -> None:
    monkeypatch.setattr(join_module, "PATIENCE_SECONDS", 0.15)
    ((_, traceback),) = errors_of(Stock)
    assert "no scheduler is running" in traceback
    assert "DramatiqTestCase of tasks.testing" in traceback


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_same_test_case_from_our_package_runs(idle_engine) -> None:
    for _ in range(2):
        assert errors_of(DramatiqTestCase) == []
    assert notifier.local is None
