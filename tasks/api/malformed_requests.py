"""Requests that gunicorn refuses before Django sees them (a broken header, an address too long), as problems."""

import socket

from gunicorn import util

from tasks.api import problems
from tasks.errors import MalformedRequest
from tasks.telemetry import metrics, trace


def install() -> None:
    """Make gunicorn write problems instead of its own page."""
    util.write_error = write


def write(sock: socket.socket, status: int, reason: str, detail: str) -> None:
    """Write a problem; the signature is that of ``gunicorn.util.write_error``."""
    metrics.count_refused(status)
    trace_id = trace.new_trace_id()
    with trace.bound(trace_id):
        body = problems.encoded(MalformedRequest(detail or reason), status)
    head = (
        f"HTTP/1.1 {status} {reason}",
        "Connection: close",
        f"Content-Type: {problems.CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Trace-Id: {trace_id}",
    )
    util.write_nonblock(sock, "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
