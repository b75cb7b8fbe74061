"""Functions that a middleware wants to run beside the workers run in processes of their own."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from tasks.worker import forks
from tasks.worker.forks import Forks, paths_of
from tests.waiting import wait_until


def write_and_wait() -> int:
    """Write this process's id where FORKS_TEST says, and stay."""
    Path(os.environ["FORKS_TEST"]).write_text(f"{os.getpid()} {Path.cwd()}")
    time.sleep(60)
    return 0


def end_at_once() -> int:
    return 3


class WithFork(dramatiq.Middleware):
    @property
    def forks(self) -> list[Any]:
        """Functions to run."""
        return [write_and_wait]


def test_forks_of_middleware_are_named_by_module_and_function() -> None:
    assert paths_of([WithFork(), dramatiq.Middleware()]) == ["tests.worker.test_forks:write_and_wait"]


@pytest.mark.slow
def test_a_fork_runs_from_any_folder_and_ends_with_its_supervisor(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FORKS_TEST", str(tmp_path / "pid"))
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    monkeypatch.chdir(tmp_path)
    read_end, write_end = os.pipe()
    running = Forks(paths_of([WithFork()]), parent=read_end)
    running.start_missing()
    (process,) = running.processes
    wait_until((tmp_path / "pid").exists, timeout=60)
    os.close(write_end)
    wait_until(lambda: process.poll() is not None, timeout=10)
    os.close(read_end)


def test_a_fork_that_ends_is_started_again_and_all_end_at_a_stop(monkeypatch) -> None:
    monkeypatch.setattr(forks, "RESTART_SECONDS", 0.01)
    started: list[str] = []
    read_end, write_end = os.pipe()
    running = Forks(["one:function"], parent=read_end)

    def start(path: str) -> Any:
        import subprocess

        started.append(path)
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    monkeypatch.setattr(running, "_start", start)
    running.start_missing()
    running.processes[0].kill()

    def has_started_again() -> bool:
        running.start_missing()
        return len(started) == 2

    wait_until(has_started_again)
    (process,) = running.processes
    running.stop()
    assert process.poll() is not None
    os.close(read_end)
    os.close(write_end)
