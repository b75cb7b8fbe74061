"""A dispatcher whose rounds are measured, and workers that exist as rows only."""

import threading
import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db import connection
from dramatiq.brokers.redis import RedisBroker

from tasks.broker.sources.redis import RedisSource
from tasks.hint import Hint
from tasks.lifecycle import Submission, submit_many, workers
from tasks.models import Queue, new_id
from tasks.scheduler.dispatcher import Dispatcher
from tasks.scheduler.leadership import Leadership
from tasks.scheduler.process import broker

LONGEST_WAIT_SECONDS = 300


class Round(NamedTuple):
    """One round of the dispatcher."""

    seconds: float
    statements: int


class Simulated(RedisSource):
    """A dispatcher, and the broker to which it publishes, whose workers take all hints at once."""

    def __init__(self) -> None:
        redis_broker = broker()
        assert isinstance(redis_broker, RedisBroker)
        super().__init__(redis_broker)
        self._leadership = Leadership()
        self._dispatcher = _Measured(self._leadership, self)
        self._published = threading.Condition()
        self._count = 0

    def __enter__(self) -> Self:
        self._leadership.step()
        self._leadership.start()
        self._dispatcher.start()
        while not self.finish():
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._dispatcher.stop()
        self._leadership.stop()
        self._leadership.resign()
        self._broker.client.flushall()

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Ask Redis, and say that workers took all."""
        return dict.fromkeys(super().depth(queues), 0)

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """Publish, and count."""
        super().publish_many(hints)
        with self._published:
            self._count += len(hints)
            self._published.notify_all()

    @property
    def session(self) -> int:
        """The process of the dispatcher's session in PostgreSQL."""
        return self._dispatcher.session

    @property
    def cpu_seconds(self) -> float:
        """What the dispatcher's thread has used."""
        return self._dispatcher.cpu_seconds

    def finish(self) -> list[Round]:
        """Return the rounds since the last call."""
        rounds, self._dispatcher.rounds = self._dispatcher.rounds, []
        return rounds

    def submit(self, queue: str) -> float:
        """Submit one task; return how many seconds after the wake-up its hint is published."""
        goal = self._count + 1
        submit_many([Submission(actor="noop", payload={"number": 1}, queue=queue)])
        began = time.monotonic()
        self._dispatcher.wake(from_front=False)
        self._await(goal)
        return time.monotonic() - began

    def hold(self) -> None:
        """Let the dispatcher wait until ``dispatch``."""
        self._dispatcher.turn.acquire()

    def dispatch(self, count: int) -> float:
        """Let the dispatcher go on until so many waiting tasks are published; return how many seconds that takes."""
        goal, began = self._count + count, time.monotonic()
        self._dispatcher.wake()
        self._dispatcher.turn.release()
        self._await(goal)
        return time.monotonic() - began

    @property
    def redis_bytes(self) -> int:
        """The memory of Redis."""
        return int(self._broker.client.info("memory")["used_memory"])

    def _await(self, goal: int) -> None:
        with self._published:
            if not self._published.wait_for(lambda: self._count >= goal, timeout=LONGEST_WAIT_SECONDS):
                raise SystemExit(f"only {self._count} of {goal} tasks were dispatched in {LONGEST_WAIT_SECONDS} s")


class _Measured(Dispatcher):
    def __init__(self, leadership: Leadership, source: Simulated) -> None:
        super().__init__(leadership, source)
        self.rounds: list[Round] = []
        self.turn = threading.Lock()
        self.cpu_seconds, self.session, self._statements = 0.0, 0, 0

    def step(self) -> float:
        with self.turn:
            return self._measured_step()

    def _measured_step(self) -> float:
        began = time.perf_counter()
        self._statements = 0
        with connection.execute_wrapper(self._counted):
            rest = super().step()
        self.cpu_seconds = time.thread_time()
        self.rounds.append(Round(time.perf_counter() - began, self._statements))
        self.session = connection.connection.info.backend_pid
        return rest

    def _counted(self, execute: Any, *arguments: Any) -> Any:
        self._statements += 1
        return execute(*arguments)


def register(queues: int, count: int, *, serving: int, threads: int) -> tuple[list[str], list[UUID]]:
    """Make rows of queues and workers; return the queues' names and the workers' ids.

    Parameters:
        serving: number of queues that each worker serves.
    """
    names = [f"queue-{number}" for number in range(queues)]
    Queue.objects.bulk_create([Queue(name=name) for name in names])
    ids, served = [new_id() for _ in range(count)], cycle(names)
    for worker in ids:
        workers.register(worker, queues=list(islice(served, min(serving, queues))), threads=threads)
    return names, ids
