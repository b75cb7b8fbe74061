"""Which waiting request gets a thread next, so that slow kinds of requests leave threads to the others."""

import math
import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")

_PREFIX = re.escape(os.environ.get("SCRIPT_NAME", "")).encode()
_PROBE = re.compile(rb"[A-Z]+ " + _PREFIX + rb"/(?:readyz|health)/?(?:\?\S*)? ")
_PAGE = re.compile(rb"[A-Z]+ " + _PREFIX + rb"/admin(?:[/?]\S*)? ")
_READ = re.compile(rb"(?:GET|HEAD|OPTIONS) ")


class Kind(Enum):
    """A kind of request, and the share of the threads that it may take together with the kinds before it."""

    #: Of the admin. Its searches read much.
    PAGE = 1 / 2
    #: Any other request that changes nothing.
    READ = 3 / 4
    WRITE = 1.0


def is_probe(request_line: bytes) -> bool:
    """Tell whether a request asks for the state of servers, which is known without a wait."""
    return _PROBE.match(request_line) is not None


def kind_of(request_line: bytes) -> Kind:
    """Tell the kind of a request."""
    if _PAGE.match(request_line):
        return Kind.PAGE
    return Kind.READ if _READ.match(request_line) else Kind.WRITE


class RequestThreads(Generic[T]):
    """The queue of requests that wait for a thread: the oldest whose kind has a free share is next.

    Any thread may call it.

    Parameters:
        threads: how many there are.
        start: starts a request in a free thread; it calls ``done()`` when the request has ended.
    """

    def __init__(self, threads: int, start: Callable[[T, Kind], None]) -> None:
        self._start = start
        self._most = {kind: math.ceil(threads * kind.value) for kind in Kind}
        # A request may have ended when its start returns; then ``done()`` is called in between.
        self._lock = threading.RLock()
        self._running: Counter[Kind] = Counter()
        self._waiting: dict[Kind, deque[tuple[float, T]]] = {kind: deque() for kind in Kind}
        #: When a request of a kind got a thread.
        self._moved_at = dict.fromkeys(Kind, 0.0)

    def put(self, request: T, kind: Kind) -> None:
        """Start a request, or let it wait."""
        with self._lock:
            self._waiting[kind].append((time.monotonic(), request))
            self._start_waiting()

    def done(self, kind: Kind) -> None:
        """Take a thread back, and give it to a request that waits."""
        with self._lock:
            self._running[kind] -= 1
            self._start_waiting()

    def take_overdue(self, seconds: float) -> list[T]:
        """Take out the requests that waited that long while no request of their kind got a thread."""
        before = time.monotonic() - seconds
        with self._lock:
            return [request for kind in Kind for request in self._overdue(kind, before)]

    def _overdue(self, kind: Kind, before: float) -> list[T]:
        found = []
        while self._waiting[kind] and max(self._waiting[kind][0][0], self._moved_at[kind]) < before:
            found.append(self._waiting[kind].popleft()[1])
        return found

    def _start_waiting(self) -> None:
        while kinds := [kind for kind in Kind if self._waiting[kind] and self._has_share(kind)]:
            kind = min(kinds, key=lambda one: self._waiting[one][0][0])
            _, request = self._waiting[kind].popleft()
            self._running[kind] += 1
            self._moved_at[kind] = time.monotonic()
            self._start(request, kind)

    def _has_share(self, kind: Kind) -> bool:
        """Check the share of a kind, and of each that includes it."""
        return all(
            sum(self._running[other] for other in Kind if other.value <= wider.value) < self._most[wider]
            for wider in Kind
            if wider.value >= kind.value
        )
