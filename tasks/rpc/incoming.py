"""A call as it comes in: its trace id, its origin, its line in the access log, and how it ends with an error."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from grpc import aio

from tasks.errors import CallboardError
from tasks.log import get_logger
from tasks.rpc import errors
from tasks.rpc.calls import Origin, trace_id_of
from tasks.telemetry import metrics, trace

_log = get_logger(__name__)

#: The name under which gRPC sends the details of a status.
_DETAILS = "grpc-status-details-bin"


class Incoming:
    """A call; within its block a ``CallboardError`` ends the call with its status.

    Parameters:
        name: the path of the method.
        context: aio's.
    """

    def __init__(self, name: str, context: Any) -> None:
        self.name = name
        self.context = context
        metadata = _joined(context.invocation_metadata() or ())
        left = context.time_remaining()
        self.origin = Origin(
            metadata=metadata,
            peer=peer_address(context.peer()),
            ends_at=None if left is None else time.monotonic() + left,
        )
        self._trace_id = trace_id_of(metadata)
        #: What holds while the call is answered: its trace id in the logs, and its span.
        self._blocks = ExitStack()
        self._started = time.perf_counter()

    async def __aenter__(self) -> Self:
        self._blocks.enter_context(trace.bound(self._trace_id))
        if trace.active is not None:
            given = self.origin.metadata.get("traceparent", "")
            span = trace.active.request(self.name.strip("/"), trace_id=self._trace_id, traceparent=given)
            self._blocks.enter_context(span)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Log the call, and end it with the status of its error."""
        try:
            if error is None or not isinstance(error, Exception) or self.context.done():
                # The client is gone, or gave up.
                self._record("OK" if error is None else "CANCELLED")
                return
            if not isinstance(error, CallboardError):
                _log.error("a gRPC call failed; its caller gets INTERNAL", exc_info=error)
                error = CallboardError()
            code, status = errors.status_code(error), errors.status_of(error)
            self._record(code.name)
            trailing = (*self._trailing(error.headers), (_DETAILS, status.SerializeToString()))
            await self.context.abort(code, status.message, trailing)
        finally:
            self._blocks.close()

    def finish(self, headers: Mapping[str, str]) -> None:
        """Put the trace id and the headers of an answer into its metadata."""
        self.context.set_trailing_metadata(self._trailing(headers))

    def _trailing(self, headers: Mapping[str, str]) -> tuple[tuple[str, str | bytes], ...]:
        return (("x-trace-id", self._trace_id), *((name.lower(), value) for name, value in headers.items()))

    def _record(self, code: str) -> None:
        seconds = time.perf_counter() - self._started
        metrics.grpc_requests.labels(self.name, code).observe(seconds)
        _log.info("call", method=self.name, status=code, ms=round(seconds * 1000, 2))


def peer_address(peer: str) -> str:
    """Read the address out of gRPC's name of a peer, such as ipv4:127.0.0.1:5000; "" for a unix socket."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]").partition("%")[0] if kind in {"ipv4", "ipv6"} else ""


def _joined(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Read metadata by name; values of one name are joined, as HTTP joins the lines of a header."""
    found: dict[str, str] = {}
    for name, value in metadata:
        if isinstance(value, str):
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


#: What ``context.read()`` gives at the end of a stream.
END = aio.EOF
