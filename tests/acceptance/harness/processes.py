"""Callboard's processes as a service manager runs them: started, killed, paused, asked to stop."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from scheduler_site.embedded.processes import kill_session, spawn
from tests.acceptance.harness.servers import ROOT
from tests.waiting import wait_until

TAIL_LINES = 25
#: What scheduler and workers log when they begin to work.
_READY = " is ready"
_JOURNAL = '"tasks.telemetry.transition_log"'


class Process:
    """A process with its children; its output goes to a file, or into a pipe without a reader."""

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], folder: Path, is_read: bool = True
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._home = env["HOME"]
        self._unread: int | None = None
        with self.log.open("ab") if is_read else self._full_pipe() as output:
            self._process = spawn([sys.executable, *command], output=output, env=env, cwd=ROOT)

    @contextmanager
    def _full_pipe(self) -> Iterator[IO[bytes]]:
        """Make a full pipe; its read end stays open, so that a write blocks instead of failing."""
        self.log.touch()
        self._unread, entry = os.pipe()
        fcntl.fcntl(entry, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(entry, False)
        with suppress(BlockingIOError):
            while True:
                os.write(entry, b"\0" * 512)
        os.set_blocking(entry, True)
        with os.fdopen(entry, "wb") as output:
            yield output

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        return self._process.poll()

    @property
    def is_starting(self) -> bool:
        """Whether it lives and has not said yet that it is ready; False if nobody reads what it says."""
        return self.code is None and self._unread is None and _READY not in self.log.read_text(errors="replace")

    def children(self) -> list[int]:
        """Find its living children: worker processes if it is a supervisor."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.NoSuchProcess:
            return []

    def living(self) -> list[int]:
        """Find all living processes of its session, orphans included."""
        # In a long run another session may get the id of an ended one, but it has another HOME.
        return [
            pid
            for pid in psutil.pids()
            if pid != os.getpid() and _session(pid) == self.pid and is_alive(pid) and _home(pid) == self._home
        ]

    def kill(self) -> None:
        """Kill it, but none of its children, and wait until it has ended."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop with one SIGTERM."""
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended after {seconds:g} s") from None

    def clear(self) -> None:
        """End what is left of it at the end of a test, paused and orphaned processes included."""
        kill_session(self.pid)
        self._process.wait()
        if self._unread is not None:
            os.close(self._unread)
            self._unread = None

    def tail(self) -> str:
        """Return its last log lines, without those about single tasks."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if _JOURNAL not in line]
        return "\n".join(lines[-TAIL_LINES:])


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_paused(pid: int) -> bool:
    """Tell whether a process is stopped by SIGSTOP."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), timeout=5, what=f"the end of process {pid}")


def pause(pid: int) -> None:
    """Stop a process by SIGSTOP, and wait until it stands still."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_paused(pid), timeout=5, what=f"process {pid} to stand still")


def resume(pid: int) -> None:
    """Let a paused process go on."""
    os.kill(pid, signal.SIGCONT)


def _home(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get("HOME")
    except psutil.Error:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
