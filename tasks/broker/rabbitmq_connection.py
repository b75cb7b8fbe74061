"""A process's connection to RabbitMQ: one thread keeps it alive, whatever the threads that use it are doing."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from typing import Any, TypeVar

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel

from tasks.broker import pika_internals
from tasks.errors import BrokerUnavailable

T = TypeVar("T")

#: Seconds until a call counts as failed.
CALL_SECONDS = 5.0
#: How long a process waits for RabbitMQ to confirm that a connection is closed.
CLOSING_SECONDS = 1.0
#: Pause after a failed attempt to connect; calls fail at once meanwhile. It doubles with each further one.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0

# The client logs each lost connection several times, as errors; callers log what BrokerUnavailable says.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class Session:
    """An open connection and what belongs to it: its channels, and the hints that it took and did not acknowledge.

    It is used in the connection's thread only. When it ends RabbitMQ gives its unacknowledged hints to others.
    """

    def __init__(self, connection: AsyncioConnection) -> None:
        self.connection = connection
        self.ended: BrokerUnavailable | None = None
        self.is_blocked = False
        self._expected: set[asyncio.Future[Any]] = set()
        self._getting = asyncio.Lock()
        connection.add_on_close_callback(lambda _, reason: self.end(reason))
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))

    async def open(self) -> None:
        """Open the channels."""
        #: For everything but waiting.
        self.channel = await self._open_channel()
        #: Gives one hint to each of its consumers.
        self.waiting_channel = await self._open_channel()
        await self.call(self.waiting_channel.basic_qos, prefetch_count=1)

    async def _open_channel(self) -> Channel:
        opened: asyncio.Future[Channel] = self.expect()
        channel: Any = self.connection.channel(on_open_callback=lambda channel: _settle(opened, channel))
        # A closed channel has lost its hints, like a closed connection, and both are mended in the same way.
        channel.add_on_close_callback(lambda _, reason: self.close(reason))
        return await opened

    async def call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call a method of a channel and return RabbitMQ's reply."""
        replied = self.expect()
        method(**arguments, callback=lambda frame: _settle(replied, frame))
        return (await replied).method

    async def get(self, queue: str, most: int) -> list[tuple[int, bytes]]:
        """Take messages off a queue, as many as wait and ``most`` at most: their delivery tags and bodies."""
        async with self._getting:
            replied = self.expect()
            pika_internals.get_many(self.channel, queue, most, on_replies=lambda found: _settle(replied, found))
            return await replied  # type: ignore[no-any-return]

    def expect(self) -> asyncio.Future[Any]:
        """Make a future that fails if the session ends before."""
        self.check()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._expected.add(future)
        future.add_done_callback(self._expected.discard)
        return future

    def check(self) -> None:
        """Raise ``BrokerUnavailable`` if the session has ended, or if RabbitMQ does not read from it."""
        if self.ended is not None:
            raise self.ended
        if self.is_blocked:
            raise BrokerUnavailable("RabbitMQ accepts nothing: it is short of memory or disk space")

    def _set_blocked(self, is_blocked: bool) -> None:
        self.is_blocked = is_blocked
        if is_blocked:
            self._fail(BrokerUnavailable("RabbitMQ accepts nothing: it is short of memory or disk space"))

    def end(self, reason: object) -> None:
        """Fail all that is expected, now and later."""
        if self.ended is None:
            self.ended = BrokerUnavailable(f"RabbitMQ does not answer: {reason}")
        self._fail(self.ended)

    def _fail(self, error: BrokerUnavailable) -> None:
        for future in list(self._expected):
            if not future.done():
                future.set_exception(error)

    def close(self, reason: object) -> None:
        """End the session and close the connection; RabbitMQ may be frozen, then the heartbeat closes it."""
        self.end(reason)
        if self.connection.is_open:
            self.connection.close()


def _settle(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)


class RabbitConnection:
    """The process's connection: made at the first call, and made anew after a loss or a fork.

    Its thread answers heartbeats while others run tasks, so that RabbitMQ does not close it. Calls come from any
    thread, and one at a time reaches RabbitMQ.

    Parameters:
        nodes: tried in order.
        on_open: called with each new session.
    """

    def __init__(
        self,
        nodes: list[pika.ConnectionParameters],
        *,
        on_open: Callable[[Session], Coroutine[Any, Any, None]],
    ) -> None:
        self._nodes = nodes
        self._on_open = on_open
        self._starting = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._pid: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Session | None = None
        #: Those whose connection may not be closed yet.
        self._sessions: list[Session] = []
        self._connecting: asyncio.Lock | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._last_error = ""

    def run(self, operation: Callable[[Session], Coroutine[Any, Any, T]], *, seconds: float = CALL_SECONDS) -> T:
        """Run an operation on the open session and return its result.

        Raises:
            BrokerUnavailable: there is no connection, or no reply in time; then the connection is given up.
        """
        loop = self._started()
        future = asyncio.run_coroutine_threadsafe(self._run(operation), loop)
        try:
            return future.result(seconds)
        except TooLate:
            future.cancel()
            loop.call_soon_threadsafe(self._give_up)
            raise BrokerUnavailable(f"RabbitMQ does not answer: no reply in {seconds:g} s") from None

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._pid != os.getpid() or self._loop is None:
            return
        loop, thread = self._loop, self._thread
        with suppress(TooLate):
            asyncio.run_coroutine_threadsafe(self._close_all(), loop).result(CLOSING_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CALL_SECONDS)
        self._forget()

    async def _close_all(self) -> None:
        for session in self._sessions:
            session.close("closed")
        while not all(session.connection.is_closed for session in self._sessions):
            await asyncio.sleep(0.001)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._pid != os.getpid():
                # Also in a forked child, which has no such thread, and must not use its parent's connection.
                self._forget()
                self._loop = asyncio.new_event_loop()
                self._connecting = asyncio.Lock()
                self._thread = threading.Thread(target=_pump, args=[self._loop], name="rabbitmq", daemon=True)
                self._thread.start()
                self._pid = os.getpid()
            assert self._loop is not None
            return self._loop

    def _give_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close("no reply in time")

    async def _run(self, operation: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        session = await self._open_session()
        try:
            return await operation(session)
        except pika.exceptions.AMQPError as error:
            session.close(error)
            raise BrokerUnavailable(f"RabbitMQ does not answer: {error!r}") from error

    async def _open_session(self) -> Session:
        assert self._connecting is not None
        async with self._connecting:
            if self._session is None or self._session.ended is not None:
                self._session = None
                self._session = await self._connect()
            return self._session

    async def _connect(self) -> Session:
        if time.monotonic() < self._retry_at:
            raise BrokerUnavailable(f"RabbitMQ does not answer: {self._last_error}")
        try:
            session = Session(await self._connection())
            self._sessions = [one for one in self._sessions if not one.connection.is_closed] + [session]
            await session.open()
            await self._on_open(session)
        except (BrokerUnavailable, AMQPConnectorException, pika.exceptions.AMQPError, OSError) as error:
            pause = min(SHORTEST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
            self._failures = min(self._failures + 1, 10)
            self._retry_at = time.monotonic() + pause
            self._last_error = _reason(error)
            if isinstance(error, BrokerUnavailable):
                raise
            raise BrokerUnavailable(f"RabbitMQ does not answer: {self._last_error}") from error
        self._failures = 0
        return session

    async def _connection(self) -> AsyncioConnection:
        loop = asyncio.get_running_loop()
        connected: asyncio.Future[Any] = loop.create_future()
        AsyncioConnection.create_connection(
            self._nodes, on_done=lambda result: _settle(connected, result), custom_ioloop=loop
        )
        result = await connected
        if isinstance(result, BaseException):
            raise result
        return result


def _pump(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


def _reason(error: BaseException) -> str:
    """Give the innermost reason: the client wraps it several times."""
    inner = getattr(error, "exceptions", None)
    return _reason(inner[-1]) if inner else _reason_of(error)


def _reason_of(error: BaseException) -> str:
    inner = getattr(error, "exception", None)
    return _reason(inner) if isinstance(inner, BaseException) else str(error) or type(error).__name__
