"""The processes of a stack: starts them, restarts those that die, and stops them in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from scheduler_site.embedded.processes import kill_session, spawn, wait_for

_LONGEST_PAUSE_SECONDS = 30.0
#: A process that ran this long has started without trouble.
_HEALTHY_AFTER_SECONDS = 30.0


@dataclass
class Child:
    """A process, and how often in a row it died soon after its start."""

    name: str
    command: Sequence[str]
    #: How long it may take to stop.
    patience_seconds: float = 15
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0
    deaths: int = 0
    resume_at: float = 0

    def is_running(self) -> bool:
        """Tell whether the process runs."""
        return self.process is not None and self.process.poll() is None


class Children:
    """The processes, in the order in which they are stopped.

    Parameters:
        env: their whole environment.
        cwd: their working directory.
        report: prints a line on the terminal.
        uninterrupted: holds signals whose handler raises back; a process that starts at such a moment would be lost.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        cwd: Path,
        report: Callable[[str], None],
        uninterrupted: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.env = env
        self.cwd = cwd
        self.report = report
        self.uninterrupted = uninterrupted
        self.members: list[Child] = []

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end.

        Raises:
            subprocess.CalledProcessError: it failed, and has printed the reason.
        """
        with self.uninterrupted():
            process = spawn(command, env=self.env, cwd=self.cwd)
            self.members = [Child(name, command, process=process)]
        code = process.wait()
        self.members = []
        if code:
            raise subprocess.CalledProcessError(code, command)

    def start(self, *children: Child) -> None:
        """Start processes, and keep them running from now on."""
        for child in children:
            self.members.append(child)
            self._start(child)

    def check(self) -> None:
        """Restart processes that died, after a pause that doubles while they keep dying."""
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
        """Stop all processes and start them again."""
        members = list(self.members)
        self.stop(is_forced=lambda: False)
        self.start(*(Child(child.name, child.command, child.patience_seconds) for child in members))

    def stop(self, *, is_forced: Callable[[], bool]) -> None:
        """Stop one after the other; by force if ``is_forced`` says so or one takes longer than its patience."""
        while self.members:
            child = self.members[0]
            if child.process is not None:
                _stop(child.process, patience_seconds=child.patience_seconds, is_forced=is_forced)
            self.members.pop(0)

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        with self.uninterrupted():
            child.process = spawn(child.command, env=self.env, cwd=self.cwd)


def _stop(process: subprocess.Popen[bytes], *, patience_seconds: float, is_forced: Callable[[], bool]) -> None:
    if not is_forced():
        process.terminate()
        wait_for(lambda: _has_ended(process) or is_forced(), seconds=patience_seconds)
    # Before the exit code is taken: until then no other process or session can get this id.
    kill_session(process.pid)
    process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has ended, without taking its exit code, so that its id stays in use."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return process.returncode is not None or os.waitid(os.P_PID, process.pid, flags) is not None


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
