"""The only code that knows a broker: one small class each, which carries hints and nothing else.

A hint is its own message id and message body. Private names of Dramatiq are touched here only;
``tests/engine/test_dramatiq_contract.py`` fails when an upgrade moves one.
"""

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import current_millis

from tasks.errors import BrokerUnavailable
from tasks.hint import Hint, decode, encode
from tasks.priority import broker_queues

if TYPE_CHECKING:
    from redis.client import Pipeline


class Taken(NamedTuple):
    """What came off a broker's queue; ``hint`` is None if it is not one of ours."""

    queue: str
    hint: Hint | None
    body: bytes | None


class Source(Protocol):
    """What the engine needs of a broker. Every method raises ``BrokerUnavailable`` if it does not answer.

    ``queues`` name the broker's queues ("default.high"), ``name`` one of ours ("default").
    """

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """Append hints to their queues and wake idle workers."""

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the hints that wait in each queue."""

    def take(self, queues: Sequence[str], limit: int, *, done: Sequence[Taken] = ()) -> list[Taken]:
        """Say what is ``done``, and take up to ``limit`` hints at once, queues in order of preference; never waits."""

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """Block until something may have been published to one of the queues, ``timeout`` seconds at most."""

    def done(self, taken: Sequence[Taken]) -> None:
        """Forget hints: their claims are committed, or they are stale or foreign."""

    def put_back(self, taken: Sequence[Taken]) -> None:
        """Return hints that were taken and not claimed."""

    def forget_taken(self, queues: Sequence[str]) -> None:
        """Forget whatever this process took and did not say to be done: it has none of it in hand."""

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        """Find which hints are in none of the waiting lists of a queue."""

    def tidy(self, present: set[str]) -> None:
        """Remove what processes left behind that are not among ``present`` worker ids."""

    def ping(self) -> None:
        """Return if the broker answers."""

    def risks(self) -> list[str]:
        """Say what about the broker's settings is unfit for hints."""


class RedisSource:
    """Hints through the keys of Dramatiq's Redis broker.

    Its Lua script takes and puts back, and keeps Dramatiq's guarantee: what a process took and did not acknowledge
    stays known. To publish and to acknowledge are two commands in there for each hint; here they are two for a batch.

    A list per queue wakes idle workers. It holds one token at most, which wakes one process; if that cannot take all
    there is, it wakes the next.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """See ``Source``."""
        by_queue = _by_queue((name, encode(hint)) for name, hint in hints)
        # A transaction, here and below: half of it would leave hints that nobody looks for.
        with _translated(), self._broker.client.pipeline(transaction=True) as pipe:
            for name, ids in by_queue.items():
                pipe.hset(self._messages_key(name), mapping={id: id for id in ids})
                pipe.rpush(self._key(name), *ids)
            self._wake(pipe, by_queue)
            pipe.execute()

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """See ``Source``."""
        return self._settle([], queues)

    def take(self, queues: Sequence[str], limit: int, *, done: Sequence[Taken] = ()) -> list[Taken]:
        """See ``Source``."""
        commands, left = [], []
        for name, depth in self._settle(done, queues).items():
            count = min(depth, limit)
            limit -= count
            if count:
                commands.append(("fetch", name, count))
            if depth > count:
                left.append(name)
        if not commands:
            return []
        replies = self._run(commands, then=lambda pipe: self._wake(pipe, left))
        return [
            Taken(command[1], decode(body), body)
            for command, bodies in zip(commands, replies, strict=False)
            for body in bodies
        ]

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """See ``Source``."""
        # Below the client's socket timeout, or an idle queue would look like a dead server.
        with _translated():
            self._broker.client.blpop([self._wake_key(name) for name in queues], timeout=min(timeout, 2))

    def done(self, taken: Sequence[Taken]) -> None:
        """See ``Source``."""
        self._settle(taken, [])

    def _settle(self, done: Sequence[Taken], queues: Sequence[str]) -> dict[str, int]:
        """Forget hints that are done, and count those that wait in each queue, in one round trip."""
        names = sorted({one.queue for one in done})
        with _translated(), self._broker.client.pipeline(transaction=bool(done)) as pipe:
            self._acknowledge(pipe, _hints_by_queue(done))
            for name in names:
                pipe.scard(self._acks_key(name))
            for name in queues:
                pipe.llen(self._key(name))
            numbers = pipe.execute()[-len(names) - len(queues) :]
        self.forget_taken([name for name, left in zip(names, numbers, strict=False) if left])
        return dict(zip(queues, numbers[len(names) :], strict=True))

    def put_back(self, taken: Sequence[Taken]) -> None:
        """See ``Source``."""
        ids = _hints_by_queue(taken)
        self._run([("requeue", name, *some) for name, some in ids.items()])

    def forget_taken(self, queues: Sequence[str]) -> None:
        """See ``Source``."""
        # Only one thread takes for this process, and it has acknowledged all that it knows. What is left is foreign
        # (its id is not its body), or was taken by a call whose reply was lost: the sweeper finds the tasks of those.
        client = self._broker.client
        with _translated(), client.pipeline(transaction=True) as pipe:
            ids: Any = {name: client.smembers(self._acks_key(name)) for name in queues}
            self._acknowledge(pipe, {name: found for name, found in ids.items() if found})
            pipe.execute()

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        """See ``Source``."""
        with _translated(), self._broker.client.pipeline(transaction=False) as pipe:
            for band in broker_queues(name):
                pipe.lrange(self._key(band), 0, -1)
            ready = {body for bodies in pipe.execute() for body in bodies}
        return [hint for hint in hints if encode(hint).encode() not in ready]

    def tidy(self, present: set[str]) -> None:
        """See ``Source``."""
        client, namespace = self._broker.client, self._broker.namespace
        with _translated():
            silent: Any = client.zrangebyscore(f"{namespace}:__heartbeats__", 0, current_millis() - 60_000)
            for process in {name.decode() for name in silent} - present:
                for key in client.scan_iter(match=f"{namespace}:__acks__.{process}.*", count=1000):
                    name = key.decode().rpartition(f"{process}.")[2]
                    ids = client.smembers(key)
                    client.hdel(self._messages_key(name), *ids)
                    client.delete(key)
                client.zrem(f"{namespace}:__heartbeats__", process)

    def ping(self) -> None:
        """See ``Source``."""
        with _translated():
            self._broker.client.ping()

    def risks(self) -> list[str]:
        """See ``Source``."""
        with _translated():
            memory: Any = self._broker.client.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy == "noeviction":
            return []
        return [f"maxmemory-policy is {policy}: Redis may drop hints, whose tasks then wait; set it to noeviction"]

    def _acknowledge(self, pipe: "Pipeline", ids: Mapping[str, Collection[Any]]) -> None:
        for name, some in ids.items():
            pipe.srem(self._acks_key(name), *some)
            pipe.hdel(self._messages_key(name), *some)

    def _wake(self, pipe: "Pipeline", names: Iterable[str]) -> None:
        for name in names:
            key = self._wake_key(name)
            pipe.rpush(key, b"1")
            pipe.ltrim(key, -1, -1)

    def _key(self, name: str) -> str:
        return f"{self._broker.namespace}:{name}"

    def _messages_key(self, name: str) -> str:
        return f"{self._key(name)}.msgs"

    def _acks_key(self, name: str) -> str:
        return f"{self._broker.namespace}:__acks__.{self._broker.broker_id}.{name}"

    def _wake_key(self, name: str) -> str:
        return f"{self._broker.namespace}:__wake__.{name}"

    def _run(
        self, commands: Sequence[tuple[Any, ...]], *, then: "Callable[[Pipeline], object] | None" = None
    ) -> list[Any]:
        """Run commands of the stock script, and what ``then`` adds to the pipeline, in one round trip."""
        if not commands and then is None:
            return []
        broker, script = self._broker, self._broker.scripts["dispatch"]
        with _translated():
            unpack: int = broker._max_unpack_size()  # type: ignore[no-untyped-call]
            try:
                return self._pipeline(script.sha, unpack, commands, then)
            except redis.exceptions.NoScriptError:
                # Redis was restarted and forgot its scripts; none of the commands ran.
                broker.client.script_load(script.script)
                return self._pipeline(script.sha, unpack, commands, then)

    def _pipeline(
        self, sha: str, unpack: int, commands: Sequence[tuple[Any, ...]], then: "Callable[[Pipeline], object] | None"
    ) -> list[Any]:
        broker = self._broker
        with broker.client.pipeline(transaction=False) as pipe:
            for command, name, *args in commands:
                # The script's ARGV: command, time, queue, process, heartbeat timeout, dead letter TTL, maintenance
                # (never: it runs KEYS and brings back stale hints; tidy() does what is needed), unpack size, arguments.
                pipe.evalsha(
                    sha, 1, broker.namespace, command, current_millis(), name, broker.broker_id,
                    broker.heartbeat_timeout, broker.dead_message_ttl, 0, unpack, *args,
                )  # fmt: skip
            if then is not None:
                then(pipe)
            return list(pipe.execute())


def _by_queue(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    ids: dict[str, list[str]] = {}
    for name, id in pairs:
        ids.setdefault(name, []).append(id)
    return ids


def _hints_by_queue(taken: Iterable[Taken]) -> dict[str, list[str]]:
    return _by_queue((one.queue, encode(one.hint)) for one in taken if one.hint is not None)


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
        """No reply gets lost on the way to memory."""

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        """See ``Source``."""
        # A queue that an older release declared is not here, and nothing of it survived.
        bands = [self._broker.queues[band] for band in broker_queues(name) if band in self._broker.queues]
        ready = {body for band in bands for body in list(band.queue)}
        return [hint for hint in hints if encode(hint).encode() not in ready]

    def tidy(self, present: set[str]) -> None:
        """Nothing outlives the process."""

    def ping(self) -> None:
        """Always there."""

    def risks(self) -> list[str]:
        """None in memory."""
        return []


class _translated:  # noqa: N801 - reads as a phrase: `with _translated():`
    """Turn the client's errors into ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, redis.RedisError | OSError):
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error
