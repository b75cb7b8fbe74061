"""A pytest plugin that starts a private PostgreSQL and a private Redis for the tests, as `up` does.

TEST_DATABASE_URL and TEST_REDIS_URL name servers to use instead; tests may wipe everything in them.
"""

import atexit
import contextlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.servers import FAST_AND_LOOSE, HOW_TO_GET_REDIS, PostgresServer, RedisServer

_header: list[str] = []
_folders: list[Path] = []


def _database_url() -> str:
    if given := os.environ.get("TEST_DATABASE_URL"):
        _header.append("PostgreSQL from TEST_DATABASE_URL")
        return given
    server = PostgresServer(_folder(), settings={**FAST_AND_LOOSE, "max_connections": "300"})
    url = server.start()
    atexit.register(server.stop, immediate=True)
    # The tests' own database comes on top of what the application needs.
    with contextlib.closing(psycopg2.connect(server.superuser_url)) as session, session, session.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {server.role} CREATEDB")
    _header.append(f"PostgreSQL {server.version}")
    return url


def _redis_url() -> str:
    if (given := os.environ.get("TEST_REDIS_URL")) and "PYTEST_XDIST_WORKER" not in os.environ:
        _header.append("Redis from TEST_REDIS_URL")
        return given
    if not RedisServer.is_available(_folder()):
        _header.append(f"no Redis, tests that need it are skipped ({HOW_TO_GET_REDIS})")
        return ""
    server = RedisServer(_folder())
    url = server.start()
    atexit.register(server.stop, immediate=True)
    _header.append(f"Redis {server.version}")
    return url


def _folder() -> Path:
    if not _folders:
        _folders.append(temporary_folder())
        # Registered before the servers' stops, so it runs after them.
        atexit.register(shutil.rmtree, _folders[0], ignore_errors=True)
    return _folders[0]


def _prepare() -> None:
    """Start the servers and set the environment, which the settings and child processes read."""
    database_url, redis_url = _database_url(), _redis_url()
    os.environ.update(
        # Workers of a parallel run inherit these. They share PostgreSQL, with a database each. Each has its own Redis,
        # because tests wipe and freeze it.
        TEST_DATABASE_URL=database_url,
        DATABASE_URL=database_url,
        DIRECT_DATABASE_URL=database_url,
        BROKER_URL=redis_url or "inprocess://",
        REDIS_URL=redis_url,
        SECRET_KEY="only-for-tests-of-this-repository",
        DEBUG="false",
        HTTPS="false",
        BUILTIN_ACTORS="true",
        METRICS_DIR=str(_folder() / "metrics"),
        # Tests must not depend on a developer's own settings.
        ENV_FILE=os.devnull,
    )
    if redis_url:
        os.environ["TEST_REDIS_URL"] = redis_url


# At import, because pytest-django reads the settings before any hook of this plugin runs.
try:
    _prepare()
except LaunchError as error:
    raise pytest.UsageError(f"tests need PostgreSQL: {error}") from error


def pytest_report_header() -> str:
    """Name the servers that the tests run on."""
    return f"callboard: {', '.join(_header)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Escape lone surrogates in what a test printed, because they would end a worker of a parallel run."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def redis_url() -> str:
    """Return the URL of a Redis that tests may wipe; skip the test if there is none."""
    url = os.environ["REDIS_URL"]
    if not url:
        pytest.skip(f"needs Redis: {HOW_TO_GET_REDIS}")
    return url
