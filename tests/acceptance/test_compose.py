"""docker-compose.yml without Docker: every service's command as a local process, in the file's order and settings.

A container's file system becomes a folder with the volumes linked in, its address becomes a port of 127.0.0.1, and
PostgreSQL's image becomes a private server with the generated password. The rest runs as it is written there: what the
Dockerfile copies, the commands, the variables, the health checks, the order, the replicas.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg2
import pytest
import redis

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.private import read_pairs
from scheduler_site.embedded.processes import free_port, kill_session, spawn
from scheduler_site.embedded.programs import find_redis
from scheduler_site.embedded.servers import HOW_TO_GET_REDIS, PostgresServer
from tests import containers
from tests.acceptance.harness.servers import execute, start_postgres
from tests.rabbitmq import RabbitServer, require_rabbitmq
from tests.unit.test_bundled_servers import BLOCKS
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: Of the metrics, in every container.
METRICS_PORT = "9100"


class ImageServer(PostgresServer):
    """A server as PostgreSQL's image makes it: a superuser and nothing else of Callboard's."""

    name = role = "postgres"


class Container:
    """One replica of a service."""

    def __init__(self, stack: "Stack", name: str, service: dict[str, Any]) -> None:
        self.name, self.service = name, service
        self._stack = stack
        self.metrics_port = str(free_port())
        self.root = stack.folder / "containers" / name
        self.log = self.root / "log"
        (self.root / "tmp").mkdir(parents=True)
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            link = self.root / target.lstrip("/")
            link.parent.mkdir(parents=True, exist_ok=True)
            (stack.folder / "volumes" / source).mkdir(parents=True, exist_ok=True)
            link.symlink_to(stack.folder / "volumes" / source)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        """Run the service's command; ``more`` comes after it."""
        command = [*self.translated(self.service["command"]), *more]
        with self.log.open("ab") as output:
            self.process = spawn(command, env=self.environment(), output=output, cwd=self._stack.image)

    def environment(self) -> dict[str, str]:
        """Return the variables of the image, of .env and of the service, and of this environment only the PATH."""
        dotenv = self._stack.dotenv if self.service.get("env_file") else {}
        variables = {**containers.image_environment(), **dotenv, **self.service.get("environment", {})}
        words = self.translated([str(value) for value in variables.values()])
        return {**dict(zip(variables, words, strict=True)), "PATH": os.environ["PATH"]}

    def translated(self, words: list[str]) -> list[str]:
        """Translate words of the file to this machine."""
        return [word for one in words for word in self._translate(one)]

    def is_healthy(self) -> bool:
        """Run the service's health check."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} has ended:\n{self.tail()}"
        kind, *test = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        command = self.translated(test)
        answer = subprocess.run(command, env=self.environment(), cwd=self._stack.image, capture_output=True, timeout=10)
        return answer.returncode == 0

    def stop(self) -> int:
        """Stop as ``docker stop`` does: ask, wait for the grace period, and return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(containers.seconds(self.service.get("stop_grace_period", "10s")))

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def _translate(self, word: str) -> list[str]:
        programs = {
            "python": [sys.executable],
            "gunicorn": [sys.executable, "-m", "gunicorn"],
            "redis-server": [str(self._stack.redis_program)],
        }
        if word in programs:
            return programs[word]
        if word.startswith("/"):
            return [str(self.root / word.lstrip("/"))]
        if word == METRICS_PORT:
            return [self.metrics_port]
        word = word.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - what it is replaced by is the point
        word = re.sub(r":8000\b", f":{self._stack.api_port}", word)
        word = re.sub(r"\b50051\b", str(self._stack.grpc_port), word)
        return [re.sub(rf":{METRICS_PORT}\b", f":{self.metrics_port}", word)]


class Stack:
    """The whole file.

    Parameters:
        dotenv: what stands in .env.
    """

    def __init__(self, folder: Path, *, dotenv: Mapping[str, str] | None = None) -> None:
        self.folder, self.dotenv = folder, dict(dotenv or {})
        self.image = folder / "image"
        containers.make_image(self.image)
        profiles = set(self.dotenv.get("COMPOSE_PROFILES", "").split(","))
        self.services = {
            name: one
            for name, one in containers.interpolated(containers.compose()["services"], self.dotenv).items()
            if not set(one.get("profiles", [])) - profiles
        }
        self.api_port, self.grpc_port, self.redis_port = free_port(), free_port(), free_port()
        program = find_redis(store=folder, account=None)
        assert program is not None
        self.redis_program = program.path
        self.postgres: PostgresServer | None = None
        self.rabbitmq: RabbitServer | None = None
        self.running: dict[str, Container] = {}

    def up(self) -> None:
        """Start one service after the other, each when its ``depends_on`` conditions hold."""
        for name in containers.in_order(self.services):
            for other, how in self.services[name].get("depends_on", {}).items():
                self._await(other, how["condition"])
            self._start(name, self.services[name])

    def replicas(self, service: str) -> list[Container]:
        return [one for name, one in self.running.items() if name.rpartition("-")[0] == service]

    def stop(self) -> dict[str, int]:
        """Stop everything in the opposite order and return the exit codes."""
        return {name: one.stop() for name, one in reversed(self.running.items()) if one.process is not None}

    def clear(self) -> None:
        for one in self.running.values():
            if one.process is not None:
                kill_session(one.process.pid)
                one.process.wait()
        for server in (self.postgres, self.rabbitmq):
            if server is not None:
                server.stop(immediate=True)

    def _start(self, name: str, service: dict[str, Any]) -> None:
        for number in range(service.get("deploy", {}).get("replicas", 1)):
            container = self.running[f"{name}-{number + 1}"] = Container(self, f"{name}-{number + 1}", service)
            if name == "postgres":
                self._start_postgres(container)
            elif name == "rabbitmq":
                self._start_rabbitmq(container)
            elif name == "redis":
                container.start("--bind", "127.0.0.1", "--port", str(self.redis_port), "--dir", str(container.root))
            else:
                container.start()

    def _start_postgres(self, container: Container) -> None:
        """Set up as the image does: a superuser with the password of a file, who runs the script for a new folder."""
        environment = container.environment()
        assert environment["POSTGRES_USER"] == ImageServer.name
        server = self.postgres = start_postgres(self.folder, kind=ImageServer)
        secret = Path(environment["POSTGRES_PASSWORD_FILE"]).read_text().strip()
        execute(server.superuser_url, f"ALTER ROLE {ImageServer.name} PASSWORD '{secret}'")
        (self.folder / "password").write_text(secret)
        for statement in containers.role_sql((container.root / "secrets/postgres/password").read_text().strip()):
            execute(server.superuser_url, statement)
        # The addresses that the names `postgres` and `redis` stand for in the network.
        self._place("postgres:5432", f"127.0.0.1:{server.port}")
        self._place("redis:6379", f"127.0.0.1:{self.redis_port}")

    def _start_rabbitmq(self, container: Container) -> None:
        """Start a node with the files that the image would find."""
        lines = [
            line
            for file in sorted((container.root / "etc/rabbitmq/conf.d").glob("*.conf"))
            for line in file.read_text().splitlines()
        ]
        self.rabbitmq = RabbitServer(self.folder, settings=lines)
        self.rabbitmq.start()
        self._place("rabbitmq:5672", f"127.0.0.1:{self.rabbitmq.port}")

    def _place(self, name: str, address: str) -> None:
        """Put an address for a name of the network; all of the file's addresses have a login before it."""
        file = self.folder / "volumes" / "app-secrets" / "callboard.env"
        file.write_text(file.read_text().replace(f"@{name}", f"@{address}"))

    def _await(self, name: str, condition: str) -> None:
        for container in self.replicas(name):
            if condition == "service_completed_successfully":
                assert container.process is not None
                assert container.process.wait(60) == 0, container.tail()
        assert condition != "service_healthy" or name == "postgres"

    # --- As an operator and as a caller --------------------------------------------------------------------------

    @property
    def credentials(self) -> dict[str, str]:
        return read_pairs(self.folder / "volumes" / "credentials" / "credentials")

    @property
    def secrets(self) -> dict[str, str]:
        return read_pairs(self.folder / "volumes" / "app-secrets" / "callboard.env")

    def call(self, path: str, body: Any = None) -> Any:
        request = Request(
            f"http://127.0.0.1:{self.api_port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.credentials['API_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(psycopg2.connect(self.secrets["DATABASE_URL"])) as connection, connection.cursor() as c:
            c.execute(statement)
            return c.fetchall()


@contextlib.contextmanager
def running(dotenv: Mapping[str, str] | None = None, *, scale: Mapping[str, int] | None = None) -> Iterator[Stack]:
    """Run the whole file; ``scale`` has other numbers of replicas, as ``docker compose up --scale`` does."""
    folder = temporary_folder()
    if find_redis(store=folder, account=None) is None:
        pytest.skip(f"needs Redis: {HOW_TO_GET_REDIS}")
    stack = Stack(folder, dotenv=dotenv)
    for name, number in (scale or {}).items():
        stack.services[name]["deploy"]["replicas"] = number
    try:
        stack.up()
        yield stack
    finally:
        stack.clear()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running() as stack:
        await_health(stack)
        yield stack


def await_health(stack: Stack) -> None:
    for name, service in stack.services.items():
        if "healthcheck" in service and name not in {"postgres", "redis"}:
            for container in stack.replicas(name):
                wait_until(container.is_healthy, timeout=60, interval=0.2, what=container.tail)


def test_everything_becomes_healthy(stack: Stack) -> None:
    assert stack.call("/health")["components"] == {
        "database": "ok", "migrations": "ok", "broker": "ok", "limiter": "ok", "workers": "ok", "scheduler": "ok",
    }  # fmt: skip
    with urlopen(f"http://127.0.0.1:{stack.api_port}/admin/login/", timeout=10) as page:
        assert b"csrfmiddlewaretoken" in page.read()


def await_workers(stack: Stack) -> None:
    wait_until(lambda: stack.rows("SELECT count(*) FROM callboard_worker WHERE status = 'ALIVE'") == [(6,)], timeout=30)


def test_metrics_need_a_token_where_the_api_is_reachable_and_none_inside_the_network(stack: Stack) -> None:
    await_workers(stack)
    with pytest.raises(HTTPError) as refused:
        urlopen(f"http://127.0.0.1:{stack.api_port}/metrics", timeout=10)
    with refused.value as answer:
        assert answer.code == 401
    for name in ("api", "scheduler", "worker_high"):
        for container in stack.replicas(name):
            with urlopen(f"http://127.0.0.1:{container.metrics_port}/metrics", timeout=10) as answer:
                page = answer.read().decode()
            assert "callboard_build_info" in page
            assert ("active_workers 6.0" in page) == (name == "api")


def test_each_band_has_its_own_two_workers(stack: Stack) -> None:
    await_workers(stack)
    bands = stack.rows("SELECT queues FROM callboard_worker WHERE status = 'ALIVE'")
    assert sorted(names for (names,) in bands) == sorted(2 * [["default.high"], ["default.medium"], ["default.low"]])


def test_a_task_of_each_band_runs_on_a_worker_of_that_band(stack: Stack) -> None:
    tasks = [{"actor": "echo", "payload": {"message": p}, "priority": p} for p in ("high", "medium", "low")]
    ids = [one["id"] for one in stack.call("/api/v1/tasks/bulk", {"tasks": tasks})["tasks"]]
    wait_until(
        lambda: all(stack.call(f"/api/v1/tasks/{id}")["status"] == "SUCCEEDED" for id in ids), timeout=30, interval=0.1
    )
    ran = stack.rows(
        "SELECT task.payload ->> 'message', worker.queues FROM callboard_task AS task"
        " JOIN callboard_attempt AS attempt ON attempt.task_id = task.id"
        " JOIN callboard_worker AS worker ON worker.id = attempt.worker_id"
    )
    assert sorted(ran) == [("high", ["default.high"]), ("low", ["default.low"]), ("medium", ["default.medium"])]


def test_one_scheduler_leads_and_the_other_takes_over(stack: Stack) -> None:
    ((first,),) = stack.rows("SELECT holder FROM callboard_lease")
    leader = next(one for one in stack.replicas("scheduler") if "leading" in one.tail() or "leads" in one.tail())
    assert leader.stop() == 0
    leader.process = None
    wait_until(
        lambda: stack.rows("SELECT holder FROM callboard_lease WHERE expires_at > now()") not in ([], [(first,)])
    )


def test_callboard_owns_its_database_and_nothing_else(stack: Stack) -> None:
    rights = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    assert stack.rows(f"SELECT current_user, {rights} FROM pg_roles WHERE rolname = current_user") == [
        ("callboard", False)
    ]
    assert stack.rows("SELECT datname FROM pg_database WHERE datdba = current_user::regrole") == [("callboard",)]


def test_redis_runs_as_written(stack: Stack) -> None:
    with contextlib.closing(redis.Redis.from_url(stack.secrets["BROKER_URL"])) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with contextlib.closing(redis.Redis(port=stack.redis_port)) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_the_checks_of_the_servers_images(stack: Stack) -> None:
    """Run the check with the programs that are installed here; the images contain both."""
    if not shutil.which("redis-cli"):
        pytest.skip("needs redis-cli")
    (container,) = stack.replicas("redis")
    kind, script = container.service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    script = script.replace("/secrets", f"{container.root}/secrets").replace(
        "redis-cli", f"redis-cli -p {stack.redis_port}"
    )
    assert subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"]}).returncode == 0
    wrong = script.replace("s/^requirepass //p", "s/^requirepass /not /p")
    assert subprocess.run(["sh", "-c", wrong], env={"PATH": os.environ["PATH"]}).returncode != 0


def test_a_second_up_keeps_secrets_and_credentials(stack: Stack) -> None:
    before = stack.secrets, stack.credentials
    # The host names of the file, as a second run sees them in the network.
    for name in ("secrets", "migrate"):
        container = Container(stack, f"{name}-again", stack.services[name])
        more = ["--postgres-host=127.0.0.1", "--redis-host=127.0.0.1"] if name == "secrets" else []
        file = stack.folder / "volumes" / "app-secrets" / "callboard.env"
        kept = file.read_text()
        container.start(*more)
        assert container.process is not None
        assert container.process.wait(60) == 0, container.tail()
        file.write_text(kept)
    assert (stack.secrets, stack.credentials) == before


def test_the_image_is_never_written_to(stack: Stack) -> None:
    fresh = stack.folder / "fresh"
    containers.make_image(fresh)
    assert _files(stack.image) == _files(fresh)


def test_no_log_shows_a_secret(stack: Stack) -> None:
    values = [stack.secrets["SECRET_KEY"], stack.credentials["API_TOKEN"], stack.credentials["ADMIN_PASSWORD"]]
    values += [url.split(":")[2].split("@")[0] for url in (stack.secrets["DATABASE_URL"], stack.secrets["BROKER_URL"])]
    for container in stack.running.values():
        if container.log.exists():
            text = container.log.read_text(errors="replace")
            assert not [value for value in values if value in text], container.name


def test_everything_stops_in_order_within_its_grace(stack: Stack) -> None:
    """Run last, because this ends the stack."""
    began = time.monotonic()
    codes = stack.stop()
    assert set(codes.values()) == {0}, codes
    assert time.monotonic() - began < 60
    assert stack.rows("SELECT count(*) FROM callboard_worker WHERE status <> 'GONE'") == [(0,)]
    for one in stack.running.values():
        one.process = None


def test_the_env_of_two_other_systems_at_once_starts_the_stack_on_rabbitmq() -> None:
    """Every name of REST + gRPC and of the RabbitMQ workers, as their own compose files have them."""
    require_rabbitmq()
    text = f"{BLOCKS['REST + gRPC']}\n{BLOCKS['RabbitMQ workers']}\nCOMPOSE_PROFILES=rabbitmq"
    with running(dict(line.split("=", 1) for line in text.splitlines())) as stack:
        for name, service in stack.services.items():
            if "healthcheck" in service and name not in {"postgres", "redis", "rabbitmq"}:
                for container in stack.replicas(name):
                    wait_until(container.is_healthy, timeout=90, interval=0.3, what=container.tail)
        wait_until(lambda: set(stack.call("/health")["components"].values()) == {"ok"}, timeout=60, interval=0.3)
        ids = [stack.call("/api/v1/tasks", {"actor": "echo", "payload": {"message": n}})["id"] for n in range(5)]
        wait_until(
            lambda: all(stack.call(f"/api/v1/tasks/{id}")["status"] == "SUCCEEDED" for id in ids),
            timeout=60, interval=0.2,
        )  # fmt: skip
        assert stack.rows("SELECT DISTINCT host, threads FROM callboard_worker") == [("worker-1", 4)]
        assert stack.rabbitmq is not None
        assert "callboard.default.medium" in stack.rabbitmq.control("list_queues", "name")


def test_an_env_that_cannot_work_stops_at_the_first_step_with_one_line() -> None:
    dotenv = {"DATABASE_URL": "postgresql+psycopg2://a:b@localhost/c", "REDIS_URL": "redis://127.0.0.1"}
    with pytest.raises(AssertionError) as failed, running(dotenv):
        pass
    # The file's own addresses are on this machine here, and some of them may be named as well.
    assert re.match(r"DATABASE_URL, .*REDIS_URL: expected a server that containers can reach", str(failed.value))
    assert "Traceback" not in str(failed.value)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
