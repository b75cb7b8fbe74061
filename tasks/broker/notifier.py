"""Wake-ups: tell the leading scheduler, in whatever process it is, that there is something to do.

Submission must not pay for it: a NOTIFY inside the caller's transaction takes a lock on the whole cluster until the
commit is on disk and halves the throughput of everybody's commits. So a commit leaves a note, and one thread per
process sends at most one NOTIFY every 5 ms on its own connection. A lost wake-up costs the poll's second.
"""

import atexit
import multiprocessing
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Set
from contextlib import closing, suppress
from enum import StrEnum
from multiprocessing.util import Finalize
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions
import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import connection

from tasks.db import call_timeout, sessions
from tasks.db.sessions import NOTICES_DEAD_SERVER
from tasks.lifecycle.signals import resumed, transitioned
from tasks.states import DUE

T = TypeVar("T")

log = structlog.get_logger(__name__)

CHANNEL = "callboard"
#: The first one goes at once, and under load the dispatcher takes a breath that is longer.
SHORTEST_INTERVAL_SECONDS = 0.005
#: What was committed later than this after its statement does not count as new: others were dispatched since. Half of
#: how far the dispatcher looks back.
LONGEST_COMMIT_SECONDS = 0.5
#: A process that says nothing gives its connection back.
IDLE_SECONDS = 5.0
#: How long the end of a process waits for its last wake-up.
FLUSH_SECONDS = 0.5

# It changes no row, so PostgreSQL does not wait for the disk at its commit, as long as nothing else is in there.
_NOTIFY = f"NOTIFY {CHANNEL}, %(events)s"


class Event(StrEnum):
    """What a wake-up is for; it travels as the payload of NOTIFY."""

    #: Tasks wait at the end of their line, as new ones do.
    DUE = "due"
    #: Tasks wait again where they stood before, ahead of some that were dispatched since; or there are other workers.
    DUE_ANYWHERE = "due-anywhere"
    #: A worker process has ended, and maybe not in order.
    WORKER_ENDED = "worker-ended"


Wake = Callable[[Set[Event]], None]

#: For who cannot know what was missed.
ALL_EVENTS = frozenset(Event)


class Notifier:
    """Sends NOTIFY for this process.

    Actors submit, and an interrupt may hit them anywhere; so nothing here takes a lock whose ``__enter__`` is Python,
    as that of an Event or a Condition is: it could be left locked, and whoever commits would wait for it for ever.
    """

    def __init__(self) -> None:
        #: Called instead where scheduler and workers share a process.
        self.local: Wake | None = None
        self._is_ending = False
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: it has no thread yet, and what its parent has to say is the parent's."""
        self._lock = threading.Lock()
        #: What to say, and who waits until all before them is said.
        self._asked: SimpleQueue[Event | threading.Event] = SimpleQueue()
        self._pid: int | None = None

    def notify(self, event: Event) -> None:
        """Ask for a wake-up; returns at once."""
        if self.local is not None:
            self.local({event})
            return
        if self._pid == os.getpid() or self._start():
            self._asked.put(event)

    def flush(self) -> None:
        """Send what was asked for, before the process ends; gives up after a moment, and says nothing then."""
        if self._pid != os.getpid():
            return
        sent = threading.Event()
        self._is_ending = True
        self._asked.put(sent)
        self._is_ending = not sent.wait(FLUSH_SECONDS)

    def _start(self) -> bool:
        # Lazily and once per process: gunicorn forks after the application is loaded.
        with self._lock:
            if self._pid == os.getpid():
                return True
            try:
                threading.Thread(target=self._run, name="notifier", daemon=True).start()
            except RuntimeError as error:
                # No process or memory left for a thread; the caller has done its work and must not fail.
                log.warning("wake-ups are not sent; the scheduler polls", error=str(error))
                return False
            self._pid = os.getpid()
            _at_end(self.flush)
            return True

    def _run(self) -> None:
        asked = self._asked
        while True:
            try:
                first = asked.get(timeout=IDLE_SECONDS)
            except Empty:
                connection.close()
                first = asked.get()
            found = [first, *_all_of(asked)]
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
        except DatabaseProblem as error:
            if not self._is_ending:
                log.warning("wake-up was not sent; the scheduler polls", error=str(error).strip())


def _all_of(asked: SimpleQueue[T]) -> Iterator[T]:
    with suppress(Empty):
        while True:
            yield asked.get_nowait()


def _at_end(flush: Callable[[], None]) -> None:
    """Call it when this process ends."""
    if multiprocessing.parent_process() is None:
        # Once, also where a fork has brought its parent's along.
        atexit.unregister(flush)
        atexit.register(flush)
    else:
        # Children of multiprocessing end by os._exit() and have ends of their own.
        Finalize(None, flush, exitpriority=0)


notifier = Notifier()
os.register_at_fork(after_in_child=notifier.forget)


def connect() -> None:
    """Send a wake-up whenever lifecycle has made something due."""
    transitioned.connect(_on_transition, dispatch_uid="callboard.wakeups")
    resumed.connect(_on_resumed, dispatch_uid="callboard.wakeups")


def disconnect() -> None:
    """Send none any more."""
    transitioned.disconnect(dispatch_uid="callboard.wakeups")
    resumed.disconnect(dispatch_uid="callboard.wakeups")


def _on_transition(*, verb: str, moves: Any, at: float, **_: Any) -> None:
    if any(move.status in DUE for move in moves):
        is_at_the_end = verb in _AT_THE_END and time.monotonic() - at < LONGEST_COMMIT_SECONDS
        notifier.notify(Event.DUE if is_at_the_end else Event.DUE_ANYWHERE)


def _on_resumed(**_: Any) -> None:
    notifier.notify(Event.DUE_ANYWHERE)


#: Verbs that give every task a ``run_at`` of now or later.
_AT_THE_END = frozenset({"submit", "complete"})


_CONNECT: dict[str, Any] = {"connect_timeout": 5, **NOTICES_DEAD_SERVER}


class Listener:
    """Hears the wake-ups of all processes, on a connection of its own without a pooler in between."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._reader, self._writer = os.pipe()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no longer."""
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
                log.warning("cannot hear wake-ups; polling meanwhile", error=str(error).strip())
                self._stopped.wait(1.0)

    def _listen(self) -> None:
        # closing(): psycopg2's own context manager ends a transaction, not the connection. Keepalives find out that
        # the server's machine is gone, which a silent LISTEN never would.
        with closing(psycopg2.connect(settings.DIRECT_DATABASE_URL, **_CONNECT)) as session:
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
                        # Another release may say less, or more.
                        self._wake({Event(word) for word in events} if events and events <= ALL_EVENTS else ALL_EVENTS)
