"""The processes of a stack: started, started again when they die, stopped in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler_site.embedded.processes import kill_session, spawn, wait_for

_LONGEST_PAUSE_SECONDS = 30.0
#: One that ran this long had no trouble starting.
_HEALTHY_AFTER_SECONDS = 30.0


@dataclass
class Child:
    """One process and how often in a row it died young."""

    name: str
    command: Sequence[str]
    #: How long it may take to stop.
    patience_seconds: float = 15
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0
    deaths: int = 0
    resume_at: float = 0

    def is_running(self) -> bool:
        """Tell whether its process lives."""
        return self.process is not None and self.process.poll() is None


class Children:
    """All of them, in the order in which they are stopped.

    Args:
        env: their whole environment.
        cwd: their working directory.
        report: takes a line for the person at the terminal.
    """

    def __init__(self, *, env: Mapping[str, str], cwd: Path, report: Callable[[str], None]) -> None:
        self.env = env
        self.cwd = cwd
        self.report = report
        self.members: list[Child] = []

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            subprocess.CalledProcessError: it failed; it has said why.
        """
        process = spawn(command, env=self.env, cwd=self.cwd)
        self.members = [Child(name, command, process=process)]
        code = process.wait()
        self.members = []
        if code:
            raise subprocess.CalledProcessError(code, command)

    def start(self, *children: Child) -> None:
        """Start them, and keep them running from now on."""
        for child in children:
            self.members.append(child)
            self._start(child)

    def check(self) -> None:
        """Start again what died, after a pause that doubles as long as it keeps dying."""
        now = time.monotonic()
        for child in self.members:
            if child.process is None:
                if now >= child.resume_at:
                    self._start(child)
            elif (code := child.process.poll()) is not None:
                child.deaths = 1 if now - child.started_at > _HEALTHY_AFTER_SECONDS else child.deaths + 1
                pause = min(_LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** (child.deaths - 1))
                child.process, child.resume_at = None, now + pause
                self.report(f"{child.name} ended with {_ending(code)}; starting it again in {pause:g} s")

    def restart(self) -> None:
        """Stop and start all of them."""
        members = list(self.members)
        self.stop(is_forced=lambda: False)
        self.start(*(Child(child.name, child.command, child.patience_seconds) for child in members))

    def stop(self, *, is_forced: Callable[[], bool]) -> None:
        """Stop one after the other; as soon as ``is_forced`` says so, or patience ends, by force."""
        while self.members:
            child = self.members[0]
            if child.process is not None:
                _stop(child.process, patience_seconds=child.patience_seconds, is_forced=is_forced)
            self.members.pop(0)

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        child.process = spawn(child.command, env=self.env, cwd=self.cwd)


def _stop(process: subprocess.Popen[bytes], *, patience_seconds: float, is_forced: Callable[[], bool]) -> None:
    if not is_forced():
        process.terminate()
        wait_for(lambda: _has_ended(process) or is_forced(), seconds=patience_seconds)
    # Before it is waited for: until then its id, and with it the name of its session, is nobody else's.
    kill_session(process.pid)
    process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Ask without taking the exit code, so that the id stays taken."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return process.returncode is not None or os.waitid(os.P_PID, process.pid, flags) is not None


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
