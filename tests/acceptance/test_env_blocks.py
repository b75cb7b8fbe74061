"""The environment of another system, as it stands: `manage.py up` starts whole with it, on its own servers.

``tests/acceptance/test_compose.py`` does the same under compose.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler_site import probe
from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.processes import free_port
from scheduler_site.embedded.servers import RedisServer
from scheduler_site.server_url import ServerUrl
from tests.acceptance.harness.servers import Databases
from tests.acceptance.test_up import Project, Running
from tests.rabbitmq import RabbitServer, require_rabbitmq
from tests.unit.test_bundled_servers import BLOCKS
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project")
    yield project
    project.end()


def block(name: str) -> dict[str, str]:
    """Give the variables of a system; its servers' addresses are put in by the test, and free ports."""
    found = dict(line.split("=", 1) for line in BLOCKS[name].splitlines())
    return found | {"GRPC_PORT": str(free_port()), "API_HOST": "127.0.0.1"}


def works(running: Running) -> None:
    """Wait until all is well, and run a task over HTTP."""
    wait_until(
        lambda: all(word == "ok" for word in running.components().values()), timeout=60, interval=0.3,
        what=lambda: f"{running.components()}\n{running.text[-2000:]}",
    )  # fmt: skip
    id = running.call("tasks", {"actor": "echo", "payload": {"message": "hello"}})["id"]
    wait_until(lambda: running.call(f"tasks/{id}")["status"] == "SUCCEEDED", timeout=60, interval=0.2)


def test_rest_and_grpc(project: Project, databases: Databases, redis_server: RedisServer) -> None:
    redis = ServerUrl.parse(redis_server.url)
    variables = block("REST + gRPC")
    with databases.fresh() as url:
        project.environment |= variables | {
            "DATABASE_URL": url.replace("postgres://", "postgresql://"),
            "REDIS_HOST": redis.hosts[0].name,
            "REDIS_PORT": str(redis.hosts[0].port),
            "REDIS_PASSWORD": redis.password,
        }
        with project.running() as running:
            works(running)
            assert probe.is_serving(f"127.0.0.1:{variables['GRPC_PORT']}")
            (worker,) = running.call("workers")["results"]
            assert worker["threads"] == 4


def test_rabbitmq_workers(project: Project, redis_server: RedisServer) -> None:
    require_rabbitmq()
    folder = temporary_folder()
    rabbitmq = RabbitServer(folder)
    rabbitmq.start()
    try:
        project.environment |= block("RabbitMQ workers") | {
            "RABBITMQ_URL": f"{rabbitmq.url}/",
            "REDIS_URL": redis_server.url,
        }
        with project.running() as running:
            works(running)
            assert {one["host"] for one in running.call("workers")["results"]} == {"worker-1"}
            assert "callboard.default.medium" in rabbitmq.control("list_queues", "name")
    finally:
        rabbitmq.stop(immediate=True)
