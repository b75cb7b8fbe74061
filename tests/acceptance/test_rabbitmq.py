"""F15: RabbitMQ is killed, forgets everything, is frozen, short of memory, or closes connections."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from tests.acceptance.conftest import make_rig
from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.rabbitmq import RabbitServer, require_rabbitmq

FAULT = "F15"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def rabbit_folder() -> Iterator[Path]:
    require_rabbitmq()
    folder = temporary_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rig(databases: Databases, rabbit_folder: Path, tmp_path: Path, request: Any) -> Iterator[Rig]:
    server = RabbitServer(rabbit_folder)
    server.start()
    try:
        yield from make_rig(databases, server, tmp_path, request)
    finally:
        server.stop(immediate=True)
        server.forget()


def start(rig: Rig) -> Process:
    scheduler = rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.await_workers()
    return scheduler


def test_rabbitmq_is_killed_and_comes_back_empty(rig: Rig) -> None:
    start(rig)
    rig.client.submit("last", count=40, seconds=0.05)
    rig.await_effects(5)
    rig.redis.stop(immediate=True)
    rig.redis.forget()
    rig.redis.start()
    rig.client.submit("last", count=10, seconds=0.05)
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}
