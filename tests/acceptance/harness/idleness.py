"""Watches for worker processes that do nothing while due work waits, and for missing ones that are not replaced."""

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psycopg2

from tests.acceptance.harness.database import Database
from tests.acceptance.harness.ledger import Ledger
from tests.acceptance.harness.processes import is_alive, is_paused

LOOK_SECONDS = 0.5
#: A due task may wait this long without a fault.
DUE_SECONDS = 1.0
#: A process needs seconds to start, and many on a busy machine. It is not watched before that.
START_SECONDS = 30.0
_STARTING = "not registered"

_DUE = """SELECT EXISTS (SELECT FROM callboard_task WHERE status IN ('PENDING', 'QUEUED', 'RETRYING')
AND run_at < statement_timestamp() - %s * interval '1 second')"""
_WORKERS = "SELECT pid, status, threads FROM callboard_worker"


class _Seen(NamedTuple):
    """The result of one look at the database."""

    is_work_due: bool
    status: dict[int, str]
    threads: dict[int, int]


class Idleness:
    """One thread that looks twice a second at the ledger, the database and the processes.

    Parameters:
        children: process ids of the workers that supervisors have now.
        allowed_seconds: how long a worker may do nothing while work is due.
    """

    def __init__(
        self, database: Database, ledger: Ledger, *, children: Callable[[], list[int]], allowed_seconds: float
    ) -> None:
        self._database, self._children, self._allowed = database, children, allowed_seconds
        self._tail = _Tail(ledger)
        self._since: dict[int, float] = {}
        self._reported: set[int] = set()
        self._registered: set[int] = set()
        self._outages = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="idleness", daemon=True)
        self.sentences: list[str] = []
        self.longest = 0.0

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a thread that had died is a finding too."""
        if not self._thread.is_alive():
            self.sentences.append("I11: the watch for idle workers ended early, so what it found says nothing")
        self._stopped.set()
        self._thread.join(10)

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """Do not count an outage, in which no worker can get work; idle times count from its end."""
        self._outages += 1
        try:
            yield
        finally:
            self._outages -= 1

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            self._tail.read()
            seen = None if self._outages else self._look()
            if seen is None or not seen.is_work_due:
                self._since.clear()
                continue
            children = self._children()
            for pid in children:
                self._judge(pid, seen)
            self._since = {pid: since for pid, since in self._since.items() if pid in children}

    def _look(self) -> _Seen | None:
        """Ask the database; return None if it cannot answer or a table is locked."""
        try:
            with contextlib.closing(psycopg2.connect(self._database.url, connect_timeout=2)) as session:
                session.autocommit = True
                with session.cursor() as cursor:
                    cursor.execute("SET statement_timeout = '1s'")
                    cursor.execute(_DUE, [DUE_SECONDS])
                    ((is_due,),) = cursor.fetchall()
                    cursor.execute(_WORKERS)
                    rows = cursor.fetchall()
        except psycopg2.Error:
            return None
        return _Seen(is_due, {pid: status for pid, status, _ in rows}, {pid: threads for pid, _, threads in rows})

    def _judge(self, pid: int, seen: _Seen) -> None:
        status = seen.status.get(pid, _STARTING)
        now, running = time.monotonic(), self._tail.running[pid]
        if status != _STARTING and pid not in self._registered:
            # It has started; from here on it counts as a worker.
            self._registered.add(pid)
            self._since.pop(pid, None)
        is_excused = status == "DRAINING" or is_paused(pid) or not is_alive(pid)
        # Each thread may sleep in one call, which leaves no entry.
        is_busy = status != "GONE" and len(running) >= seen.threads.get(pid, 1)
        if is_excused or is_busy:
            self._since.pop(pid, None)
            return
        since = max(self._since.setdefault(pid, now), self._tail.last.get(pid, 0.0) if status != "GONE" else 0.0)
        idle = now - since
        if status != _STARTING:
            self.longest = max(self.longest, idle)
        allowed = START_SECONDS if status == _STARTING else self._allowed
        if idle > allowed and pid not in self._reported:
            self._reported.add(pid)
            self.sentences.append(
                f"I11: worker process {pid} ({status}, {len(running)} actors running) did nothing for {idle:.1f} s "
                f"while work was due"
            )


class _Tail:
    """The ledger's entries by process, read as it grows."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._offset = 0
        #: Time of each process's last entry.
        self.last: dict[int, float] = {}
        #: Task and attempt of runs that have started there and not ended.
        self.running: dict[int, set[tuple[str, int]]] = defaultdict(set)

    def read(self) -> None:
        """Read the new entries."""
        if not self._ledger.path.exists():
            return
        with self._ledger.path.open("rb") as file:
            file.seek(self._offset)
            # The last line may be incomplete: a reader can see the first half of another process's write.
            lines, end, _ = file.read().rpartition(b"\n")
        self._offset += len(lines) + len(end)
        for line in lines.splitlines():
            event, task, attempt, pid, monotonic, *_ = json.loads(line)
            self.last[pid] = monotonic
            if event == "START":
                self.running[pid].add((task, attempt))
            elif event == "END":
                self.running[pid].discard((task, attempt))
