"""``/healthz`` without Django: the worker's main loop answers it, whatever threads and servers do."""

import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from tasks.log import get_logger
from tasks.telemetry import trace

#: As Django answers the same address under another server; a test compares them.
HEADERS = (
    ("Content-Type", "application/json"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
BODY = b'{"status": "ok"}'

_PATH = rf"{re.escape(os.environ.get('SCRIPT_NAME', ''))}/healthz/?(?:\?[!-~]*)?"
_TARGET = re.compile(_PATH)
_REQUEST_LINE = re.compile(rf"(?:GET|HEAD) {_PATH} HTTP/1\.[01]".encode())

_log = get_logger(__name__)

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def is_liveness_probe(request_line: bytes) -> bool:
    """Tell whether a request asks for nothing but this process's liveness."""
    return _REQUEST_LINE.fullmatch(request_line) is not None


class Liveness:
    """A WSGI application that answers probes of liveness, for any host, and passes everything else on."""

    def __init__(self, application: _Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"} or not _TARGET.fullmatch(environ["RAW_URI"]):
            return self._application(environ, start_response)
        return _answer(environ, start_response)


def _answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    started = time.perf_counter()
    trace_id = trace.from_headers(environ)
    is_head = environ["REQUEST_METHOD"] == "HEAD"
    start_response("200 OK", [*HEADERS, ("Content-Length", str(len(BODY))), ("X-Trace-Id", trace_id)])
    with trace.bound(trace_id):
        _log.debug(
            "request",
            method=environ["REQUEST_METHOD"],
            path=environ["PATH_INFO"],
            status=200,
            ms=round((time.perf_counter() - started) * 1000, 2),
        )
    return [] if is_head else [BODY]
