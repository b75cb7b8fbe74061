"""The flight recorder: a table in shared memory that lists which tasks a worker process runs and has run.

It costs a task three small writes and no system call. The supervisor reads it when the process has died. Then only
running tasks are blamed for the crash, and tasks that had ended without a written outcome are known to have run.
"""

import mmap
import os
import struct
import tempfile
from datetime import UTC, datetime
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

_RECORD = struct.Struct("=B16sId")
_EMPTY, _RUNNING, _STUCK, _ENDED = 0, 1, 2, 3
_ASKS_TO_RETIRE, _RETIRING = 1, 2
_SIZE = 32
#: Beside one for each thread. More than the completer lets wait plus what the consumer claims on top of that.
_RECORDS_FOR_ENDED = 6_000


class Ending(IntEnum):
    """Why a process ends, as it recorded itself. Exit codes are no evidence: an actor may exit with any of them."""

    #: No reason was recorded; any task that had started may have ended the process.
    NONE = 0
    #: It was asked to stop, and everything it held is written or put back.
    IN_ORDER = 1
    #: It stopped claiming and ended after the tasks it held; another process has its place already.
    RETIRED = 2
    #: It had to end while it still held tasks.
    UNFINISHED = 3
    #: One of its own threads was dead or stood still.
    UNHEALTHY = 4
    #: Its lease was over, and an actor could not be interrupted or other workers have its tasks.
    LEASE_LOST = 5

    @property
    def is_fault(self) -> bool:
        """Whether the process itself failed; a task that is there each time is blamed in the end."""
        return self in (Ending.UNHEALTHY, Ending.LEASE_LOST)


class Record(NamedTuple):
    """A task that was running, or had ended unwritten, when its process died."""

    #: ``<task id>:<attempt>``.
    key: str
    since: datetime
    is_stuck: bool
    #: The actor had returned or raised; its outcome was not yet written.
    has_ended: bool


class FlightRecorder:
    """One record per started task until its outcome is written: state, task, attempt, start (database's clock)."""

    #: Whether a supervisor reads it.
    is_read = True

    def __init__(self, descriptor: int, *, threads: int) -> None:
        self.descriptor = descriptor
        self._size = threads + _RECORDS_FOR_ENDED
        self._memory = mmap.mmap(descriptor, _length(threads))
        self._free = list(range(self._size))
        self._records: dict[tuple[UUID, int], int] = {}

    @classmethod
    def create(cls, *, threads: int) -> "FlightRecorder":
        """Make an empty recorder whose descriptor a child process can inherit."""
        with tempfile.TemporaryFile() as file:
            # Not truncate(): on a full disk, the first write to a page without a block would kill the writer.
            os.posix_fallocate(file.fileno(), 0, _length(threads))
            return cls(os.dup(file.fileno()), threads=threads)

    @property
    def is_retiring(self) -> bool:
        """Whether the process has recorded that it retires, so that another may take its place already."""
        return self._memory[-1] == _RETIRING

    @property
    def asks_to_retire(self) -> bool:
        """Whether the process has asked for a successor, and does not retire yet."""
        return self._memory[-1] == _ASKS_TO_RETIRE

    def ask_to_retire(self) -> None:
        """Ask for a successor; the process goes on until it is told to retire."""
        if not self.is_retiring:
            self._memory[-1] = _ASKS_TO_RETIRE

    def retire(self) -> None:
        """Record that this process stops claiming and ends after the tasks it holds."""
        self._memory[-1] = _RETIRING

    @property
    def ending(self) -> Ending:
        """The recorded reason for the end of the process."""
        return Ending(self._memory[-3])

    def end_process(self, ending: Ending) -> None:
        """Record why this process ends, right before it does."""
        self._memory[-3] = ending

    @property
    def ticks(self) -> int:
        """A number that changes while the process lets its threads run; 0 before its first tick and after its last."""
        return self._memory[-2]

    def tick(self) -> None:
        """Give a sign of life."""
        self._memory[-2] = self._memory[-2] % 255 + 1

    def stop_ticking(self) -> None:
        """Record that no more signs of life will come."""
        self._memory[-2] = 0

    def start(self, key: tuple[UUID, int], started_at: datetime) -> None:
        """Record that a thread starts an actor; the state byte is written last, so a torn record does not count."""
        task_id, attempt = key
        record = self._records[key] = self._free.pop()
        packed = _RECORD.pack(_RUNNING, task_id.bytes, attempt, started_at.timestamp())
        offset = record * _SIZE
        self._memory[offset + 1 : offset + _RECORD.size] = packed[1:]
        self._memory[offset] = _RUNNING

    def mark_stuck(self, key: tuple[UUID, int]) -> None:
        """Record that the actor resists its limit, for which the process will end."""
        self._mark(key, _STUCK)

    def end(self, key: tuple[UUID, int]) -> None:
        """Record that the actor has returned or raised."""
        self._mark(key, _ENDED)

    def forget(self, key: tuple[UUID, int]) -> None:
        """Remove a task whose outcome is written."""
        self._mark(key, _EMPTY)
        record = self._records.pop(key, None)
        if record is not None:
            self._free.append(record)

    def read(self) -> list[Record]:
        """List the tasks that run, and those that have ended unwritten."""
        found = []
        for index in range(self._size):
            state, task_id, attempt, since = _RECORD.unpack_from(self._memory, index * _SIZE)
            if state != _EMPTY:
                key, since_at = f"{UUID(bytes=task_id)}:{attempt}", datetime.fromtimestamp(since, UTC)
                found.append(Record(key, since_at, is_stuck=state == _STUCK, has_ended=state == _ENDED))
        return found

    def close(self) -> None:
        """Release the memory."""
        self._memory.close()
        os.close(self.descriptor)

    def _mark(self, key: tuple[UUID, int], state: int) -> None:
        record = self._records.get(key)
        if record is not None:
            self._memory[record * _SIZE] = state


class NoRecorder:
    """Takes a flight recorder's place in a process without a supervisor; records nothing."""

    is_read = False

    def _ignore(self, *_: object) -> None:
        """Record nothing."""

    start = mark_stuck = end = forget = ask_to_retire = retire = end_process = tick = stop_ticking = _ignore


Recorder = FlightRecorder | NoRecorder


def _length(threads: int) -> int:
    # Three bytes behind the records: see ending, ticks, is_retiring and asks_to_retire.
    return (threads + _RECORDS_FOR_ENDED) * _SIZE + 3
