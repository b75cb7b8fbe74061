"""Bodies that come later: what a watched task has to tell, as it happens.

A server that knows feeds (``scheduler_site.gunicorn_worker``) sends the head, gives the thread back, and sends each
piece when there is one. An ASGI server does the same in its event loop. Any other WSGI server iterates over the feed,
which holds a thread of that server.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from tasks.contract.watching import Watch

#: How often a stream says that it is alive, so that nothing in between takes it for dead, and its end is noticed.
BEAT_SECONDS = 15.0
EVENT_STREAM = "text/event-stream"
#: A client that lost the stream comes back after this time.
_RETRY = b"retry: 1000\n\n"


class Feed:
    """The body of an answer, piece by piece; what the watch writes is bytes.

    Parameters:
        first: the first piece.
        beat: what says that the stream is alive; empty for a body that is one piece, after which it ends.
        otherwise: the body if nothing could be written.
    """

    def __init__(self, watch: Watch, *, first: bytes = b"", beat: bytes = b"", otherwise: bytes = b"") -> None:
        self.beat, self.beat_seconds = beat, BEAT_SECONDS
        self.has_ended = False
        self._watch, self._first, self._otherwise = watch, first, otherwise

    def on_ready(self, wake: Callable[[], None]) -> None:
        """Say whom to wake when there is a piece; any thread may call it, and at once."""
        self._watch.on_change(wake)

    def take(self) -> bytes:
        """Take the next piece; empty if there is none. It never blocks."""
        change = self._watch.take()
        if change is None:
            return self._take_first()
        piece = change.written
        if change.end is not None or (piece and not self.beat):
            self.stop()
            piece = piece or self._otherwise
        return self._take_first() + (piece or b"")

    def _take_first(self) -> bytes:
        first, self._first = self._first, b""
        return first

    def end_soon(self) -> None:
        """Ask for the last piece."""
        self._watch.end_soon()

    def stop(self) -> None:
        """End it, whether or not it was sent."""
        self.has_ended = True
        self._watch.stop()

    def __iter__(self) -> Iterator[bytes]:
        """Wait for each piece, and give it."""
        ready = threading.Event()
        self.on_ready(ready.set)
        try:
            while not self.has_ended:
                if piece := self.take():
                    yield piece
                elif not ready.wait(self.beat_seconds):
                    yield self.beat
                ready.clear()
        finally:
            self.stop()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Wait for each piece in an event loop, and give it."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            # Not of a server that has stopped meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ready.set)

        self.on_ready(wake)
        try:
            while not self.has_ended:
                if piece := self.take():
                    yield piece
                    continue
                try:
                    await asyncio.wait_for(ready.wait(), self.beat_seconds)
                    ready.clear()
                except TimeoutError:
                    yield self.beat
        finally:
            self.stop()


class FedResponse(StreamingHttpResponse):
    """An answer whose body is a feed.

    Parameters:
        request: Django would read a feed to its end before an ASGI server gets the first piece of it.
    """

    def __init__(
        self, request: Request, feed: Feed, *, content_type: str, status: int = 200, headers: Mapping[str, str]
    ) -> None:
        body = feed.pieces() if isinstance(request._request, ASGIRequest) else feed
        super().__init__(body, content_type=content_type, status=status, headers=headers)
        self.feed = feed


def event_stream(request: Request, watch: Watch) -> FedResponse:
    """Answer with server-sent events; ``as_stream`` writes them."""
    feed = Feed(watch, first=_RETRY, beat=b": alive\n\n")
    # A proxy that collects an answer before it passes it on would keep the events.
    return FedResponse(request, feed, content_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})


def as_stream(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Write events as server-sent ones."""
    return b"".join(f"id: {one['id']}\nevent: {one['type']}\ndata: {_json(one)}\n\n".encode("ascii") for one in events)


def as_json(value: Any) -> bytes:
    """Write a body that comes later."""
    return _json(value).encode("ascii")


def _json(value: Any) -> str:
    # ASCII only: a result may have text that UTF-8 cannot carry, such as a lone surrogate.
    return json.dumps(value, separators=(",", ":"))


def accepts_stream(header: str) -> bool:
    """Tell whether a client asks for server-sent events."""
    return any(one.partition(";")[0].strip().lower() == EVENT_STREAM for one in header.split(","))
