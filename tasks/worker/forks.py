"""Forks: the functions that a middleware of Dramatiq wants to run in processes of their own, beside the workers.

Dramatiq forks them. Here each is executed (``python -m tasks.worker.forks MODULE:FUNCTION``), as worker processes are.
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from tasks.log import get_logger

log = get_logger(__name__)

#: Pause before a function that has ended is started again.
RESTART_SECONDS = 5.0
#: How long a function may take to end at SIGTERM.
END_SECONDS = 5.0


def paths_of(middleware: list[Any]) -> list[str]:
    """Name the functions that the middleware wants to run, as ``module:function``."""
    return [f"{fork.__module__}:{fork.__name__}" for one in middleware for fork in one.forks]


class Forks:
    """Keeps one process alive for each function.

    Parameters:
        paths: the functions, see ``paths_of``.
        parent: descriptor of a pipe that the caller holds open; the processes end when it closes.
    """

    def __init__(self, paths: list[str], *, parent: int) -> None:
        self._parent = parent
        self._running: dict[str, subprocess.Popen[bytes] | None] = dict.fromkeys(paths)
        self._next_start = dict.fromkeys(paths, 0.0)

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """The processes that run."""
        return [one for one in self._running.values() if one is not None]

    def start_missing(self) -> None:
        """Start each function that does not run, after a pause if it has run before."""
        for path, process in self._running.items():
            if process is not None and process.poll() is not None:
                log.warning("a fork of a middleware has ended; starting it again", fork=path, code=process.returncode)
                self._running[path] = None
                self._next_start[path] = time.monotonic() + RESTART_SECONDS
            if self._running[path] is None and time.monotonic() >= self._next_start[path]:
                self._running[path] = self._start(path)

    def _start(self, path: str) -> subprocess.Popen[bytes] | None:
        command = [sys.executable, "-m", "tasks.worker.forks", path, "--parent", str(self._parent)]
        try:
            return subprocess.Popen(command, pass_fds=(self._parent,), process_group=0, env=environment())
        except OSError as error:
            log.error("cannot start a fork of a middleware; trying again", fork=path, error=str(error))
            self._next_start[path] = time.monotonic() + RESTART_SECONDS
            return None

    def stop(self) -> None:
        """End all of them."""
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + END_SECONDS
        for process in self.processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment() -> dict[str, str]:
    """Return the environment in which a child finds this project's modules, whatever the current folder is."""
    paths = [str(Path(sys.path[0]).resolve()), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def main(arguments: list[str]) -> NoReturn:
    """Run one function until it returns, or until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tasks.worker.forks")
    parser.add_argument("path")
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_parent, args=(options.parent,), name="parent", daemon=True).start()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
    import django

    django.setup()
    module, _, function = options.path.partition(":")
    sys.exit(getattr(importlib.import_module(module), function)())


def _end_with_parent(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
