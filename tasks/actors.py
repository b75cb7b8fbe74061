"""The built-in actors: for trials, and for demonstrations of failures and hangs."""

import math as mathematics
import random
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

import dramatiq
from pydantic import Field

from tasks import current, outbound
from tasks.conf import conf

#: Larger powers take longer to compute, and more room to print, than any caller intends.
LARGEST_POWER = 1e300

Number = int | float


def _nap(seconds: float) -> None:
    """Sleep in short naps, so that a time limit, a cancel or a shutdown can interrupt."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _printable(result: Number) -> Number:
    """Turn a whole number beyond 64 bits into a float, because JSON parsers would round it silently."""
    return result if abs(result) < 2**63 else float(result)


def _power(a: Number, b: Number) -> Number:
    if a and abs(b) * abs(mathematics.log10(abs(a))) > mathematics.log10(LARGEST_POWER):
        raise ValueError(f"expected a power up to {LARGEST_POWER:g}, got {a} to the {b}")
    result: Number | complex = a**b
    if isinstance(result, complex):
        raise ValueError(f"{a} to the {b} is not a real number")
    return result


if conf.BUILTIN_ACTORS:

    @dramatiq.actor
    def echo(message: Any) -> Any:
        """Return the message."""
        return message

    @dramatiq.actor
    def sleep(duration: float) -> float:
        """Sleep for ``duration`` seconds, and return it."""
        _nap(duration)
        return duration

    @dramatiq.actor(throws=(ValueError, ZeroDivisionError))
    def math(operation: Literal["add", "subtract", "multiply", "divide", "power"], a: Number, b: Number) -> Number:
        """Calculate ``a`` operation ``b``."""
        match operation:
            case "add":
                return a + b
            case "subtract":
                return a - b
            case "multiply":
                return _printable(a * b)
            case "divide":
                return a / b
            case "power":
                return _printable(_power(a, b))

    @dramatiq.actor(throws=(outbound.Refused, outbound.Unrepeatable))
    def http_request(
        url: str, method: str = "GET", headers: dict[str, str] | None = None, body: str | None = None
    ) -> dict[str, Any]:
        """Send an HTTP request to a public address; return status, url, headers, body, is_truncated and error.

        An answer of any status is a success. A POST or PATCH that was answered is never sent again: if its headers
        came, the task succeeds with what could be read of the body, ``is_truncated`` and the ``error``; if not even
        those, the task ends as ``not_retryable``. Without any byte of an answer it is retried, as every other request
        is whose answer is incomplete. After a redirect another host gets neither the body nor any header but Accept,
        Accept-Language and User-Agent.
        """
        return asdict(outbound.request(url, method=method, headers=headers, body=body))

    @dramatiq.actor
    def random_failure(failure_rate: Annotated[float, Field(ge=0, le=1)] = 0.5) -> str:
        """Fail with the given probability."""
        if random.random() < failure_rate:
            raise RuntimeError(f"failed, as {failure_rate:.0%} of the attempts do")
        return "did not fail"

    @dramatiq.actor
    def simulate_work(**payload: Any) -> dict[str, Any]:
        """Sleep for the task's ``estimated_seconds`` and return the payload, which may be any object."""
        _nap(current.estimated_seconds() or 0)
        return payload

    @dramatiq.actor
    def demo_ok(msg: str = "ok") -> str:
        """Succeed and return ``msg``."""
        return msg

    @dramatiq.actor
    def demo_fail(fail: bool = True) -> str:
        """Fail if ``fail``."""
        if fail:
            raise RuntimeError("demo_fail was asked to fail")
        return "did not fail"

    @dramatiq.actor
    def demo_hang(sleep_sec: float = 9999) -> str:
        """Hang for ``sleep_sec`` seconds in one call that nothing interrupts."""
        time.sleep(sleep_sec)
        return "woke up"
