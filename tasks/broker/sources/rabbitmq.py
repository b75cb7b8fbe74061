"""Hints through RabbitMQ: a queue for each band, whose messages are hints that a restart of RabbitMQ may lose."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import pika
from pika.channel import Channel

from tasks.broker.rabbitmq_connection import CALL_SECONDS, RabbitConnection, Session
from tasks.broker.sources.base import Taken
from tasks.hint import Hint, decode, encode
from tasks.priority import broker_queues

#: Not written to disk, except by quorum queues.
_TRANSIENT = pika.BasicProperties(content_type="text/plain", delivery_mode=1)


class Declares(Protocol):
    """A broker that knows which queues are declared."""

    queues: set[str]


class Delivered(NamedTuple):
    """What RabbitMQ wants to hear when a message is done."""

    channel: Channel
    tag: int


class Look(NamedTuple):
    """What a look for missing hints of a queue has found."""

    hints: frozenset[Hint]
    ready: int
    published: int


class RabbitSource:
    """Hints through RabbitMQ's queues; a hint is a message's body.

    Hints are fetched one by one, bands in order, never more than threads are free: a consumer with a prefetch would
    hold hints that other processes could run, and ignore the order of bands. Only an idle process has consumers, and
    they get one hint of each queue at most, so that a hint wakes one process.

    Parameters:
        kind: "classic" or "quorum".
    """

    def __init__(self, broker: Declares, nodes: list[pika.ConnectionParameters], *, namespace: str, kind: str) -> None:
        self._broker = broker
        self.namespace = namespace
        self._kind = kind
        self._connection = RabbitConnection(nodes, on_open=self._declare_all)
        #: Which hints are out, by queue and body; of the session, whose end returns them to their queues.
        self._session: Session | None = None
        self._out: dict[tuple[str, bytes], list[Delivered]] = {}
        #: Hints that came while the process was idle.
        self._woken_by: list[Taken] = []
        self._published: dict[str, int] = {}
        self._looks: dict[str, Look] = {}

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """See ``Source``."""

        async def publish(session: Session) -> None:
            for name, hint in hints:
                session.check()
                session.channel.basic_publish("", self._key(name), encode(hint).encode(), _TRANSIENT)

        self._connection.run(publish)
        for name, _ in hints:
            self._published[name] = self._published.get(name, 0) + 1

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """See ``Source``."""

        async def count(session: Session) -> dict[str, int]:
            return {name: await self._declare(session, name) for name in queues}

        return self._connection.run(count)

    def take(self, queues: Sequence[str], limit: int, *, done: Sequence[Taken] = ()) -> list[Taken]:
        """See ``Source``."""

        async def take(session: Session) -> list[Taken]:
            self._acknowledge(done)
            if self._woken_by:
                return self._take_woken(queues, limit)
            taken: list[Taken] = []
            for name in queues:
                if len(taken) < limit:
                    got = await session.get(self._key(name), limit - len(taken))
                    taken += [self._note(name, body, Delivered(session.channel, tag)) for tag, body in got]
            return taken

        return self._connection.run(take)

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """See ``Source``."""

        async def wait(session: Session) -> None:
            came: asyncio.Future[Any] = session.expect()
            tags = [await self._consume(session, name, came) for name in queues]
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(came, timeout)
            for tag in tags:
                # From here on the client itself returns what is still delivered.
                session.waiting_channel.basic_cancel(tag, callback=lambda _: None)

        self._connection.run(wait, seconds=timeout + CALL_SECONDS)

    async def _consume(self, session: Session, name: str, came: "asyncio.Future[Any]") -> str:
        channel = session.waiting_channel

        def deliver(_channel: Channel, method: Any, _properties: Any, body: bytes) -> None:
            self._woken_by.append(self._note(name, body, Delivered(channel, method.delivery_tag)))
            if not came.done():
                came.set_result(None)

        reply = await session.call(channel.basic_consume, queue=self._key(name), on_message_callback=deliver)
        return str(reply.consumer_tag)

    def _take_woken(self, queues: Sequence[str], limit: int) -> list[Taken]:
        order = {name: place for place, name in enumerate(queues)}
        came, self._woken_by = self._woken_by, []
        wanted = sorted((one for one in came if one.queue in order), key=lambda one: order[one.queue])
        self._return([one for one in came if one.queue not in order] + wanted[limit:])
        return wanted[:limit]

    def done(self, taken: Sequence[Taken]) -> None:
        """See ``Source``."""
        if taken:
            self._connection.run(lambda _: self._now(self._acknowledge, taken))

    def put_back(self, taken: Sequence[Taken]) -> None:
        """See ``Source``."""
        if taken:
            self._connection.run(lambda _: self._now(self._return, taken))

    def forget_taken(self, queues: Sequence[str]) -> None:
        """See ``Source``."""

        def forget(names: Sequence[str]) -> None:
            self._acknowledge([Taken(name, decode(body), body) for name, body in list(self._out) if name in names])

        self._connection.run(lambda _: self._now(forget, queues))

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        """Find the hints that waited in no band of a queue at this look and at the one before.

        RabbitMQ cannot be asked for a message, only for their number. Hints are missing if more are sought than there
        are messages; or if since the last look as many messages were taken as there were then, because a queue gives
        the oldest first. A hint that is called missing and is there becomes stale, which costs nothing.
        """
        sought = list(hints)
        bands = [band for band in broker_queues(name) if band in self._broker.queues]
        if not bands:
            return sought
        ready = sum(self.depth(bands).values())
        look = Look(frozenset(sought), ready, sum(self._published.get(band, 0) for band in bands))
        before = self._looks.get(name)
        self._looks[name] = look
        if before is None:
            return []
        taken_since = before.ready + look.published - before.published - ready
        if ready >= len(sought) and taken_since < before.ready:
            return []
        return [hint for hint in sought if hint in before.hints]

    def remove_leftovers(self, present: set[str]) -> None:
        """Do nothing: RabbitMQ returns the hints of a dead process to their queues."""

    def ping(self) -> None:
        """See ``Source``."""

        async def ping(session: Session) -> None:
            await session.call(session.channel.basic_qos, prefetch_count=0)

        self._connection.run(ping)

    def misconfigurations(self) -> list[str]:
        """Return an empty list: a client cannot read RabbitMQ's settings."""
        return []

    def close(self) -> None:
        """Close the process's connection."""
        self._connection.close()

    async def _declare_all(self, session: Session) -> None:
        # After a restart RabbitMQ may know none of them, and drop what is published.
        self._session, self._out, self._woken_by = session, {}, []
        for name in sorted(self._broker.queues):
            await self._declare(session, name)

    async def _declare(self, session: Session, name: str) -> int:
        """Make a queue unless it is there; return how many messages wait in it."""
        reply = await session.call(
            session.channel.queue_declare,
            queue=self._key(name),
            durable=True,
            arguments={"x-queue-type": self._kind},
        )
        return int(reply.message_count)

    def _note(self, name: str, body: bytes, delivered: Delivered) -> Taken:
        self._out.setdefault((name, body), []).append(delivered)
        return Taken(name, decode(body), body)

    def _acknowledge(self, taken: Sequence[Taken]) -> None:
        for channel, tag in self._known(taken):
            channel.basic_ack(tag)

    def _return(self, taken: Sequence[Taken]) -> None:
        for channel, tag in self._known(taken):
            channel.basic_nack(tag, requeue=True)

    def _known(self, taken: Sequence[Taken]) -> list[Delivered]:
        """Find what this session took, and forget it; what an older one took was returned when that one ended."""
        found = []
        for one in taken:
            key = (one.queue, one.body or b"")
            if held := self._out.get(key):
                found.append(held.pop())
                if not held:
                    del self._out[key]
        return found

    async def _now(self, act: Any, taken: Any) -> None:
        act(taken)

    def _key(self, name: str) -> str:
        return f"{self.namespace}.{name}"
