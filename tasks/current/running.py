"""The run that is current in a thread or coroutine, and what it can tell of itself."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID

from tasks.conf import conf
from tasks.errors import CallboardError, DuplicateName, NotStorable
from tasks.holder import Holder

if TYPE_CHECKING:
    from tasks.lifecycle import Claimed
    from tasks.queries.parents import Parents


class Completion:
    """The success that an actor is about to commit; set ``result`` to keep a result."""

    result: Any = None


class Run(Protocol):
    """The part of a worker's ``Execution`` that this module needs."""

    @property
    def claimed(self) -> "Claimed":
        """The task as it was claimed."""

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether an interrupt was requested or sent."""

    @property
    def deadline(self) -> float | None:
        """When its time limit ends, by ``time.monotonic()``; None without a limit."""

    @property
    def report(self) -> "Report":
        """Its progress and log lines."""

    @property
    def parents(self) -> "Parents":
        """The tasks that the task depended on."""

    def remark(self, note: str) -> None:
        """Add a sentence to the attempt's record."""


class Running(NamedTuple):
    """The run of a thread, and what its actor can do with it.

    Parameters:
        complete: completes it in a transaction of the actor's.
        worker_id: of the worker that holds it; with the attempt it fences what the actor writes.
        reported: called after each change of its report.
        names: of the steps and loops that it has reached; each may occur once.
    """

    run: Run
    complete: Callable[[], AbstractContextManager[Completion]]
    worker_id: UUID
    reported: Callable[[Any], None]
    names: set[str]


running: ContextVar[Running | None] = ContextVar("callboard_running", default=None)


class NotInActor(CallboardError):
    """This only works inside a running actor."""

    code = "error"


class Report:
    """What a run tells of itself: its progress, and its last log lines.

    The actor's threads change it, and another thread writes it to the database, at most once a second.
    """

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._lines: deque[dict[str, str]] = deque(maxlen=conf.MAX_LOG_LINES)
        self._count = 0
        self._progress: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def note_progress(self, progress: dict[str, Any]) -> bool:
        """Replace the progress; return False if it is the same as before."""
        with self._lock:
            is_new, self._progress = progress != self._progress, progress
        return is_new

    def add_line(self, line: str, *, at: str) -> None:
        """Add a log line; the oldest is dropped if there are too many."""
        with self._lock:
            self._lines.append({"at": at, "line": line})
            self._count += 1

    @property
    def progress(self) -> dict[str, Any] | None:
        """The last progress, if any."""
        return self._progress

    def log(self) -> dict[str, Any] | None:
        """Copy the kept lines, with the number of those dropped; None if there are none."""
        with self._lock:
            if not self._count:
                return None
            lines = list(self._lines)
            return {"attempt": self._attempt, "lines": lines, "dropped": self._count - len(lines)}


def of_thread() -> Running:
    """Return what runs in this thread or coroutine.

    Raises:
        NotInActor: nothing does.
    """
    found = running.get()
    if found is None:
        raise NotInActor()
    return found


def holder() -> Holder:
    """Return the attempt of this thread or coroutine, and its worker.

    Raises:
        NotInActor: nothing runs in it.
    """
    found = of_thread()
    return Holder(found.run.claimed.id, found.run.claimed.attempt, found.worker_id)


#: Of a step, wait, signal or loop; in characters.
LONGEST_NAME = 100


def claim_name(kind: str, name: Any) -> None:
    """Take a name for something that occurs once in a run.

    Raises:
        DuplicateName: this run has reached it before.
        NotStorable: it is empty or too long, or there are too many.
    """
    names = of_thread().names
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise NotStorable(
            f"expected 1 to {LONGEST_NAME} printable characters as the name of a {kind}, got {name!r:.120}"
        )
    if f"{kind} {name}" in names:
        raise DuplicateName(f"this run has had a {kind} with the name {name!r}; each needs a name of its own")
    if len(names) >= conf.MAX_STEPS:
        raise NotStorable(f"expected at most {conf.MAX_STEPS} steps, waits and loops in a run (MAX_STEPS)")
    names.add(f"{kind} {name}")
