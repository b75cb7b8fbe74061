"""Fixtures: servers for the session, a rig for each test, and the processes' last log lines when a test fails."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.servers import HOW_TO_GET_REDIS, RedisServer
from tests.acceptance.harness.rig import Broker, Rig
from tests.acceptance.harness.servers import Databases, start_postgres

_OUTCOME = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    folder = temporary_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def databases(servers_folder: Path) -> Iterator[Databases]:
    server = start_postgres(servers_folder)
    yield Databases(server)
    server.stop(immediate=True)


@pytest.fixture
def redis_server(servers_folder: Path) -> Iterator[RedisServer]:
    """A Redis in memory that tests may kill; skips the test without Redis."""
    if not RedisServer.is_available(servers_folder):
        pytest.skip(f"needs Redis: {HOW_TO_GET_REDIS}")
    server = RedisServer(servers_folder)
    server.start()
    yield server
    server.stop(immediate=True)


@pytest.fixture
def rig(databases: Databases, redis_server: RedisServer, tmp_path: Path, request: Any) -> Iterator[Rig]:
    """Scheduler and workers on Redis; the test starts what it needs and ends with ``rig.verify()``."""
    yield from make_rig(databases, redis_server, tmp_path, request)


@pytest.fixture
def rig_in_process(databases: Databases, tmp_path: Path, request: Any) -> Iterator[Rig]:
    """A scheduler with workers in its own process, without Redis."""
    yield from make_rig(databases, None, tmp_path, request)


def make_rig(databases: Databases, broker: Broker | None, folder: Path, request: Any) -> Iterator[Rig]:
    with databases.fresh() as url:
        rig = Rig(database_url=url, broker=broker, folder=folder)
        request.node.rig = rig
        try:
            yield rig
        finally:
            rig.clear()
        assert rig.was_verified or not request.node.stash.get(_OUTCOME, False), "the test never called rig.verify()"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[_OUTCOME] = report.passed
        rig: Rig | None = getattr(item, "rig", None)
        if report.failed and rig is not None:
            report.sections += [(f"last lines of {name}", text) for name, text in rig.tails()]
    return report
