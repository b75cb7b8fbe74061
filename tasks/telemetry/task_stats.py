"""Task statistics: each process counts what has committed, and a thread adds the counts to the tables now and then.

A task does not wait for it: a verb leaves its moves in a queue, and one statement every few seconds writes them. A
process that is killed loses what it has not written yet, ``INTERVAL_SECONDS`` at most while the database answers; one
that ends in order writes it.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from django.db import connection

from tasks.db import call_timeout, sessions
from tasks.histogram import count_in
from tasks.lifecycle import Moved, transitioned
from tasks.lifecycle.announcements import ENDINGS
from tasks.lifecycle.stats import record_stats
from tasks.log import get_logger
from tasks.process_end import call_at_end
from tasks.states import FINAL, Status, TaskOutcome

log = get_logger(__name__)

#: Between two writes of a process.
INTERVAL_SECONDS = 2.0
#: A write that takes longer is given up, and tried again.
WRITE_SECONDS = 5.0
PAUSE_AFTER_ERROR_SECONDS = 1.0
#: After this long without a move a process closes its connection.
IDLE_SECONDS = 30.0
#: How long a process that ends waits until its last counts are written.
FLUSH_SECONDS = 1.0
#: Batches of moves that may wait while counts cannot be written; more would fill the memory.
MOST_WAITING = 50_000
#: Actors and queues of one write; what is beyond is counted under an empty name.
MOST_KEYS = 1_000

_ADMITTING = frozenset({"submit", "retry", "redrive"})
#: Verbs that neither bring tasks in nor end anything; the most frequent ones.
_SILENT = frozenset({"dispatch", "claim", "put_back", "requeue", "edit", "signal", "block"})

Key = tuple[str, str, str]
Batch = tuple[str, Sequence[Moved], float]


@dataclass
class Count:
    """What was counted of one actor, queue and outcome."""

    count: int = 0
    run_seconds: float = 0.0
    waits: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


class Counts:
    """Counts that are not written yet."""

    def __init__(self) -> None:
        self.since = 0.0
        self._found: dict[Key, Count] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, verb: str, moves: Sequence[Moved], at: float) -> None:
        """Count the moves of one batch."""
        for move in moves:
            outcome = outcome_of(verb, move.status)
            if outcome is None:
                continue
            if not self._found:
                self.since = at
            one = self._of((move.actor, move.queue, outcome.value))
            one.count += 1
            if move.seconds is not None:
                one.run_seconds += max(0.0, move.seconds)
                count_in(one.runs, move.seconds)
            if move.waited_seconds is not None:
                count_in(one.waits, move.waited_seconds)

    def _of(self, key: Key) -> Count:
        if key not in self._found and len(self._found) >= MOST_KEYS:
            key = ("", "", key[2])
        return self._found.setdefault(key, Count())

    def rows(self) -> list[dict[str, Any]]:
        """Give them as ``record_stats`` takes them."""
        return [
            {"actor": actor, "queue": queue, "outcome": outcome, **vars(one)}
            for (actor, queue, outcome), one in self._found.items()
        ]


def outcome_of(verb: str, status: str) -> TaskOutcome | None:
    """Decide what a move counts as; None for one that statistics leave out."""
    if verb in _ADMITTING:
        # A retry of a task that waits for its next attempt only makes it sooner.
        return TaskOutcome.SUBMITTED if status in {Status.PENDING, Status.BLOCKED} else None
    return TaskOutcome(status) if verb in ENDINGS or status in FINAL else None


class Recorder:
    """Keeps moves until a thread of its own, which starts with the first one, counts and writes them.

    Actors submit tasks, and an interrupt may hit them anywhere: as in ``tasks.broker.notifier``, ``note`` takes no lock
    that is written in Python.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh in a forked child: it has no thread yet, and its parent writes the parent's counts."""
        self._lock = threading.Lock()
        #: Batches of moves, and flags to set once all before them are written.
        self._pending: SimpleQueue[Batch | threading.Event] = SimpleQueue()
        self._counts = Counts()
        self._is_hasty = threading.Event()
        self._pid: int | None = None

    def note(self, *, verb: str, moves: Sequence[Moved], at: float, **_: Any) -> None:
        """Keep moves to be counted; return at once. A task pays for these two lines, and for no others here."""
        if verb not in _SILENT and (self._pid == os.getpid() or self.start()):
            self._pending.put((verb, moves, at))

    def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Write all counts, before the process ends; return False if that takes longer than ``timeout`` seconds."""
        if self._pid != os.getpid():
            return True
        written = threading.Event()
        self._pending.put(written)
        self._is_hasty.set()
        return written.wait(timeout)

    def start(self) -> bool:
        """Start the thread, unless it runs; False if the process can have no more threads."""
        # Lazily and once per process: gunicorn forks after the application is loaded.
        with self._lock:
            if self._pid == os.getpid():
                return True
            try:
                threading.Thread(target=self._run, name="task-stats", daemon=True).start()
            except RuntimeError as error:
                # No thread is left, or no memory; the caller has done its work and must not fail.
                log.warning("tasks are not counted in the statistics", error=str(error))
                return False
            self._pid = os.getpid()
            call_at_end(self.flush)
            return True

    def _run(self) -> None:
        while True:
            try:
                first = self._pending.get(timeout=IDLE_SECONDS)
            except Empty:
                connection.close()
                first = self._pending.get()
            # What comes meanwhile is counted together.
            self._is_hasty.wait(INTERVAL_SECONDS)
            self._is_hasty.clear()
            batches = [first, *(self._pending.get_nowait() for _ in range(self._pending.qsize()))]
            for one in batches:
                if not isinstance(one, threading.Event):
                    self._counts.add(*one)
            while not self._has_written():
                time.sleep(PAUSE_AFTER_ERROR_SECONDS)
            for one in batches:
                if isinstance(one, threading.Event):
                    one.set()

    def _has_written(self) -> bool:
        """Write the counts; return False if that must be tried again."""
        if not self._counts:
            return True
        self._drop_excess()
        try:
            with call_timeout.bounded(WRITE_SECONDS):
                sessions.refresh()
                record_stats(self._counts.rows(), age_seconds=time.monotonic() - self._counts.since)
        except Exception as error:  # noqa: BLE001 - without this thread, this process would count nothing again
            log.warning("statistics cannot be written; they wait", error=str(error).strip())
            return False
        self._counts = Counts()
        return True

    def _drop_excess(self) -> None:
        """Forget moves beyond the bound: the database takes no counts, so it can hardly have committed the moves."""
        if (excess := self._pending.qsize() - MOST_WAITING) > 0:
            log.warning("too much waits to be counted; the statistics leave it out", batches=excess)
            for _ in range(excess):
                self._pending.get_nowait()


recorder = Recorder()
os.register_at_fork(after_in_child=recorder.reset)


def connect() -> None:
    """Start counting."""
    transitioned.connect(recorder.note, dispatch_uid="callboard.task_stats")


def disconnect() -> bool:
    """Stop counting; return whether moves were counted."""
    return transitioned.disconnect(dispatch_uid="callboard.task_stats")
