"""Limiters and barriers in actors; after Dramatiq's tests of ``rate_limits``."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.rate_limits import Barrier, BucketRateLimiter, ConcurrentRateLimiter, RateLimitExceeded, WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend, StubBackend

from tasks.broker import redis_url
from tasks.models import Task, new_id
from tasks.states import Status
from tasks.testing import drain
from tests.waiting import wait_until

got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both back ends, one after the other."""
    if request.param == "memory":
        yield StubBackend()
    elif not os.environ.get("REDIS_URL"):
        pytest.skip("needs Redis")
    else:
        client = redis_url.client(os.environ["REDIS_URL"])
        yield RedisBackend(client=client)
        client.close()


@pytest.fixture
def key() -> str:
    return str(new_id())


def test_a_mutex_is_released_after_each_run(run, backend, key) -> None:
    mutex = ConcurrentRateLimiter(backend, key, limit=1)

    @dramatiq.actor(max_retries=0)
    def alone() -> None:
        with mutex.acquire():
            got.append(1)

    for _ in range(8):
        alone.send()
    run()
    assert len(got) == 8


def test_a_mutex_is_released_after_a_failure(run, backend, key) -> None:
    mutex = ConcurrentRateLimiter(backend, key, limit=1)

    @dramatiq.actor(max_retries=2)
    def alone() -> None:
        with mutex.acquire():
            got.append(1)
            raise RuntimeError

    run(alone.send())
    assert len(got) == 3


def test_a_busy_mutex_is_waited_for_by_retries(run, backend, key) -> None:
    mutex = ConcurrentRateLimiter(backend, key, limit=1)

    @dramatiq.actor(max_retries=2)
    def alone() -> None:
        with mutex.acquire():
            got.append(1)

    with mutex.acquire():
        sent = alone.send()
        drain()
        assert Task.objects.get(pk=sent.message_id).status == Status.RETRYING
    assert run(sent).status == Status.SUCCEEDED


def test_a_busy_mutex_can_be_passed_by(run, backend, key) -> None:
    mutex = ConcurrentRateLimiter(backend, key, limit=1)

    @dramatiq.actor
    def alone() -> None:
        with mutex.acquire(raise_on_failure=False) as acquired:
            got.append(acquired)

    with mutex.acquire():
        run(alone.send())
    assert got == [False]


def test_a_limiter_lets_as_many_in_as_it_says(backend, key) -> None:
    limiter, barrier, taken = ConcurrentRateLimiter(backend, key, limit=4), threading.Barrier(8), []

    def work() -> None:
        barrier.wait(10)
        with limiter.acquire(raise_on_failure=False) as acquired:
            taken.append(bool(acquired))
            wait_until(lambda: len(taken) == 8)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(15)
    assert sum(taken) == 4


def test_a_window_lets_so_many_in(run, backend, key) -> None:
    window = WindowRateLimiter(backend, key, limit=3, window=3_600)

    @dramatiq.actor(max_retries=0)
    def work() -> None:
        with window.acquire():
            got.append(1)

    for _ in range(5):
        work.send()
    run()
    assert len(got) == 3


def test_a_bucket_lets_so_many_in(run, backend, key) -> None:
    bucket = BucketRateLimiter(backend, key, limit=3, bucket=3_600_000)

    @dramatiq.actor(max_retries=0)
    def work() -> None:
        with bucket.acquire():
            got.append(1)

    for _ in range(5):
        work.send()
    run()
    assert len(got) == 3


def test_a_limit_that_is_reached_is_an_exception(backend, key) -> None:
    bucket = BucketRateLimiter(backend, key, limit=1, bucket=3_600_000)
    with bucket.acquire():
        pass
    with pytest.raises(RateLimitExceeded), bucket.acquire():
        pass


def test_the_last_at_a_barrier_is_told(run, backend, key) -> None:
    barrier = Barrier(backend, key, ttl=30_000)
    assert barrier.create(parties=3)
    assert not barrier.create(parties=10)

    @dramatiq.actor
    def arrive() -> None:
        got.append(barrier.wait(block=False))

    for _ in range(3):
        arrive.send()
    run()
    assert got == [False, False, True]


def test_waiting_at_a_barrier_has_an_end(backend, key) -> None:
    barrier = Barrier(backend, key, ttl=30_000)
    barrier.create(parties=2)
    began = time.monotonic()
    assert not barrier.wait(timeout=1_000)
    assert time.monotonic() - began < 10


def test_a_barrier_opens_for_all(backend, key) -> None:
    barrier = Barrier(backend, key, ttl=30_000)
    barrier.create(parties=2)
    threads = [threading.Thread(target=lambda: got.append(barrier.wait(timeout=10_000))) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(15)
    assert got == [True, True]
