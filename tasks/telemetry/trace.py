"""The trace id: 32 hexadecimal digits that follow a request through every process and log line."""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from structlog.contextvars import bound_contextvars, get_contextvars
from uuid_utils import uuid7

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_UUID = re.compile(r"(?:urn:uuid:|\{)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}?")
# https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html: seconds and a random part.
_X_RAY = re.compile(r"(?:root=)?1-([0-9a-f]{8}-[0-9a-f]{24})(?:;.*)?")
# https://github.com/ulid/spec: 128 bits as 26 digits of 5 bits, so that the first is at most 7.
_ULID = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")
_ULID_DIGITS = str.maketrans("abcdefghjkmnpqrstvwxyz", "abcdefghijklmnopqrstuv")
_HEX = re.compile(r"[0-9a-f]{16,64}")
# https://www.w3.org/TR/trace-context/#traceparent-header: version ff is invalid, versions after 00 may append fields.
_TRACEPARENT = re.compile(
    r"(?!ff)(?!00.{54})[0-9a-f]{2}-(?P<trace_id>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


#: With ``TRACING``: what this process traces, a ``tasks.telemetry.tracing.Tracing``.
active: Any = None
#: Gives headers for requests that actors send; ``tasks.telemetry.tracing`` replaces it.
outgoing: Callable[[], Mapping[str, str]] = dict


def new_trace_id() -> str:
    """Draw a trace id; it grows with time, so that the index of tasks grows at its end and not everywhere."""
    return uuid7().hex


def from_headers(headers: Mapping[str, Any]) -> str:
    """Read the caller's trace id from WSGI's ``HTTP_X_TRACE_ID`` or ``HTTP_TRACEPARENT``, or draw one.

    A valid one is kept in its canonical form of 32 digits. Anything else is replaced and never logged, because it is
    hostile text. ``X-Trace-Id`` comes first, because callers set it on purpose, while proxies add ``traceparent`` by
    themselves.
    """
    return (
        _canonical(str(headers.get("HTTP_X_TRACE_ID", "")))
        or _of_traceparent(str(headers.get("HTTP_TRACEPARENT", "")))
        or new_trace_id()
    )


def _canonical(text: str) -> str:
    """Write a trace id of any common form with 32 digits; "" if it is none.

    A UUID and an id of AWS X-Ray lose their dashes, a ULID is written in hexadecimal digits, and of a ``traceparent``
    the trace id is taken. Shorter ids get zeros on the left, and of longer ones the right end stays:
    https://www.w3.org/TR/trace-context-2/#interoperating-with-existing-systems
    """
    text = text.strip(" \t").lower()
    if found := _UUID.fullmatch(text) or _X_RAY.fullmatch(text):
        text = found[1].replace("-", "")
    elif _ULID.fullmatch(text) and not _HEX.fullmatch(text):
        # Python's digits of base 32 go on to v; Crockford's leave out four letters.
        text = f"{int(text.translate(_ULID_DIGITS), 32):032x}"
    if not _HEX.fullmatch(text):
        return _of_traceparent(text)
    digits = text.zfill(32)[-32:]
    return digits if _TRACE_ID.fullmatch(digits) else ""


def _of_traceparent(text: str) -> str:
    found = _TRACEPARENT.fullmatch(text)
    return found["trace_id"] if found else ""


def bound(trace_id: str, **more: Any) -> AbstractContextManager[None]:
    """Put the trace id, and other values, on every log line within a ``with`` block."""
    return bound_contextvars(trace_id=trace_id, **more)


def current() -> str:
    """Return the trace id of the running code; '' if it has none."""
    bound_id = str(get_contextvars().get("trace_id", ""))
    # An application may bind an id of another form under that name, which neither the column nor the header can hold.
    return bound_id if _TRACE_ID.fullmatch(bound_id) else ""
