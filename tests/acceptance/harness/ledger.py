"""The effects ledger: an append-only file of what actors do, independent of database and broker."""

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

_VARIABLE = "STAGE_LEDGER"
#: The test's clock at the machine's monotonic zero, for processes whose own clock is wrong.
_EPOCH = "STAGE_EPOCH"


class Entry(NamedTuple):
    """One event of an actor: START, TICK (a sign of life), EFFECT, END, or one of its own."""

    event: str
    task: str
    attempt: int
    pid: int
    #: Monotonic; comparable across the processes of this machine.
    monotonic: float
    #: Seconds since 1970; comparable with the database's clock, which is on this machine too.
    wall: float
    #: With END, the exception that ended the run.
    note: str = ""


class Ledger:
    """The file of one test; written by actors, read by the checker."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_environment(cls) -> "Ledger":
        """Find the ledger that this process was started with."""
        return cls(Path(os.environ[_VARIABLE]))

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of a process that writes here."""
        return {_VARIABLE: str(self.path), _EPOCH: repr(time.time() - time.monotonic())}

    def write(self, event: str, *, task: str, attempt: int, note: str = "") -> None:
        """Append an entry in one write, so that entries of processes never mix and a kill leaves no partial one."""
        now = time.monotonic()
        wall = now + float(os.environ[_EPOCH]) if _EPOCH in os.environ else time.time()
        entry = Entry(event, task, attempt, os.getpid(), now, wall, note)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(entry).encode() + b"\n")
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Read all entries so far, in the order of writing."""
        if not self.path.exists():
            return []
        with self.path.open() as file:
            # The last line may be incomplete.
            return [_entry(*json.loads(line)) for line in file if line.endswith("\n")]

    def of(self, task: str, event: str) -> list[Entry]:
        """Read one task's entries of one kind."""
        return [entry for entry in self.entries() if entry.task == task and entry.event == event]


def _entry(event: str, task: str, attempt: int, pid: int, monotonic: float, wall: float, note: str) -> Entry:
    # A soak has a million entries with few different texts.
    return Entry(sys.intern(event), sys.intern(task), attempt, pid, monotonic, wall, sys.intern(note))
