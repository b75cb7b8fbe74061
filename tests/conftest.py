"""Fixtures for all tests.

Tests of one connection take ``db``; those with threads take ``transactional_db``. Wake-ups are off: they would open
connections of their own in the background.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import SimpleTestCase

import tests.actors
from tasks import log_writer
from tasks.broker import notifier
from tasks.lifecycle import Moved, transitioned
from tasks.models import Worker
from tests import factories
from tests.factories import Lead

# Tests start servers while their own gRPC clients run. In the child of such a fork gRPC's handlers look after its
# threads, and now and then keep it from becoming the server.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

#: The fixtures of pytest-django that let a test use the database.
DATABASE = {"db", "transactional_db"}

#: No wake-ups; callers of the API and users of the admin; a whole engine inside the test's process; a RabbitMQ.
pytest_plugins = ["tasks.testing.pytest", "tests.callers", "tests.engines", "tests.rabbitmq"]


@pytest.fixture
def wakeups() -> Iterator[None]:
    """Let lifecycle's signals reach the notifier."""
    notifier.connect()
    yield
    notifier.disconnect()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """End what threads of the last tests may still have open, or the database could not be dropped."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(autouse=True)
def _fresh_notes() -> None:
    tests.actors.noted.clear()


@pytest.fixture(autouse=True)
def _no_session_of_others(request: pytest.FixtureRequest) -> None:
    """Close the session that an earlier test has left open: a test without a database may not even ask about it."""
    is_djangos = request.cls is not None and issubclass(request.cls, SimpleTestCase)
    is_marked = request.node.get_closest_marker("django_db") is not None
    if not (is_djangos or is_marked or DATABASE & set(request.fixturenames)):
        connection.close()


@pytest.fixture(autouse=True)
def _no_limits(settings: Any) -> None:
    settings.SUBMIT_RATE_LIMIT = settings.REFUSED_RATE_LIMIT = None


@pytest.fixture
def direct_database(transactional_db: None) -> str:
    """Return the URL of the tests' database, for sessions outside of Django."""
    parts = urlsplit(settings.DATABASE_URL)
    return urlunsplit(parts._replace(path=f"/{connection.settings_dict['NAME']}"))


@pytest.fixture
def worker(db: None) -> Worker:
    """Register a worker with 4 threads for every queue of the tests."""
    return factories.make_worker()


@pytest.fixture
def lead(db: None) -> Lead:
    """Begin a term; its name and number are what a leader's verbs are called with."""
    return factories.make_lead()


class Announced(NamedTuple):
    """One signal of lifecycle."""

    verb: str
    moves: list[Moved]


@pytest.fixture
def announcements(django_capture_on_commit_callbacks: Any) -> Callable[[], Any]:
    """Collect what lifecycle announces: ``with announcements() as heard: …``; it is complete after the block."""

    @contextmanager
    def listening() -> Iterator[list[Announced]]:
        heard: list[Announced] = []

        def hear(*, verb: str, moves: Any, **_: Any) -> None:
            heard.append(Announced(verb, list(moves)))

        transitioned.connect(hear)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                yield heard
        finally:
            transitioned.disconnect(hear)

    return listening


@pytest.fixture(autouse=True)
def _logs_at_once() -> Iterator[None]:
    """Take the log writer away that a worker in the test's process has started."""
    yield
    log_writer.stop()
