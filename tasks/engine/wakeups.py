"""Wake-ups: tell the leading scheduler, in whatever process it is, that there is something to do.

Submission must not pay for it: a NOTIFY inside the caller's transaction takes a lock on the whole cluster until the
commit is on disk and halves the throughput of everybody's commits. So a commit sets an event, and one thread per
process sends at most one NOTIFY every 5 ms on its own connection. A lost wake-up costs the poll's second.
"""

import os
import selectors
import threading
import time
from collections.abc import Callable, Set
from contextlib import closing
from enum import StrEnum
from typing import Any

import psycopg2
import psycopg2.extensions
import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import connection

from tasks.engine import sessions
from tasks.engine.sessions import NOTICES_DEAD_SERVER
from tasks.lifecycle import transitioned
from tasks.states import DUE

log = structlog.get_logger(__name__)

CHANNEL = "callboard"
#: The first one goes at once, and under load the dispatcher takes a breath that is longer.
SHORTEST_INTERVAL_SECONDS = 0.005
#: What was committed later than this after its statement does not count as new: others were dispatched since. Half of
#: how far the dispatcher looks back.
LONGEST_COMMIT_SECONDS = 0.5
#: A process that says nothing gives its connection back.
IDLE_SECONDS = 5.0

# It changes no row, so PostgreSQL does not wait for the disk at its commit, as long as nothing else is in there.
_NOTIFY = f"NOTIFY {CHANNEL}, %(news)s"


class News(StrEnum):
    """What a wake-up is for; it travels as the payload of NOTIFY."""

    #: Tasks wait at the end of their line, as new ones do.
    DUE = "due"
    #: Tasks wait again where they stood before, ahead of some that were dispatched since; or there are other workers.
    BEHIND = "behind"
    #: A worker process has ended, and maybe not in order.
    ENDED = "ended"


Wake = Callable[[Set[News]], None]

#: For who cannot know what was missed.
ALL_NEWS = frozenset(News)


class Notifier:
    """Sends NOTIFY for this process."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._news: set[News] = set()
        self._pid: int | None = None
        #: Called instead where scheduler and workers share a process.
        self.local: Wake | None = None

    def poke(self, news: News) -> None:
        """Ask for a wake-up; returns at once."""
        if self.local is not None:
            self.local({news})
            return
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            self._news.add(news)
        self._asked.set()

    def _start(self) -> None:
        # Lazily and once per process: gunicorn forks after the application is loaded.
        with self._lock:
            if self._pid != os.getpid():
                self._asked = threading.Event()
                try:
                    threading.Thread(target=self._run, name="notifier", daemon=True).start()
                except RuntimeError as error:
                    # No process or memory left for a thread; whoever pokes has done its work and must not fail.
                    log.warning("wake-ups are not sent; the scheduler polls", error=str(error))
                    return
                self._pid = os.getpid()

    def _run(self) -> None:
        asked = self._asked
        while True:
            if not asked.wait(IDLE_SECONDS):
                connection.close()
                asked.wait()
            asked.clear()
            with self._lock:
                news, self._news = self._news, set()
            try:
                sessions.refresh()
                with connection.cursor() as cursor:
                    cursor.execute(_NOTIFY, {"news": " ".join(news)})
            except DatabaseProblem as error:
                log.warning("wake-up was not sent; the scheduler polls", error=str(error).strip())
            time.sleep(SHORTEST_INTERVAL_SECONDS)


notifier = Notifier()


def connect() -> None:
    """Send a wake-up whenever lifecycle has made something due."""
    transitioned.connect(_on_transition, dispatch_uid="callboard.wakeups")


def disconnect() -> None:
    """Send none any more."""
    transitioned.disconnect(dispatch_uid="callboard.wakeups")


def _on_transition(*, verb: str, moves: Any, at: float, **_: Any) -> None:
    if any(move.status in DUE for move in moves):
        is_at_the_end = verb in _AT_THE_END and time.monotonic() - at < LONGEST_COMMIT_SECONDS
        notifier.poke(News.DUE if is_at_the_end else News.BEHIND)


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
            self._wake(ALL_NEWS)
            with selectors.DefaultSelector() as selector:
                selector.register(session, selectors.EVENT_READ)
                selector.register(self._reader, selectors.EVENT_READ)
                while not self._stopped.is_set():
                    if any(key.fileobj is session for key, _ in selector.select()):
                        session.poll()
                        news = {word for notify in session.notifies for word in notify.payload.split()}
                        session.notifies.clear()
                        # Another release may say less, or more.
                        self._wake({News(word) for word in news} if news and news <= ALL_NEWS else ALL_NEWS)
