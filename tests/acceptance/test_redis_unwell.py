"""F6: Redis is up but useless: frozen, read-only, out of memory, or closing all connections."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis

from tests.acceptance.harness.faults import frozen
from tests.acceptance.harness.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

FAULT = "F6"


@contextmanager
def standing_still(rig: Rig) -> Iterator[None]:
    with frozen(rig.redis):
        yield


@contextmanager
def read_only(rig: Rig) -> Iterator[None]:
    """Make it the replica of a master that does not exist."""
    with rig.hints.client as client:
        client.replicaof("127.0.0.1", 1)
        yield
        client.replicaof("NO", "ONE")


@contextmanager
def out_of_memory(rig: Rig) -> Iterator[None]:
    with rig.hints.client as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


def refused(rig: Rig) -> type[Exception] | None:
    """Write something; return the error."""
    with redis.Redis.from_url(rig.redis.url, socket_timeout=1) as client:
        try:
            client.set("probe", "x")
        except redis.RedisError as error:
            return type(error)
    return None


@pytest.mark.parametrize(
    ("fault", "error", "seconds"),
    [
        pytest.param(standing_still, redis.TimeoutError, 15, id="frozen"),
        pytest.param(read_only, redis.exceptions.ReadOnlyError, 10, id="read-only"),
        pytest.param(out_of_memory, redis.exceptions.OutOfMemoryError, 10, id="out of memory"),
    ],
)
def test_submission_goes_on_and_all_runs_afterwards(
    rig: Rig, fault: Callable[[Rig], AbstractContextManager[None]], error: type[Exception], seconds: float
) -> None:
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    api = rig.start_api()
    rig.client.submit("last", count=60, seconds=0.1)
    rig.await_effects(5)
    with fault(rig):
        began = time.monotonic()
        assert refused(rig) is error
        while time.monotonic() - began < seconds:
            assert api.submit("effect").status == 201
        assert refused(rig) is error
        assert rig.database.counts()["PENDING"] > 0, "nothing waits: the broker was not needed"
    assert refused(rig) is None
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}
    assert {row.failures + row.crashes for row in rig.database.snapshot().tasks} == {0}
    assert "another takes its place" not in workers.log.read_text(), "a broker that is away ends no worker"


def test_every_connection_to_redis_is_ended_again_and_again(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    rig.client.submit("last", count=100, seconds=0.1)
    ended = []
    with rig.hints.client as client:
        for step in range(8):
            rig.await_effects(5 + step * 10, timeout=40)
            ended.append(int(client.client_kill_filter(_type="normal", skipme=True)))
    # At least one each of the scheduler and the two workers, unless they had not reconnected yet.
    assert max(ended) >= 3
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}
