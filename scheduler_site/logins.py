"""The login limit: attempts per client address and per user name."""

import redis
import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_ratelimit.core import get_usage

from tasks.admin.formatting import duration
from tasks.contract import rate_limit
from tasks.contract.client_address import client_address

log = structlog.get_logger(__name__)


def refusal(request: HttpRequest) -> HttpResponse | None:
    """Count an attempt and return the 429 page if it is one too many; without the cache, logins are not limited."""
    if request.method != "POST" or settings.LOGIN_RATE_LIMIT is None or rate_limit.breaker.is_open:
        return None
    units, seconds = settings.LOGIN_RATE_LIMIT
    rate = (units, max(1, round(seconds)))
    try:
        waits = [_wait_seconds(request, group, value, rate) for group, value in _keys(request)]
    except redis.RedisError as error:
        rate_limit.breaker.trip()
        log.warning("login limit is off, because the cache does not answer", error=str(error))
        return None
    if not any(waits):
        return None
    log.warning("login refused after too many attempts", address=_address(request))
    wait = max(waits)
    response = render(request, "429.html", {"wait": duration(wait)}, status=429)
    response.headers["Retry-After"] = str(wait)
    return response


def _keys(request: HttpRequest) -> list[tuple[str, str]]:
    name = request.POST.get("username", "")[:150].strip().casefold()
    return [("login.address", _address(request)), ("login.name", name)]


def _address(request: HttpRequest) -> str:
    return client_address(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))


def _wait_seconds(request: HttpRequest, group: str, value: str, rate: tuple[int, int]) -> int:
    usage = get_usage(request, group=group, key=lambda *_: value, rate=rate, method=["POST"], increment=True)
    return max(usage["time_left"], 1) if usage and usage["should_limit"] else 0
