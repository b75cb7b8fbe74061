"""Private servers: what survives a restart, a crash and the end of the process that started them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.processes import wait_for
from scheduler_site.embedded.servers import PostgresServer, RedisServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    folder = temporary_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def postgres(folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(folder: Path) -> Iterator[RedisServer]:
    if not RedisServer.is_available(folder):
        pytest.skip("needs Redis")
    server = RedisServer(folder, persistent=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stopped(postgres: PostgresServer) -> PostgresServer:
    postgres.stop()
    return postgres


def run_sql(url: str, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize("immediate", [False, True])
def test_postgresql_comes_back_at_the_same_address_with_its_data(postgres: PostgresServer, immediate: bool) -> None:
    run_sql(postgres.url, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    before = postgres.url
    assert postgres.restart(immediate=immediate) == before
    assert run_sql(postgres.url, "SELECT answer FROM kept") == [(42,)]


def test_postgresql_starts_again_after_kill_9(postgres: PostgresServer) -> None:
    os.kill(postgres.pid, signal.SIGKILL)
    assert wait_for(lambda: not postgres.is_running(), seconds=5)
    postgres.start()
    assert run_sql(postgres.url, "SELECT 1") == [(1,)]


def test_postgresql_listens_on_the_loopback_only_and_asks_for_a_password(postgres: PostgresServer) -> None:
    addresses = {c.laddr.ip for c in psutil.Process(postgres.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}
    assert run_sql(postgres.url, "SHOW unix_socket_directories") == [("",)]
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(f"postgres://callboard:wrong@127.0.0.1:{postgres.port}/callboard")


def test_no_password_is_on_a_command_line(postgres: PostgresServer, redis_server: RedisServer) -> None:
    for server in (postgres, redis_server):
        password = server.url.partition("@")[0].rpartition(":")[2]
        assert password not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_servers_do_not_run_as_root(postgres: PostgresServer, redis_server: RedisServer) -> None:
    assert 0 not in {*psutil.Process(postgres.pid).uids(), *psutil.Process(redis_server.pid).uids()}


def test_redis_comes_back_at_the_same_address(redis_server: RedisServer) -> None:
    before = redis_server.url
    with contextlib.closing(redis.Redis.from_url(before)) as client:
        client.set("kept", "42")
        client.config_set("appendfsync", "always")
        assert redis_server.restart(immediate=True) == before
        assert client.get("kept") == b"42"


def test_a_leftover_of_a_crashed_run_is_ended(postgres: PostgresServer) -> None:
    successor = PostgresServer(postgres.folder)
    successor.start()
    try:
        assert run_sql(successor.url, "SELECT 1") == [(1,)]
        assert wait_for(lambda: not postgres.is_running(), seconds=5)
    finally:
        successor.stop()


def test_a_pid_file_with_the_id_of_another_process_is_no_obstacle(stopped: PostgresServer) -> None:
    (stopped.data / "postmaster.pid").write_text(f"{os.getppid()}\n{stopped.data}\n")
    stopped.start()
    assert run_sql(stopped.url, "SELECT 1") == [(1,)]


def test_damaged_data_is_one_line_that_says_what_to_do(stopped: PostgresServer) -> None:
    control = stopped.data / "global" / "pg_control"
    control.rename(control.with_suffix(".away"))
    try:
        with pytest.raises(LaunchError, match=r"does not start: .*pg_control.*; restore .*, or move it away") as error:
            stopped.start()
    finally:
        control.with_suffix(".away").rename(control)
    assert "\n" not in str(error.value)


def test_data_of_a_version_that_is_not_there_is_refused(stopped: PostgresServer) -> None:
    file = stopped.data / "PG_VERSION"
    version = file.read_text()
    file.write_text("9\n")
    try:
        with pytest.raises(LaunchError, match="the data was written by PostgreSQL 9, found only 1"):
            stopped.start()
    finally:
        file.write_text(version)


def test_servers_end_with_the_process_that_started_them(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from scheduler_site.embedded.servers import PostgresServer, RedisServer\n"
        "folder = Path(sys.argv[1]); servers = [PostgresServer(folder)]\n"
        "servers += [RedisServer(folder)] if RedisServer.is_available(folder) else []\n"
        "for server in servers: server.start()\n"
        "print(*(server.pid for server in servers), flush=True); input()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdin
    assert parent.stdout
    with parent.stdin, parent.stdout:
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
        parent.wait()
    assert wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids), seconds=10)
