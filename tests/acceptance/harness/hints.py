"""The broker's queues, read and tampered with as a faulty or hostile client of the same broker could do."""

from contextlib import closing
from typing import Any

import pika
from dramatiq.brokers.redis import RedisBroker

from tasks.broker import redis_url
from tasks.priority import BANDS, broker_queue

NAMESPACE = "callboard"


class Hints:
    """One Redis as Dramatiq's stock broker and script see it."""

    def __init__(self, url: str) -> None:
        self.client = redis_url.client(url, socket_timeout=5)
        self._broker = RedisBroker(client=self.client, namespace=NAMESPACE, middleware=[])

    def push(self, body: bytes | str, *, queue: str = "default.medium", id: str | None = None) -> None:
        """Append a message to a list with the stock script; its id is its own text by default."""
        body = body.encode() if isinstance(body, str) else body
        self._broker.do_enqueue(queue, id or body, body)

    def waiting(self, queue: str = "default") -> dict[str, int]:
        """Count the hints in each band's list; empty lists are left out."""
        names = [broker_queue(queue, band.name) for band in BANDS]
        lengths = {name: int(self.client.llen(f"{NAMESPACE}:{name}")) for name in names}
        return {name: length for name, length in lengths.items() if length}

    def unacknowledged(self, worker: str) -> set[str]:
        """Find hints that a worker took and did not acknowledge."""
        keys = self.client.scan_iter(match=f"{NAMESPACE}:__acks__.{worker}.*")
        members: Any = [id for key in keys for id in self.client.smembers(key)]
        return {id.decode(errors="replace") for id in members}

    def bodies(self, queue: str = "default.medium") -> int:
        """Count the messages whose body is kept, whether they wait or were taken."""
        return int(self.client.hlen(f"{NAMESPACE}:{queue}.msgs"))

    def flush(self) -> None:
        """Delete everything."""
        self.client.flushall()


class RabbitHints:
    """One RabbitMQ as any client sees it."""

    def __init__(self, url: str) -> None:
        self._parameters = pika.URLParameters(url)

    def waiting(self, queue: str = "default") -> dict[str, int]:
        """Count the hints that wait in each band's queue; empty queues are left out."""
        names = [broker_queue(queue, band.name) for band in BANDS]
        with closing(pika.BlockingConnection(self._parameters)) as connection:
            channel = connection.channel()
            lengths = {
                name: channel.queue_declare(f"{NAMESPACE}.{name}", passive=True).method.message_count for name in names
            }
        return {name: length for name, length in lengths.items() if length}

    def unacknowledged(self, worker: str) -> set[str]:
        """Return nothing: RabbitMQ returns what a connection has not acknowledged."""
        return set()

    def flush(self) -> None:
        """Delete all hints."""
        with closing(pika.BlockingConnection(self._parameters)) as connection:
            channel = connection.channel()
            for band in BANDS:
                channel.queue_purge(f"{NAMESPACE}.{broker_queue('default', band.name)}")
