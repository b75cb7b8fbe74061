"""Answers whose body comes later: the thread that made the head goes on, and the worker's main loop sends the rest.

An answer says so by its ``feed`` (``tasks.api.feeds``). Whatever stands between, Django's middleware or another
application, keeps it by passing the answer on.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Feed(Protocol):
    """What the main loop asks for pieces; no method blocks."""

    #: What says that a silent stream is alive; empty if that would be part of the body.
    beat: bytes
    #: How long a stream is silent before it says so.
    beat_seconds: float
    has_ended: bool

    def on_ready(self, wake: Callable[[], None]) -> None:
        """Say whom to wake when there is a piece."""

    def take(self) -> bytes:
        """Take the next piece; empty if there is none."""

    def end_soon(self) -> None:
        """Ask for the last piece."""

    def stop(self) -> None:
        """End it."""


class Feeding:
    """A WSGI application that keeps the feed of an answer, and lets the server send the head only.

    Parameters:
        keep: is given the feed and gunicorn's response, whose ``write`` and ``end`` the main loop calls later.
    """

    def __init__(self, application: _Application, keep: Callable[[Feed, Any], None]) -> None:
        self._application, self._keep = application, keep

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        answer = self._application(environ, start_response)
        feed: Feed | None = getattr(answer, "feed", None)
        response = getattr(start_response, "__self__", None)
        if feed is None or response is None:
            return answer
        # Django closes its sessions with the database.
        if hasattr(answer, "close"):
            answer.close()
        if environ["REQUEST_METHOD"] == "HEAD":
            feed.stop()
            return ()
        try:
            response.send_headers()
        except OSError:
            feed.stop()
            raise
        # Gunicorn ends the body when the application returns; this one goes on.
        response.end, response.close = response.close, _not_yet
        self._keep(feed, response)
        return ()


def _not_yet() -> None:
    pass
