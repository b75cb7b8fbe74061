"""The trace id: 32 hexadecimal digits that follow a request through every process and log line."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from structlog.contextvars import bound_contextvars, get_contextvars
from uuid_utils import uuid4

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
# https://www.w3.org/TR/trace-context/#traceparent-header: version ff is invalid, versions after 00 may append fields.
_TRACEPARENT = re.compile(
    r"(?!ff)(?!00.{54})[0-9a-f]{2}-(?P<trace_id>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


def new_trace_id() -> str:
    """Draw a trace id."""
    return uuid4().hex


def from_headers(headers: Mapping[str, Any]) -> str:
    """Read the caller's trace id from WSGI's ``HTTP_X_TRACE_ID`` or ``HTTP_TRACEPARENT``, or draw one.

    What is not exactly a trace id is replaced and never logged: it is a stranger's text. ``X-Trace-Id`` wins, because a
    caller sets it on purpose while proxies add ``traceparent`` on their own.
    """
    own = headers.get("HTTP_X_TRACE_ID", "")
    if _TRACE_ID.fullmatch(own):
        return str(own)
    parent = _TRACEPARENT.fullmatch(headers.get("HTTP_TRACEPARENT", ""))
    return parent["trace_id"] if parent else new_trace_id()


def bound(trace_id: str, **more: Any) -> AbstractContextManager[None]:
    """Put the trace id, and whatever else is given, on every log line within a ``with`` block."""
    return bound_contextvars(trace_id=trace_id, **more)


def current() -> str:
    """Name the trace that this code runs in; '' outside of any."""
    bound_id = str(get_contextvars().get("trace_id", ""))
    # An application may bind an id of its own kind under that name; the column and the header take ours only.
    return bound_id if _TRACE_ID.fullmatch(bound_id) else ""
