"""What the server answers when it gives a request up before the application sees it."""

from tasks.errors import CallboardError, MalformedRequest, NotReady
from tasks.telemetry import trace

RETRY_AFTER_SECONDS = 5


def too_slow() -> bytes:
    """Answer a client that has not sent its request in time."""
    return _answer("408 Request Timeout", MalformedRequest("the request did not arrive in time; send it again"))


def malformed(defect: str) -> bytes:
    """Answer a client whose request cannot be told from the next one, or names no host."""
    return _answer("400 Bad Request", MalformedRequest(defect))


def overloaded() -> bytes:
    """Answer a client that has to make room for others."""
    error = NotReady("too many requests arrive at once; try again in a few seconds")
    return _answer("503 Service Unavailable", error, f"Retry-After: {RETRY_AFTER_SECONDS}")


def busy() -> bytes:
    """Answer a client whose request gets no thread, because others take long."""
    error = NotReady("requests that take long hold all threads; try again in a few seconds")
    return _answer("503 Service Unavailable", error, f"Retry-After: {RETRY_AFTER_SECONDS}")


def count(answer: bytes) -> None:
    """Count one of these answers, which is sent."""
    # Imported when Django is set up: before that nothing says where counts are kept.
    from tasks.telemetry import metrics

    metrics.count_refused(int(answer[9:12]))


def _answer(status: str, error: CallboardError, *fields: str) -> bytes:
    # Imported when Django is set up: gunicorn's master reads this file before that.
    from tasks.api import problems

    trace_id = trace.new_trace_id()
    with trace.bound(trace_id):
        body = problems.encoded(error, int(status[:3]))
    head = (
        f"HTTP/1.1 {status}",
        "Connection: close",
        f"Content-Type: {problems.CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        f"X-Trace-Id: {trace_id}",
        *fields,
    )
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
