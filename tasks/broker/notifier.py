"""Wake-ups: they tell the leading scheduler, in any process, that there is work.

A NOTIFY inside the caller's transaction would take a lock on the whole cluster until the commit is on disk, and halve
the throughput of all commits. So a commit only leaves an event in memory, and one thread per process sends at most one
NOTIFY every 5 ms on its own connection. A lost wake-up costs a second, until the dispatcher polls.
"""

import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import closing, suppress
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions
from django.db import connection

from tasks.db import call_timeout, sessions
from tasks.lifecycle.announcements import batch_changed, resumed, transitioned
from tasks.log import get_logger
from tasks.process_end import call_at_end
from tasks.states import DUE, Status

T = TypeVar("T")

log = get_logger(__name__)

CHANNEL = "callboard"
#: Between two NOTIFYs; the first one goes at once. Under load the dispatcher's own pause is longer.
SHORTEST_INTERVAL_SECONDS = 0.005
#: A task that is committed later than this after its statement may be behind a cursor: others were dispatched since.
#: Half of how far the dispatcher looks back.
LONGEST_COMMIT_SECONDS = 0.5
#: After this long without an event a process closes its connection.
IDLE_SECONDS = 5.0
#: How long a process that ends waits until its last events are sent.
FLUSH_SECONDS = 0.5

# A transaction with nothing but this changes no row, so PostgreSQL does not wait for the disk at its commit.
_NOTIFY = f"NOTIFY {CHANNEL}, %(events)s"


class Event(StrEnum):
    """The reason of a wake-up; it travels as the payload of NOTIFY."""

    #: Tasks wait at the end of their priority level, as new ones do.
    DUE = "due"
    #: Tasks may wait anywhere, ahead of some that were dispatched before; or workers have changed.
    DUE_ANYWHERE = "due-anywhere"
    #: Tasks or batches may have to learn of the end, or of the second life, of a task that they wait for.
    SETTLE = "settle"
    #: Tasks of batches have ended.
    COUNT = "count"
    #: A worker process has ended, maybe in a crash.
    WORKER_ENDED = "worker-ended"


Wake = Callable[[Set[Event]], None]

#: After a connection was lost: any event may have been missed.
ALL_EVENTS = frozenset(Event)


class Notifier:
    """Sends NOTIFY for this process.

    Actors submit tasks, and an interrupt may hit them anywhere. So nothing here takes a lock whose ``__enter__`` is
    written in Python, such as that of an Event or a Condition: an interrupt could leave it locked, and every later
    commit would wait for it for ever.
    """

    def __init__(self) -> None:
        #: Called instead of NOTIFY where scheduler and workers share a process.
        self.local: Wake | None = None
        self._is_ending = False
        self.reset()

    def reset(self) -> None:
        """Start afresh in a forked child: it has no thread yet, and its parent sends the parent's events."""
        self._lock = threading.Lock()
        #: Events to send, and flags to set once all events before them are sent.
        self._pending: SimpleQueue[Event | threading.Event] = SimpleQueue()
        self._pid: int | None = None

    def notify(self, event: Event) -> None:
        """Ask for a wake-up; return at once."""
        if self.local is not None:
            self.local({event})
            return
        if self._pid == os.getpid() or self._start():
            self._pending.put(event)

    def flush(self) -> None:
        """Send all events before the process ends; give up after a moment, without a warning."""
        if self._pid != os.getpid():
            return
        sent = threading.Event()
        self._is_ending = True
        self._pending.put(sent)
        self._is_ending = not sent.wait(FLUSH_SECONDS)

    def _start(self) -> bool:
        # Lazily and once per process: gunicorn forks after the application is loaded.
        with self._lock:
            if self._pid == os.getpid():
                return True
            try:
                threading.Thread(target=self._run, name="notifier", daemon=True).start()
            except RuntimeError as error:
                # No thread is left, or no memory; the caller has done its work and must not fail.
                log.warning("wake-ups are not sent; the scheduler polls", error=str(error))
                return False
            self._pid = os.getpid()
            call_at_end(self.flush)
            return True

    def _run(self) -> None:
        pending = self._pending
        while True:
            try:
                first = pending.get(timeout=IDLE_SECONDS)
            except Empty:
                connection.close()
                first = pending.get()
            found = [first, *_all_of(pending)]
            events = {one for one in found if isinstance(one, Event)}
            if events:
                self._send(events)
            for waiting in found:
                if isinstance(waiting, threading.Event):
                    waiting.set()
            time.sleep(SHORTEST_INTERVAL_SECONDS)

    def _send(self, events: Set[Event]) -> None:
        try:
            with call_timeout.bounded(IDLE_SECONDS):
                sessions.refresh()
                with connection.cursor() as cursor:
                    cursor.execute(_NOTIFY, {"events": " ".join(events)})
        except Exception as error:  # noqa: BLE001 - without this thread, nothing of this process would wake anybody again
            if not self._is_ending:
                log.warning("wake-up was not sent; the scheduler polls", error=str(error).strip())


def _all_of(pending: SimpleQueue[T]) -> Iterator[T]:
    with suppress(Empty):
        while True:
            yield pending.get_nowait()


notifier = Notifier()
os.register_at_fork(after_in_child=notifier.reset)


def connect() -> None:
    """Send a wake-up whenever lifecycle has made a task due."""
    transitioned.connect(_on_transition, dispatch_uid="callboard.wakeups")
    resumed.connect(_on_resumed, dispatch_uid="callboard.wakeups")
    batch_changed.connect(_on_batch_changed, dispatch_uid="callboard.wakeups")


def disconnect() -> bool:
    """Stop sending wake-ups; return whether they were sent."""
    resumed.disconnect(dispatch_uid="callboard.wakeups")
    batch_changed.disconnect(dispatch_uid="callboard.wakeups")
    return transitioned.disconnect(dispatch_uid="callboard.wakeups")


def _on_transition(*, verb: str, moves: Any, at: float, **_: Any) -> None:
    if any(move.status in DUE for move in moves):
        is_at_levels_end = verb in _AT_LEVELS_END and time.monotonic() - at < LONGEST_COMMIT_SECONDS
        notifier.notify(Event.DUE if is_at_levels_end else Event.DUE_ANYWHERE)
    if verb in _MOVES_PARENTS or any(move.has_children or move.status == Status.BLOCKED for move in moves):
        notifier.notify(Event.SETTLE)
    elif any(move.is_in_batch for move in moves):
        notifier.notify(Event.COUNT)


def _on_resumed(**_: Any) -> None:
    notifier.notify(Event.DUE_ANYWHERE)


def _on_batch_changed(**_: Any) -> None:
    notifier.notify(Event.SETTLE)


#: Verbs that give every task a ``run_at`` of now or later.
_AT_LEVELS_END = frozenset({"submit", "complete", "release"})
#: Rare verbs that end tasks, or begin their second lives, without saying whether others depend on them.
_MOVES_PARENTS = frozenset({"cancel", "expire", "retry", "redrive"})


class Listener:
    """Hears the wake-ups of all processes, on its own connection without a pooler in between."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._reader, self._writer = os.pipe()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Start listening."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop listening."""
        self._stopped.set()
        os.write(self._writer, b"x")
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except psycopg2.Error as error:
                log.warning("cannot receive wake-ups; polling meanwhile", error=str(error).strip())
                self._stopped.wait(1.0)

    def _listen(self) -> None:
        # closing(): psycopg2's own context manager ends a transaction, not the connection. Without keepalives a LISTEN
        # would never notice that the server's machine is gone.
        with closing(sessions.connect_directly()) as session:
            session.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
            with session.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            self._wake(ALL_EVENTS)
            with selectors.DefaultSelector() as selector:
                selector.register(session, selectors.EVENT_READ)
                selector.register(self._reader, selectors.EVENT_READ)
                while not self._stopped.is_set():
                    if any(key.fileobj is session for key, _ in selector.select()):
                        session.poll()
                        events = {word for notify in session.notifies for word in notify.payload.split()}
                        session.notifies.clear()
                        # Another release may send no events, or unknown ones.
                        self._wake({Event(word) for word in events} if events and events <= ALL_EVENTS else ALL_EVENTS)
