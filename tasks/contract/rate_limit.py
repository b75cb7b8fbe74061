"""The submission limit: each task that a request makes run costs a unit, per client address and per API token.

The units are in token buckets in Redis. One script fills and empties them on Redis's clock, so any number of api
processes share them. Without Redis one process may keep them in memory (``callboard.E002`` refuses more).
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import redis

from tasks.broker import redis_url
from tasks.circuit_breaker import CircuitBreaker
from tasks.conf import conf
from tasks.contract.access import Caller
from tasks.errors import LimiterUnavailable, TooManyAtOnce, TooManyTasks
from tasks.log import get_logger
from tasks.telemetry import metrics

log = get_logger(__name__)

REDIS_TIMEOUT_SECONDS = 1.0

#: The name of the limit in headers.
_POLICY = "submit"


@dataclass(frozen=True)
class Rate:
    """A number of units per period; a full bucket holds the units of one period."""

    units: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The rate at which a bucket fills."""
        return self.units / self.seconds

    def headers(self) -> dict[str, str]:
        """Write the headers that describe the limit."""
        return {
            "RateLimit-Limit": str(self.units),
            "RateLimit-Policy": f'"{_POLICY}";q={self.units};w={math.ceil(self.seconds)}',
        }


@dataclass(frozen=True)
class Verdict:
    """The buckets' answer: whether all hold enough, the content of the emptiest, and the time until it holds enough."""

    is_allowed: bool
    left: float
    wait_seconds: float

    def headers(self, rate: Rate) -> dict[str, str]:
        """Write the headers of draft-ietf-httpapi-ratelimit-headers (to -06 and since) and Retry-After (RFC 9110)."""
        left, full_in = math.floor(self.left), math.ceil((rate.units - self.left) / rate.per_second)
        headers = rate.headers() | {
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(full_in),
            "RateLimit": f'"{_POLICY}";r={left};t={full_in}',
        }
        if not self.is_allowed:
            headers["Retry-After"] = str(max(1, math.ceil(self.wait_seconds)))
        return headers


class Buckets(Protocol):
    """Where token buckets are kept."""

    def ping(self) -> None:
        """Ask for a sign of life."""

    def take(self, keys: Sequence[str], units: int, rate: Rate) -> Verdict:
        """Take ``units`` out of every bucket, or out of none if one of them does not hold enough."""


# KEYS: the buckets. ARGV: units, capacity, units per microsecond. A bucket is a hash: its content and
# the time of it. A bucket expires when it is full again, because a missing bucket counts as full.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local units, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held, least = {}, capacity
for i, key in ipairs(KEYS) do
    local bucket = redis.call('HMGET', key, 'held', 'at')
    local before = tonumber(bucket[1]) or capacity
    held[i] = math.min(capacity, before + math.max(0, now - (tonumber(bucket[2]) or now)) * rate)
    least = math.min(least, held[i])
end
local allowed = least >= units
if allowed then
    for i, key in ipairs(KEYS) do
        local after = held[i] - units
        redis.call('HSET', key, 'held', string.format('%.6f', after), 'at', string.format('%.0f', now))
        redis.call('PEXPIRE', key, math.ceil((capacity - after) / rate / 1000) + 1000)
    end
    least = least - units
end
return {allowed and 1 or 0, string.format('%.6f', least)}
"""


class RedisBuckets:
    """Buckets that all api processes share."""

    def __init__(self, url: str, namespace: str) -> None:
        self._client = redis_url.client(
            url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS
        )
        self._script = self._client.register_script(_SCRIPT)
        self._prefix = f"{namespace}:__limit__"

    def ping(self) -> None:
        """See ``Buckets``; raises redis.RedisError."""
        self._client.ping()

    def take(self, keys: Sequence[str], units: int, rate: Rate) -> Verdict:
        """See ``Buckets``; raises redis.RedisError."""
        reply: Any = self._script(
            keys=[f"{self._prefix}.{key}" for key in keys],
            args=[units, rate.units, repr(rate.per_second / 1_000_000)],
        )
        return _verdict(bool(reply[0]), float(reply[1]), units, rate)


class MemoryBuckets:
    """Buckets of this process only."""

    #: Above this number, full buckets are dropped.
    _MOST = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: The content, the time of it, and when the bucket is full again.
        self._held: dict[str, tuple[float, float, float]] = {}

    def ping(self) -> None:
        """See ``Buckets``; memory is always there."""

    def take(self, keys: Sequence[str], units: int, rate: Rate) -> Verdict:
        """See ``Buckets``."""
        with self._lock:
            now = self._clock()
            held = {key: self._level(key, now, rate) for key in keys}
            least = min(held.values())
            if least >= units:
                for key, level in held.items():
                    left = level - units
                    self._held[key] = (left, now, now + (rate.units - left) / rate.per_second)
            if len(self._held) > self._MOST:
                self._held = {key: bucket for key, bucket in self._held.items() if bucket[2] > now}
        is_allowed = least >= units
        return _verdict(is_allowed, least - units if is_allowed else least, units, rate)

    def _level(self, key: str, now: float, rate: Rate) -> float:
        level, at, _ = self._held.get(key, (rate.units, now, now))
        return min(rate.units, level + (now - at) * rate.per_second)


def _verdict(is_allowed: bool, left: float, units: int, rate: Rate) -> Verdict:
    return Verdict(is_allowed, left, 0.0 if is_allowed else (units - left) / rate.per_second)


@cache
def _buckets() -> Buckets:
    if conf.REDIS_URL:
        return RedisBuckets(conf.REDIS_URL, conf.BROKER_NAMESPACE)
    return MemoryBuckets()


#: Whether Redis answers. The login limit uses it too: its counters are in the same Redis.
breaker = CircuitBreaker("limiter", lambda: _buckets().ping())


def take(keys: Sequence[str], units: int, rate: Rate) -> Verdict | None:
    """Take units out of the process's buckets; None if they do not answer, or did not a moment ago."""
    if breaker.is_open:
        return None
    try:
        return _buckets().take(keys, units, rate)
    except redis.RedisError as error:
        breaker.trip()
        metrics.server_errors.labels("limiter", "api").inc()
        log.warning("the limits cannot be checked", submissions_allowed=conf.SUBMIT_RATE_FAIL_OPEN, error=str(error))
        return None


class SubmissionLimit:
    """The ``admit`` of one request: lifecycle calls it for what it is about to make run; other calls are free."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        #: For the answer; empty for an exempt caller, and if nothing is made to run.
        self.headers: dict[str, str] = {}

    def __call__(self, units: int) -> None:
        """Take ``units`` tasks out of the caller's buckets.

        Raises:
            TooManyTasks: a bucket does not hold enough; nothing was taken.
            TooManyAtOnce: no bucket ever holds that many.
            LimiterUnavailable: the buckets do not answer, and SUBMIT_RATE_FAIL_OPEN is off.
        """
        self.headers = _check(self._caller, units)


def _check(caller: Caller, units: int) -> dict[str, str]:
    if conf.SUBMIT_RATE_LIMIT is None or not caller.is_limited:
        return {}
    rate = Rate(*conf.SUBMIT_RATE_LIMIT)
    keys = [f"ip.{caller.address}"]
    if caller.token is not None:
        keys.append(f"token.{caller.token.pk}")
    if units > rate.units:
        # No Retry-After: a bucket never holds that many.
        raise TooManyAtOnce(
            f"expected at most {rate.units} tasks at once, as many as are allowed in {rate.seconds:g} s, got {units}; "
            "split them",
            headers=rate.headers(),
        )
    verdict = take(keys, units, rate)
    if verdict is None:
        if conf.SUBMIT_RATE_FAIL_OPEN:
            return {}
        raise LimiterUnavailable
    if not verdict.is_allowed:
        metrics.rate_limited.labels("submit").inc()
        raise TooManyTasks(
            f"expected at most {math.floor(verdict.left)} tasks now, got {units}; "
            f"the limit is {rate.units} tasks in {rate.seconds:g} s",
            headers=verdict.headers(rate),
        )
    return verdict.headers(rate)
