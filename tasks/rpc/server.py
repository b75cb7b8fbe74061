"""The gRPC server: one event loop for connections and streams, and threads for the calls, which ask the database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

import grpc
from grpc import aio

from tasks.conf import conf
from tasks.contract.access import Action
from tasks.errors import NotAuthenticated, NotReady, TooManyRefused, TooSlow
from tasks.rpc import calls, errors, messages, reflection
from tasks.rpc.calls import Answer, Method
from tasks.rpc.credentials import server_credentials
from tasks.rpc.health import Health
from tasks.rpc.incoming import END, Incoming
from tasks.rpc.services import METHODS, SERVICES
from tasks.rpc.watching import Watching

T = TypeVar("T")

#: How long a stream may be silent, and how long its client may take to read an answer.
STREAM_SECONDS = 60.0
#: How long calls may go on after SIGTERM, beyond what the database may take over one of them.
DRAIN_SECONDS = 2.0

_MOST_STREAMS_PER_CONNECTION = 64
_MOST_METADATA_BYTES = 16 * 1024


def _options() -> list[tuple[str, int]]:
    return [
        # A second server on the port would take half of the calls, and nobody would know.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", conf.MAX_BODY_BYTES),
        ("grpc.absolute_max_metadata_size", _MOST_METADATA_BYTES),
        ("grpc.max_metadata_size", _MOST_METADATA_BYTES // 2),
        ("grpc.max_concurrent_streams", _MOST_STREAMS_PER_CONNECTION),
        # A client whose machine is gone is noticed after a minute and a half.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # One that pings more often than every ten seconds is disconnected.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.max_connection_idle_ms", 300_000),
    ]


class Server(grpc.GenericRpcHandler):
    """Serves all methods, health and reflection until it is stopped; made and used in one event loop.

    Requests and answers are bytes to gRPC: it would answer those that it cannot decode with INTERNAL.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(conf.GRPC_THREADS, thread_name_prefix="grpc")
        self._calls = 0
        self._stopping = asyncio.Event()
        self._health = Health(SERVICES)
        self._server = aio.server(options=_options())
        self._server.add_generic_rpc_handlers((self,))

    async def start(self, address: str) -> int:
        """Listen on an address; return the port.

        Raises:
            OSError: the address is not free, or not one of this machine.
            ImproperlyConfigured: a setting of TLS is wrong.
        """
        credentials = server_credentials()
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self._health.start()
        await self._server.start()
        return int(port)

    async def stop(self) -> None:
        """Refuse new calls, let those that run end, and close all connections."""
        self._stopping.set()
        await self._health.stop()
        await self._server.stop(conf.REQUEST_DATABASE_SECONDS + DRAIN_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Choose who answers a call; nobody: gRPC answers UNIMPLEMENTED."""
        path = str(handler_call_details.method)
        if path in reflection.PATHS:
            return grpc.stream_stream_rpc_method_handler(partial(self._reflect, path))
        method = METHODS.get(path)
        if method is None:
            return self._health.handlers.get(path)
        if method.is_stream:
            return grpc.stream_stream_rpc_method_handler(partial(self._stream, path, method))
        if method.is_watch:
            return grpc.unary_stream_rpc_method_handler(partial(self._watch, path, method))
        return grpc.unary_unary_rpc_method_handler(partial(self._unary, path, method))

    async def _unary(self, path: str, method: Method, raw: bytes, context: Any) -> bytes:
        async with Incoming(path, context) as call:
            answer = await self._in_thread(partial(calls.answer, method, raw, call.origin))
            if answer.error is not None:
                raise answer.error
            call.finish(answer.headers)
            return _bytes(answer)

    async def _stream(self, path: str, method: Method, _: Any, context: Any) -> None:
        """Answer the requests of a stream in their order, each as if it were a call."""
        async with Incoming(path, context) as call:
            await self._admit(call, method.action)
            async for raw in self._requests(call):
                answer = await self._in_thread(partial(calls.answer, method, raw, call.origin))
                if isinstance(answer.error, NotAuthenticated | TooManyRefused):
                    # So would be all that follow.
                    raise answer.error
                await _send(call, _bytes(answer) if answer.error is None else _refusal(method, answer.error))
            call.finish({})

    async def _watch(self, path: str, method: Method, raw: bytes, context: Any) -> None:
        """Send each event as it comes; between two of them the call holds no thread."""
        async with Incoming(path, context) as call:
            watching = Watching()
            try:
                answer = await self._in_thread(partial(watching.begin, method, raw, call.origin))
                if answer.error is not None:
                    raise answer.error
                async for watch, event in watching.events(self._stopping):
                    values = {"task_id": str(watch.task_id), "event": event}
                    await _send(call, messages.write(method.response, values).SerializeToString())
                call.finish({})
            finally:
                watching.stop()

    async def _reflect(self, path: str, _: Any, context: Any) -> None:
        async with Incoming(path, context) as call:
            await self._admit(call, None)
            async for answer in reflection.answers(self._requests(call)):
                await _send(call, answer)
            call.finish({})

    async def _admit(self, call: Incoming, action: Action | None) -> None:
        """Refuse a stream unread if its caller has no valid token, or may not do what it is for."""
        error = await self._in_thread(partial(calls.admitted, call.origin, action))
        if error is not None:
            raise error

    async def _requests(self, call: Incoming) -> AsyncIterator[bytes]:
        """Read a stream to its end.

        Raises:
            NotReady: this server stops.
            TooSlow: nothing came for long.
        """
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                reading = asyncio.ensure_future(call.context.read())
                done, _ = await asyncio.wait(
                    {reading, stopping}, timeout=STREAM_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if reading not in done:
                    reading.cancel()
                    if stopping in done:
                        raise NotReady("this server stops; send what has no answer again, to another one")
                    raise TooSlow(f"expected the next message within {STREAM_SECONDS:g} s")
                if reading.result() is END:
                    return
                yield reading.result()
        finally:
            stopping.cancel()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run a part of a call on a thread.

        Raises:
            NotReady: too many calls wait for one.
        """
        if self._calls >= conf.GRPC_MAX_CALLS:
            raise NotReady("too many calls arrive at once; try again in a few seconds")
        self._calls += 1
        loop = asyncio.get_running_loop()

        def done(_: "Future[T]") -> None:
            # Not when the client gives up: until its time is over, the thread works on.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._end_one)

        running = self._threads.submit(copy_context().run, work)
        running.add_done_callback(done)
        return await asyncio.wrap_future(running)

    def _end_one(self) -> None:
        self._calls -= 1


async def _send(call: Incoming, answer: bytes) -> None:
    try:
        await asyncio.wait_for(call.context.write(answer), STREAM_SECONDS)
    except TimeoutError:
        raise TooSlow(f"the answers were not read within {STREAM_SECONDS:g} s") from None


def _bytes(answer: Answer) -> bytes:
    assert answer.message is not None
    return answer.message.SerializeToString()


def _refusal(method: Method, error: Any) -> bytes:
    written: bytes = method.response(error=errors.status_of(error)).SerializeToString()
    return written
