"""The login limit: attempts of a client address with one user name, and of a client address in all.

A user name alone is never limited: strangers could lock its owner out from everywhere.
"""

import redis
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_ratelimit.core import get_usage

from tasks.admin.formatting import duration
from tasks.contract import rate_limit
from tasks.contract.client_address import address_of
from tasks.log import get_logger
from tasks.telemetry import metrics

log = get_logger(__name__)


def refusal(request: HttpRequest) -> HttpResponse | None:
    """Count an attempt and return the 429 page if it is one too many; without the cache, logins are not limited."""
    if request.method != "POST" or rate_limit.breaker.is_open:
        return None
    try:
        waits = [_wait_seconds(request, group, value, rate) for group, value, rate in _limits(request) if rate]
    except redis.RedisError as error:
        rate_limit.breaker.trip()
        log.warning("login limit is off, because the cache does not answer", error=str(error))
        return None
    if not any(waits):
        return None
    log.warning("login refused after too many attempts", address=address_of(request.META))
    wait = max(waits)
    metrics.rate_limited.labels("login").inc()
    response = render(request, "429.html", {"wait": duration(wait)}, status=429)
    response.headers["Retry-After"] = str(wait)
    return response


def _limits(request: HttpRequest) -> list[tuple[str, str, tuple[int, float] | None]]:
    address, name = address_of(request.META), request.POST.get("username", "")[:150].strip().casefold()
    return [
        ("login.address", address, settings.LOGIN_ADDRESS_RATE_LIMIT),
        ("login.name", f"{address} {name}", settings.LOGIN_RATE_LIMIT),
    ]


def _wait_seconds(request: HttpRequest, group: str, value: str, rate: tuple[int, float]) -> int:
    rate = (rate[0], max(1, round(rate[1])))
    usage = get_usage(request, group=group, key=lambda *_: value, rate=rate, method=["POST"], increment=True)
    return max(usage["time_left"], 1) if usage and usage["should_limit"] else 0
