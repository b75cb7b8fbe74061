"""Call time-outs: the connection to a database that went silent is closed."""

import threading

import pytest
from django.db import OperationalError, connection

from tasks.db import call_timeout


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(call_timeout, "LOOK_SECONDS", 0.02)


def ask(seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


def test_a_call_that_takes_too_long_fails_like_a_lost_connection(transactional_db) -> None:
    ask(0)
    with pytest.raises(OperationalError), call_timeout.bounded(0.1):
        ask(30)
    connection.close()
    ask(0)


def test_a_call_in_time_is_left_alone_and_the_next_one_has_no_time_out(transactional_db) -> None:
    with call_timeout.bounded(0.3):
        ask(0.05)
    ask(1)


def test_each_connection_of_a_block_has_the_whole_time(transactional_db) -> None:
    with call_timeout.bounded(0.5):
        for _ in range(2):
            with pytest.raises(OperationalError):
                ask(30)
            connection.close()
        ask(0)


def test_a_thread_without_a_connection_is_left_alone(transactional_db) -> None:
    connection.close()
    with call_timeout.bounded(0.01):
        # Nothing is awaited but the time to pass.
        threading.Event().wait(0.2)
    ask(0)


def test_after_an_inner_block_the_outer_one_counts_again(transactional_db) -> None:
    with call_timeout.bounded(0.1):
        with call_timeout.bounded(5):
            ask(0.3)
        with pytest.raises(OperationalError):
            ask(30)
    connection.close()
