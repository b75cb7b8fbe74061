"""Calls of a guarded block: those that have no chance are not made, and connecting takes no longer than is left."""

import time
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from tasks.circuit_breaker import CircuitBreaker
from tasks.db import call_timeout
from tests.waiting import wait_until


class Breaker(CircuitBreaker):
    """A circuit that the test opens."""

    is_open = False

    def __init__(self) -> None:
        super().__init__("guarded database", lambda: None)
        self.suspected = 0

    def suspect(self) -> None:
        self.suspected += 1


@pytest.fixture
def breaker() -> Breaker:
    return Breaker()


def ask(seconds: float = 0) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def ask_in_transaction() -> None:
    with transaction.atomic():
        ask()


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize("call", [ask, ask_in_transaction])
def test_nothing_is_asked_while_the_circuit_is_open(transactional_db, breaker, call, is_connected) -> None:
    ask() if is_connected else connection.close()
    breaker.is_open = True
    with (
        pytest.raises(call_timeout.CircuitOpen, match="database does not answer"),
        call_timeout.bounded(9, breaker=breaker),
    ):
        call()
    breaker.is_open = False
    with call_timeout.bounded(9, breaker=breaker):
        call()


def test_what_is_not_guarded_is_asked_all_the_same(transactional_db, breaker) -> None:
    breaker.is_open = True
    ask()
    with call_timeout.bounded(9):
        ask()


def test_a_block_without_time_left_asks_no_more(transactional_db, breaker) -> None:
    with call_timeout.bounded(0.4, breaker=breaker):
        ask()
        time.sleep(0.41)
        with pytest.raises(call_timeout.TimeOver):
            ask()
    ask()


def test_a_transaction_that_ends_late_is_committed_and_its_session_good(transactional_db, breaker) -> None:
    with call_timeout.bounded(0.4, breaker=breaker), transaction.atomic():
        ask()
        time.sleep(0.41)
    ask()


def test_a_session_is_not_checked_while_the_circuit_is_open(transactional_db, breaker, monkeypatch) -> None:
    ask()
    monkeypatch.setattr(DatabaseWrapper, "is_usable", lambda _: pytest.fail("the server was asked"))
    breaker.is_open = True
    with call_timeout.bounded(9, breaker=breaker):
        assert not connection.is_usable()


def test_a_block_that_takes_long_makes_its_breaker_look(transactional_db, breaker, monkeypatch) -> None:
    monkeypatch.setattr(call_timeout, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(call_timeout, "SUSPECT_SECONDS", 0.05)
    with call_timeout.bounded(9, breaker=breaker):
        wait_until(lambda: breaker.suspected, timeout=5, what="a look")


@pytest.mark.parametrize(("given", "left", "expected"), [(5, 9, 5), (5, 2.5, 3), (5, 0.01, 1), (0, 2, 2), (None, 2, 2)])
def test_connecting_takes_no_longer_than_is_left(transactional_db, monkeypatch, given, left, expected) -> None:
    seen: list[Any] = []
    wrapper = connections["default"]
    parameters = {"dbname": "x"} | ({} if given is None else {"connect_timeout": given})
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseWrapper, "get_new_connection", lambda _, parameters: seen.append(parameters))
        with call_timeout.bounded(left):
            wrapper.get_new_connection(parameters)
        wrapper.get_new_connection(parameters)
    assert seen == [{"dbname": "x", "connect_timeout": expected}, parameters]


def test_the_errors_are_those_of_a_lost_connection() -> None:
    assert issubclass(call_timeout.TimeOver, OperationalError)
    assert issubclass(call_timeout.CircuitOpen, OperationalError)
