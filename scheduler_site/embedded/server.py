"""The base of private servers: one process, one folder, one log, one port on the loopback interface."""

import contextlib
import re
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, ClassVar

from scheduler_site.embedded.accounts import account_for, give
from scheduler_site.embedded.errors import LaunchError
from scheduler_site.embedded.processes import CLEAN_ENVIRONMENT, end, free_port, spawn, wait_for

#: A crash recovery may take this long; so may a stop with much to write.
PATIENCE_SECONDS = 60
_ATTEMPTS = 5


class Server(ABC):
    """A private server process; subclasses define what to run and when it is ready."""

    #: For messages.
    title: ClassVar[str]
    #: The signal for an orderly stop.
    gentle: ClassVar[signal.Signals]
    #: The signal for a stop like a crash, which leaves no processes behind.
    abrupt: ClassVar[signal.Signals]
    #: How long a start may take.
    patience_seconds: ClassVar[float] = PATIENCE_SECONDS

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder
        self.port = port
        self.version = ""
        self.log = folder / f"{self.title.lower()}.log"
        self.account = account_for(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL with everything that a client needs to connect."""

    @abstractmethod
    def start(self) -> str:
        """Start the server, on the port of the last start if there was one; return its URL."""

    @property
    def pid(self) -> int:
        """The process id, also after the process died."""
        if self._process is None:
            raise LaunchError(f"{self.title} is not started; call start() first")
        return self._process.pid

    def is_running(self) -> bool:
        """Tell whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server in order; if ``immediate``, like a crash."""
        if self._process is None:
            return
        steps = [(self.abrupt, 5.0)] if immediate else [(self.gentle, float(PATIENCE_SECONDS)), (self.abrupt, 5.0)]
        end(self._process, *steps)
        self._process = None

    def restart(self, *, immediate: bool = False) -> str:
        """Stop the server and start it on the same port."""
        self.stop(immediate=immediate)
        return self.start()

    @abstractmethod
    def _is_ready(self) -> bool:
        """Tell whether the server answers."""

    @abstractmethod
    def _command(self, program: Path) -> Sequence[str | Path]:
        """Return the command line for the chosen port."""

    def _input(self) -> bytes:
        """Return the standard input: secrets, which a command line would show to every account."""
        return b""

    def _run(self, program: Path) -> None:
        """Start the program and wait until it is ready; if another process took the free port, try another port."""
        fixed = self.port is not None
        for _ in range(_ATTEMPTS):
            self.port = self.port if fixed else free_port()
            with self._fresh_log() as output:
                self._process = process = spawn(
                    self._command(program),
                    text=self._input(),
                    output=output,
                    env=CLEAN_ENVIRONMENT,
                    account=self.account,
                    die_with=self.gentle,
                )
            if self._becomes_ready(process):
                return
            if not self._may_work_next_time(self.log.read_text(errors="replace"), port_is_fixed=fixed):
                break
        self._process = None
        raise LaunchError(f"{self.title} does not start: {self._last_error()} (log: {self.log}){self._advice()}")

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        if not wait_for(lambda: process.poll() is not None or self._is_ready(), seconds=self.patience_seconds):
            end(process, (self.abrupt, 5.0))
        return process.poll() is None

    def _may_work_next_time(self, log: str, *, port_is_fixed: bool) -> bool:
        return "Address already in use" in log and not port_is_fixed

    def _advice(self) -> str:
        return ""

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        give(folder, self.account)

    @contextlib.contextmanager
    def _fresh_log(self) -> Iterator[IO[bytes]]:
        """Open the log of this run; the log of the run before is kept beside it."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".previous.log"))
        self.log.touch(mode=0o600)
        # In append mode, because both output streams of the server write to it.
        with self.log.open("ab") as output:
            yield output

    def _last_error(self) -> str:
        """Return the log's last error, without times and process ids."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        fatal = [re.sub(r"^.*?(?=FATAL:|PANIC:)", "", line) for line in lines if re.search("FATAL:|PANIC:", line)]
        return one_line(fatal[-1] if fatal else " ".join(lines[-4:])) or "the log is empty"


def one_line(text: str) -> str:
    """Fold a message into one line of at most 300 characters."""
    return " ".join(text.split())[:300]


def read_number(path: Path) -> int | None:
    """Read the number on a file's first line; None if there is none."""
    try:
        return int(path.read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None
