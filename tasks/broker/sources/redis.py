"""Hints through Redis: the keys and the script of Dramatiq's broker, used in batches."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis

from tasks.broker import dramatiq_internals
from tasks.broker.sources.base import Taken
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint, decode, encode
from tasks.priority import broker_queues

if TYPE_CHECKING:
    from redis.client import Pipeline


class RedisSource:
    """Hints through the keys of Dramatiq's Redis broker; a hint is its own message id and message body.

    Dramatiq's Lua script takes hints and puts them back, and keeps Dramatiq's guarantee: hints that a process took and
    did not acknowledge stay known. The script publishes and acknowledges one hint at a time; here that is two commands
    for a batch.

    A list per queue wakes idle workers. It holds one token at most, which wakes one process; if that process cannot
    take all hints, it wakes the next.
    """

    def __init__(self, broker: RedisBroker) -> None:
        self._broker = broker

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """See ``Source``."""
        by_queue = _by_queue((name, encode(hint)) for name, hint in hints)
        # A transaction, here and below: half of it would leave hints that no worker can find.
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
        # Only one thread takes for this process, and it has acknowledged all hints that it knows. The rest is foreign
        # (its id is not its body), or was taken by a call whose reply was lost: the sweeper requeues those tasks.
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

    def remove_leftovers(self, present: set[str]) -> None:
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

    def misconfigurations(self) -> list[str]:
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
        """Run commands of Dramatiq's script, and those that ``then`` adds to the pipeline, in one round trip."""
        if not commands and then is None:
            return []
        broker, script = self._broker, self._broker.scripts["dispatch"]
        with _translated():
            unpack = dramatiq_internals.max_unpack_size(broker)
            try:
                return self._pipeline(script.sha, unpack, commands, then)
            except redis.exceptions.NoScriptError:
                # Redis was restarted and has lost its scripts; none of the commands ran.
                broker.client.script_load(script.script)
                return self._pipeline(script.sha, unpack, commands, then)

    def _pipeline(
        self, sha: str, unpack: int, commands: Sequence[tuple[Any, ...]], then: "Callable[[Pipeline], object] | None"
    ) -> list[Any]:
        broker = self._broker
        with broker.client.pipeline(transaction=False) as pipe:
            for command, name, *args in commands:
                # The script's ARGV: command, time, queue, process, heartbeat timeout, dead letter TTL, maintenance
                # (never: it runs KEYS and brings back stale hints; see remove_leftovers()), unpack size, arguments.
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


class _translated:  # noqa: N801 - reads as a phrase: `with _translated():`
    """Turn the client's errors into ``BrokerUnavailable``."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, redis.RedisError | OSError):
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error
