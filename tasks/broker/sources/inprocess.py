"""Hints through memory: the queues of Dramatiq's stub broker."""

import queue
import threading
from collections.abc import Iterable, Sequence

from dramatiq.brokers.stub import StubBroker

from tasks.broker.sources.base import Taken
from tasks.hint import Hint, decode, encode
from tasks.priority import broker_queues


class InProcessSource:
    """Hints through the queues of Dramatiq's stub broker, for a scheduler and workers in one process."""

    def __init__(self, broker: StubBroker) -> None:
        self._broker = broker
        self._published = threading.Condition()

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """See ``Source``."""
        with self._published:
            for name, hint in hints:
                self._broker.queues[name].put(encode(hint).encode())
            self._published.notify_all()

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """See ``Source``."""
        return {name: self._broker.queues[name].qsize() for name in queues}

    def take(self, queues: Sequence[str], limit: int, *, done: Sequence[Taken] = ()) -> list[Taken]:
        """See ``Source``."""
        self.done(done)
        taken: list[Taken] = []
        for name in queues:
            while len(taken) < limit:
                try:
                    body = self._broker.queues[name].get_nowait()
                except queue.Empty:
                    break
                taken.append(Taken(name, decode(body), body))
        return taken

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """See ``Source``."""
        with self._published:
            self._published.wait_for(lambda: any(self.depth(queues).values()), timeout)

    def done(self, taken: Sequence[Taken]) -> None:
        """See ``Source``."""
        for one in taken:
            self._broker.queues[one.queue].task_done()

    def put_back(self, taken: Sequence[Taken]) -> None:
        """See ``Source``."""
        for one in taken:
            self._broker.queues[one.queue].put(one.body)
            self._broker.queues[one.queue].task_done()

    def forget_taken(self, queues: Sequence[str]) -> None:
        """Do nothing: memory loses no reply."""

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        """See ``Source``."""
        # The queue may be undeclared here, if an older release declared it; none of its hints survived.
        bands = [self._broker.queues[band] for band in broker_queues(name) if band in self._broker.queues]
        ready = {body for band in bands for body in list(band.queue)}
        return [hint for hint in hints if encode(hint).encode() not in ready]

    def remove_leftovers(self, present: set[str]) -> None:
        """Do nothing: hints end with the process."""

    def ping(self) -> None:
        """Return: memory always answers."""

    def misconfigurations(self) -> list[str]:
        """Return an empty list: memory has no settings."""
        return []
