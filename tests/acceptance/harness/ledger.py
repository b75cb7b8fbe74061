"""The effects ledger: an append-only file in which actors say what they do, whatever happens to database and broker."""

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

_VARIABLE = "STAGE_LEDGER"
#: What the test's clock showed when the machine's began to count, for processes whose own clock is wrong.
_EPOCH = "STAGE_EPOCH"


class Entry(NamedTuple):
    """One thing that an actor did: START, TICK (a sign of life), EFFECT, END, or what is its own."""

    event: str
    task: str
    attempt: int
    pid: int
    #: Comparable across the processes of this machine, and never set.
    monotonic: float
    #: Seconds since 1970: comparable with the database's clock, which is on this machine too.
    wall: float
    #: With END: the exception it ended by.
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
        """What a process needs in its environment to write here."""
        return {_VARIABLE: str(self.path), _EPOCH: repr(time.time() - time.monotonic())}

    def write(self, event: str, *, task: str, attempt: int, note: str = "") -> None:
        """Append an entry in one write, so that entries of many processes never mix and a kill leaves no half."""
        now = time.monotonic()
        wall = now + float(os.environ[_EPOCH]) if _EPOCH in os.environ else time.time()
        entry = Entry(event, task, attempt, os.getpid(), now, wall, note)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, json.dumps(entry).encode() + b"\n")
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """Read what was written so far, in the order of writing."""
        if not self.path.exists():
            return []
        with self.path.open() as file:
            # The last line may be on its way.
            return [_entry(*json.loads(line)) for line in file if line.endswith("\n")]

    def of(self, task: str, event: str) -> list[Entry]:
        """Read one task's entries of one kind."""
        return [entry for entry in self.entries() if entry.task == task and entry.event == event]


def _entry(event: str, task: str, attempt: int, pid: int, monotonic: float, wall: float, note: str) -> Entry:
    # A soak has a million entries, and few different words in them.
    return Entry(sys.intern(event), sys.intern(task), attempt, pid, monotonic, wall, sys.intern(note))
