"""Pools of workers in the background of one machine: a supervisor each, with a pid file, a log and its parameters."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.private import make_folder, take_lock
from scheduler_site.embedded.processes import wait_for

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Pool:
    """A supervisor that continues when its terminal closes.

    It runs for as long as its pid file is locked. The supervisor inherits the lock, and the kernel releases it however
    the supervisor ends, so a recycled process id is never mistaken for it.

    Parameters:
        folder: holds the files of all pools.
    """

    folder: Path
    name: str

    @classmethod
    def named(cls, name: str, *, folder: Path) -> "Pool":
        """Return the pool of a name, which becomes part of a file name.

        Raises:
            LaunchError: the name is not allowed.
        """
        if not _NAME.fullmatch(name):
            raise LaunchError(f"--name: expected lower case letters, digits, - and _, at most 40, got {name!r}")
        return cls(folder, name)

    @classmethod
    def all(cls, *, folder: Path) -> "list[Pool]":
        """Find every pool that was started and not stopped."""
        return [cls(folder, path.stem) for path in sorted(folder.glob("*.json"))]

    @property
    def pid_file(self) -> Path:
        """The file with the supervisor's process id and lock."""
        return self.folder / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """The file with the output of its processes."""
        return self.folder / f"{self.name}.log"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of its start; empty if it was not started, or was stopped."""
        try:
            found: dict[str, Any] = json.loads(self._parameters_file.read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def pid(self) -> int | None:
        """The supervisor's process id while it runs."""
        with contextlib.suppress(FileNotFoundError), self.pid_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # The file is still empty for a moment while the supervisor starts.
                return int(file.read() or 0) or None
        return None

    def start(self, command: Sequence[str], *, cwd: Path, parameters: Mapping[str, Any]) -> "subprocess.Popen[bytes]":
        """Start a supervisor that outlives this process.

        Raises:
            LaunchError: the pool runs already, or its files cannot be written.
        """
        make_folder(self.folder)
        with self._lock() as lock, self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The hang-up and the Ctrl-C of this terminal must not reach the supervisor.
                start_new_session=True,
                pass_fds=[lock],
            )
            os.truncate(lock, 0)
            os.write(lock, f"{process.pid}\n".encode())
            self._parameters_file.write_text(json.dumps(parameters))
        return process

    def stop(self, *, seconds: float, is_forced: bool) -> None:
        """Ask the supervisor to stop and wait for its end.

        Parameters:
            is_forced: ask twice, which kills running tasks.

        Raises:
            LaunchError: the supervisor has not ended in time.
        """
        pid = self.pid
        if pid is not None:
            self._ask(pid)
            if is_forced and not wait_for(lambda: self.pid is None, seconds=1):
                self._ask(pid)
            if not wait_for(lambda: self.pid is None, seconds=seconds):
                raise LaunchError(f"pool {self.name} (pid {pid}) has not ended after {seconds:g} s; see {self.log}")
        self._parameters_file.unlink(missing_ok=True)

    def last_line(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "the log is empty"

    @property
    def _parameters_file(self) -> Path:
        return self.folder / f"{self.name}.json"

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int]:
        descriptor = os.open(self.pid_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not take_lock(descriptor):
                raise LaunchError(
                    f"pool {self.name} is running already, pid {self.pid}; stop it first, or start another with --name"
                )
            yield descriptor
        finally:
            # The supervisor has inherited its own by now.
            os.close(descriptor)

    def _ask(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
