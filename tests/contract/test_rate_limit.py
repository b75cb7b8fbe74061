"""Token buckets, in Redis and in memory."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from uuid import uuid4

import pytest
import redis

from tasks.checks import check_submission_limit
from tasks.contract.rate_limit import MemoryBuckets, Rate, RedisBuckets

RATE = Rate(50, 60)


def test_a_bucket_fills_smoothly():
    clock = SimpleNamespace(now=1000.0)
    buckets = MemoryBuckets(clock=lambda: clock.now)
    assert buckets.take(["a"], 50, RATE).is_allowed
    refused = buckets.take(["a"], 1, RATE)
    assert not refused.is_allowed
    assert refused.wait_seconds == pytest.approx(1.2)
    clock.now += 1.1
    assert not buckets.take(["a"], 1, RATE).is_allowed
    clock.now += 0.2
    assert buckets.take(["a"], 1, RATE).is_allowed
    clock.now += 3600
    assert buckets.take(["a"], 1, RATE).left == 49


class _Hesitant(MemoryBuckets):
    """Lets others have a turn between looking and taking."""

    def _level(self, *args):
        level = super()._level(*args)
        time.sleep(0.0001)
        return level


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_however_many_ask_at_once_no_more_than_the_budget_is_admitted(kind, redis_url):
    buckets = RedisBuckets(redis_url, f"test-{uuid4()}") if kind == "redis" else _Hesitant()
    # It fills by less than a unit while this test runs.
    budget, sizes = Rate(1_000, 86_400), [1, 2, 3, 5, 7] * 100
    with ThreadPoolExecutor(20) as threads:
        verdicts = list(threads.map(lambda size: buckets.take(["ip", f"token.{size}"], size, budget), sizes))
    admitted = sum(size for size, verdict in zip(sizes, verdicts, strict=True) if verdict.is_allowed)
    assert sum(sizes) == 1_800
    assert admitted == 1_000
    assert 0 <= min(verdict.left for verdict in verdicts) < 1


def test_a_bucket_in_redis_fills_smoothly_on_its_own_clock(redis_url):
    buckets, fast = RedisBuckets(redis_url, "test-refill"), Rate(1000, 1)
    key = f"{id(buckets)}"
    assert buckets.take([key], 1000, fast).is_allowed
    left = [buckets.take([key], 0, fast).left for _ in range(50)]
    assert left == sorted(left)
    assert 0 < left[-1] < 1000


def test_a_full_bucket_takes_no_room_in_redis(redis_url):
    client = redis.Redis.from_url(redis_url)
    RedisBuckets(redis_url, "test-expiry").take(["a"], 25, RATE)
    try:
        assert 29_000 < client.pttl("test-expiry:__limit__.a") <= 31_000
    finally:
        client.delete("test-expiry:__limit__.a")


def test_buckets_in_memory_do_not_pile_up(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    buckets = MemoryBuckets(clock=lambda: clock.now)
    monkeypatch.setattr(MemoryBuckets, "_MOST", 10)
    for number in range(100):
        clock.now += 2
        buckets.take([str(number)], 1, RATE)
    assert len(buckets._held) <= 11


@pytest.mark.parametrize(
    ("redis_there", "limit", "processes", "found"),
    [("redis://h", (50, 60), 4, []), ("", (50, 60), 1, []), ("", None, 4, []), ("", (50, 60), 4, ["callboard.E002"])],
)
def test_buckets_in_memory_are_for_one_process(settings, redis_there, limit, processes, found):
    settings.REDIS_URL, settings.SUBMIT_RATE_LIMIT, settings.WEB_CONCURRENCY = redis_there, limit, processes
    assert [error.id for error in check_submission_limit()] == found
