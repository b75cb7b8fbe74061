"""The limit of refused requests: wrong tokens and hostile bodies cannot be tried without end.

Its buckets are larger than those of submissions, and separate, so that a client with a mistake can still submit.
"""

import math
import time
from collections.abc import Callable

from tasks.conf import conf
from tasks.contract.access import Caller
from tasks.contract.rate_limit import Rate, take
from tasks.errors import TooManyRefused
from tasks.telemetry import metrics

#: The HTTP statuses of refusals that count: all but those of a good request that came too late (409, 412).
REFUSED = frozenset({400, 401, 403, 404, 405, 413, 415, 422, 429})

#: A refused body costs one unit more for each of these.
BYTES_PER_UNIT = 64 * 1024


class RefusalLimit:
    """Refused requests of a token, or of an address for callers without a valid one.

    Only refusals ask the buckets. Which callers have used theirs up is remembered in this process, so requests that are
    not refused cost nothing.
    """

    #: Above this number, callers that may try again are forgotten.
    _MOST = 10_000

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked_until: dict[str, float] = {}

    def check(self, key: str) -> None:
        """Refuse a request before anything is spent on it.

        Raises:
            TooManyRefused: this caller's bucket was empty, and is still.
        """
        until = self._blocked_until.get(key)
        if until is None or conf.REFUSED_RATE_LIMIT is None:
            return
        wait = until - self._clock()
        if wait > 0:
            metrics.rate_limited.labels("refusals").inc()
            raise TooManyRefused(headers={"Retry-After": str(max(1, math.ceil(wait)))})
        self._blocked_until.pop(key, None)

    def note(self, key: str, *, size: int = 0) -> None:
        """Count a refused request; a refusal that cannot be counted, because Redis is away, is free.

        Parameters:
            size: how much of its body was read, in bytes.
        """
        if conf.REFUSED_RATE_LIMIT is None:
            return
        rate = Rate(*conf.REFUSED_RATE_LIMIT)
        verdict = take([key], min(rate.units, 1 + size // BYTES_PER_UNIT), rate)
        if verdict is None or verdict.is_allowed:
            return
        now = self._clock()
        if len(self._blocked_until) >= self._MOST:
            self._blocked_until = {one: until for one, until in self._blocked_until.items() if until > now}
        self._blocked_until[key] = now + verdict.wait_seconds


refusals = RefusalLimit()


def refusal_key(caller: Caller) -> str:
    """Name the bucket of a caller's refusals: strangers share that of their address, a token has its own."""
    return address_key(caller.address) if caller.token is None else f"refused.token.{caller.token.pk}"


def address_key(address: str) -> str:
    """Name the bucket of an address's refusals."""
    return f"refused.ip.{address}"
