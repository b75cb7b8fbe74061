"""A WSGI application for tests of the server: says what it got, and can be slow or send a lot."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scheduler_site.settings")
django.setup()

#: An answer that no socket's buffer holds.
LARGE_BYTES = 30_000_000


_TICKS = ("pieces", "seconds", "size")


class Ticks:
    """A feed: numbered lines of a size, one every so many seconds; without an end if there are no pieces."""

    def __init__(self, pieces: float, seconds: float, size: float) -> None:
        self.beat, self.beat_seconds, self.has_ended = b"alive\n", 15.0, False
        self._left, self._seconds, self._size = int(pieces) or 10**9, seconds, int(size)
        self._next, self._ready, self._ending = 0, False, False

    def on_ready(self, wake: Callable[[], None]) -> None:
        def run() -> None:
            while not self.has_ended:
                time.sleep(self._seconds)
                self._ready = True
                wake()

        threading.Thread(target=run, daemon=True).start()

    def take(self) -> bytes:
        if not self._ready:
            return b""
        self._ready = False
        self._next += 1
        if self._next >= self._left or self._ending:
            self.stop()
        return b"piece %d" % self._next + b"." * self._size + b"\n"

    def end_soon(self) -> None:
        self._ending = True

    def stop(self) -> None:
        self.has_ended = True
        sys.stdout.write("feed stopped\n")
        sys.stdout.flush()


class Fed(list[bytes]):
    """An answer with a feed."""

    def __init__(self, feed: Ticks) -> None:
        super().__init__()
        self.feed = feed


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request: ``/large``, ``…/stuck?until=FILE``, ``/unread``, a feed, or anything else as an echo.

    A feed is ``/feed?pieces=3&seconds=0.1&size=0``; none of the parameters is needed.
    """
    path = environ["PATH_INFO"]
    if path == "/feed":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Fed(Ticks(*(float(parse_qs(environ["QUERY_STRING"]).get(name, ["0"])[0]) for name in _TICKS)))
    if path == "/large":
        start_response("200 OK", [("Content-Length", str(LARGE_BYTES))])
        return [b"x" * LARGE_BYTES]
    if path.endswith("/stuck"):
        until = Path(parse_qs(environ["QUERY_STRING"])["until"][0])
        while not until.exists():
            time.sleep(0.01)
    body = b"" if path == "/unread" else environ["wsgi.input"].read()
    seen = {"method": environ["REQUEST_METHOD"], "path": path, "size": len(body), "peer": environ["REMOTE_ADDR"]}
    answer = json.dumps(seen | {"scheme": environ["wsgi.url_scheme"]}).encode() + b"\n"
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
