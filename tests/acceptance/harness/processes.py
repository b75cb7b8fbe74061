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
_JOURNAL = '"tasks.telemetry.transition_log"'


class Process:
    """One process of ours and whatever it starts; its output goes to a file, or into a pipe that nobody reads."""

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
        """Make a pipe with no room in it; it stays open at our end, so that a write waits and does not fail."""
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
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._process.poll()

    def children(self) -> list[int]:
        """Find the processes that it started and that live: worker processes, if it is a supervisor."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.NoSuchProcess:
            return []

    def living(self) -> list[int]:
        """Find everything of its session that lives, its orphans too."""
        # In a long run another's session may have got the number of one that ended; its home is another, too.
        return [
            pid
            for pid in psutil.pids()
            if pid != os.getpid() and _session(pid) == self.pid and is_alive(pid) and _home(pid) == self._home
        ]

    def kill(self) -> None:
        """Kill it, and nothing that it started, and wait for that."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to stop, once."""
        self._process.terminate()

    def wait(self, seconds: float) -> int:
        """Wait for its end and give its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended after {seconds:g} s") from None

    def clear(self) -> None:
        """End whatever is left of it, paused or orphaned, at the end of a test."""
        kill_session(self.pid)
        self._process.wait()
        if self._unread is not None:
            os.close(self._unread)
            self._unread = None

    def tail(self) -> str:
        """Give the last lines that it wrote, without those that say what each task did."""
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
    """Stop a process in its tracks, and wait until it stands."""
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
