"""A gRPC server inside the test's process, on a free port of the loopback interface."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
from django.db import connections
from google.rpc import error_details_pb2, status_pb2

from tasks.rpc.server import Server
from tests.callers import Caller


class Refused(NamedTuple):
    """An error as a client sees it."""

    status: str
    reason: str
    fields: list[str]
    retry_seconds: int


@contextmanager
def served() -> Iterator[str]:
    """Serve; give the address."""
    ready, ended = threading.Event(), threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        server, found["loop"], found["stop"] = Server(), asyncio.get_running_loop(), asyncio.Event()
        try:
            found["port"] = await server.start("127.0.0.1:0")
        finally:
            ready.set()
        await found["stop"].wait()
        # The threads of calls have sessions, which would keep the tests' database from being dropped.
        for _ in range(8):
            await server._in_thread(connections.close_all)
        await server.stop()

    def run() -> None:
        asyncio.run(serve())
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"127.0.0.1:{found['port']}"
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        assert ended.wait(30)


def metadata_of(caller: Caller) -> list[tuple[str, str]]:
    return [("authorization", str(caller.defaults["HTTP_AUTHORIZATION"]))]


def refused(error: Any) -> Refused:
    """Read the error of a call."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    status = status_pb2.Status.FromString(raw) if raw else status_pb2.Status()
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for one in (info, bad, retry):
            detail.Unpack(one)
    fields = [one.field for one in bad.field_violations]
    return Refused(error.code().name, info.reason, fields, retry.retry_delay.seconds)


def code_of(call: Any, *args: Any, **kwargs: Any) -> str:
    """Make a call that fails, and name its status."""
    try:
        found = call(*args, **kwargs)
        if hasattr(found, "__next__"):
            list(found)
    except grpc.RpcError as error:
        return refused(error).status
    return "OK"
