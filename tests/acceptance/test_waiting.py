"""Processes that start before their database, or before its migrations, as they do in containers."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler_site.embedded.processes import free_port
from tests.acceptance.harness.database import Database
from tests.acceptance.harness.servers import ROOT, Databases, execute
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

GUNICORN = ["-m", "gunicorn", "scheduler_site.wsgi", "--no-control-socket", "--bind", "127.0.0.1:0"]
PROCESSES = {
    "scheduler": ["manage.py", "runscheduler"],
    "workers": ["manage.py", "runworkers", "-p", "1"],
    "api": GUNICORN,
    "script": ["manage.py", "waitready"],
}


def environment(database_url: str, *, seconds: str, broker: str = "redis://127.0.0.1:1/0") -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "BROKER_URL": broker,
        "SECRET_KEY": "stage-key-of-32-characters-or-more",
        "BUILTIN_ACTORS": "true",
        "ENV_FILE": os.devnull,
        "WAIT_SECONDS": seconds,
    }


def start(command: list[str], env: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=output, stderr=output)


@pytest.mark.parametrize("name", PROCESSES)
def test_without_a_database_a_process_says_so_every_second_and_ends_with_one_line(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    url = f"postgres://nobody@127.0.0.1:{free_port()}/none"
    assert start(PROCESSES[name], environment(url, seconds="2.5"), log).wait(30) == 1
    lines = log.read_text().splitlines()
    assert sum("at most: the database does not answer: connection to server" in line for line in lines) == 3
    assert lines[-1].startswith("CommandError: gave up after 2.5 s: the database does not answer: ")
    assert not any("Traceback" in line for line in lines)


def test_missing_migrations_are_named(databases: Databases, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with databases.fresh() as url:
        execute(url, "DELETE FROM django_migrations WHERE app = 'dlq'")
        assert start(PROCESSES["script"], environment(url, seconds="0.5"), log).wait(30) == 1
    assert "migrations are missing: dlq.0001_initial" in log.read_text().splitlines()[-1]
    assert "run `manage.py migrate`" in log.read_text().splitlines()[-1]


def test_a_scheduler_begins_when_the_migrations_are_there_although_redis_is_away(
    databases: Databases, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with databases.fresh() as url:
        execute(url, "ALTER TABLE django_migrations RENAME TO away")
        process = start(PROCESSES["scheduler"], environment(url, seconds="60"), log)
        try:
            wait_until(lambda: "migrations are missing" in log.read_text(), timeout=20)
            execute(url, "DROP TABLE IF EXISTS django_migrations")
            execute(url, "ALTER TABLE away RENAME TO django_migrations")
            wait_until(lambda: "scheduler is ready" in log.read_text(), timeout=20, what=log.read_text)
            assert "continuing without the broker" in log.read_text()
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_a_stop_while_it_waits_ends_it_at_once(tmp_path: Path) -> None:
    url = f"postgres://nobody@127.0.0.1:{free_port()}/none"
    for name in ("workers", "api"):
        log = tmp_path / name
        process = start(PROCESSES[name], environment(url, seconds="60"), log)
        wait_until(functools.partial(_says, log, "waiting, "), timeout=20)
        process.terminate()
        assert process.wait(5) != 0
        assert "Traceback" not in log.read_text()


def test_zero_seconds_means_not_to_wait(databases: Databases, tmp_path: Path) -> None:
    with databases.fresh() as url:
        log = tmp_path / "log"
        assert start(PROCESSES["script"], environment(url, seconds="0"), log).wait(20) == 0
        assert log.read_text() == ""
        assert Database(url).counts() == {}


def test_a_missing_address_is_no_reason_to_wait(tmp_path: Path) -> None:
    log = tmp_path / "log"
    env = environment("", seconds="60")
    assert start(PROCESSES["workers"], env, log).wait(20) == 1
    assert log.read_text().startswith("DATABASE_URL is not set")


def _says(log: Path, words: str) -> bool:
    return words in log.read_text()
