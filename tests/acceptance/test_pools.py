"""`manage.py callboard workers start | status | stop`: workers that go on when their terminal closes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scheduler_site.embedded.processes import free_port, kill_session
from scheduler_site.embedded.servers import RedisServer
from tests import containers
from tests.acceptance.harness.database import Database
from tests.acceptance.harness.servers import Databases
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


class Machine:
    """A copy of the project, with a database and an operator."""

    def __init__(self, folder: Path, *, database_url: str, broker_url: str) -> None:
        self.folder, self.database = folder, Database(database_url)
        containers.make_image(folder)
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "BROKER_URL": broker_url,
            "SECRET_KEY": "stage-key-of-32-characters-or-more",
            "ENV_FILE": os.devnull,
            "BUILTIN_ACTORS": "true",
            "WAIT_SECONDS": "1",
            "SHUTDOWN_GRACE_SECONDS": "2",
        }

    def run(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", "callboard", "workers", *arguments],
            cwd=self.folder, env={**self.environment, **variables}, capture_output=True, text=True, timeout=50,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        answer = self.run(*arguments, "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def pids(self) -> list[int]:
        return [int(path.read_text() or 0) for path in (self.folder / "var" / "pools").glob("*.pid")]


@pytest.fixture
def machine(databases: Databases, redis_server: RedisServer, tmp_path: Path) -> Iterator[Machine]:
    with databases.fresh() as url:
        machine = Machine(tmp_path / "project", database_url=url, broker_url=redis_server.url)
        yield machine
        for pid in machine.pids():
            kill_session(pid)


def test_a_pool_goes_on_until_it_is_stopped(machine: Machine) -> None:
    started = machine.json("start", "2", "--threads", "3", "--bands", "high")
    assert (started["status"], started["present"], started["threads"]) == ("RUNNING", 2, 3)
    assert [worker["queues"] for worker in machine.json("list")["results"]] == [["default.high"]] * 2
    (shown,) = machine.json("status")["results"]
    assert shown == started
    assert started["pid"] in machine.pids()
    stopped = machine.run("stop")
    assert (stopped.returncode, stopped.stdout) == (0, "NAME\tSTATUS\ndefault\tSTOPPED\n")
    assert machine.database.present_workers() == []
    assert machine.json("status")["results"] == []
    assert "workers have ended" in Path(started["log"]).read_text()


def test_pools_have_names(machine: Machine) -> None:
    machine.json("start", "1")
    machine.json("start", "1", "--name", "mail", "-Q", "default.low")
    refused = machine.run("start", "1", "--name", "mail")
    assert refused.returncode == 1
    assert "pool mail is running already, pid " in refused.stderr
    assert [one["name"] for one in machine.json("status")["results"]] == ["default", "mail"]
    assert [one["name"] for one in machine.json("stop", "--all")["results"]] == ["default", "mail"]


def test_a_pool_that_died_is_shown_as_ended_and_can_be_started_again(machine: Machine) -> None:
    first = machine.json("start", "1")
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: machine.run("status", "--name", "default").returncode == 1, timeout=20)
    assert machine.json("status")["results"][0]["status"] == "ENDED"
    second = machine.json("start", "1")
    assert second["pid"] != first["pid"]
    with suppress(ProcessLookupError):
        # Its process id may belong to no process or to another one; the lock decides which pool runs.
        os.kill(first["pid"], 0)
    assert machine.json("status", "--name", "default")["results"][0]["pid"] == second["pid"]
    assert machine.json("stop", "--now")["results"] == [{"name": "default", "status": "STOPPED"}]


def test_without_actors_there_is_nothing_to_start(machine: Machine) -> None:
    answer = machine.run("start", "1", BUILTIN_ACTORS="false")
    assert (answer.returncode, answer.stderr) == (1, "CommandError: no actor declares any queue; declared are: none\n")


def test_a_failed_start_is_one_line(machine: Machine) -> None:
    answer = machine.run("start", "1", DATABASE_URL=f"postgres://nobody@127.0.0.1:{free_port()}/none")
    assert answer.returncode == 1
    (line,) = answer.stderr.strip().splitlines()
    assert "pool default has ended: CommandError: gave up after 1 s: the database does not answer" in line
    assert machine.json("status")["results"] == []


def test_mistakes_are_named(machine: Machine) -> None:
    for arguments, (code, message) in {
        ("start", "0"): (2, "expected at least 1 process and 1 thread, got 0 and 8"),
        ("start", "1", "--name", "../x"): (2, "lower case letters, digits, - and _, at most 40, got '../x'"),
        ("start", "1", "-Q", "defalut"): (1, "no actor declares defalut; declared are: default"),
        ("status", "--name", "mail"): (1, "there is no pool 'mail' on this machine; there are: none"),
        ("stop", "--name", "mail"): (1, "there is no pool 'mail' on this machine; there are: none"),
    }.items():
        answer = machine.run(*arguments)
        assert (answer.returncode, len(answer.stderr.splitlines())) == (code, 1), answer.stderr
        assert message in answer.stderr
