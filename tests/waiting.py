"""Waiting for another thread or process, without sleeps of a guessed length."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T], *, timeout: float = 10, interval: float = 0.01, what: str | Callable[[], object] = ""
) -> T:
    """Return the predicate's first truthy value.

    Parameters:
        timeout: seconds until the test fails.
        interval: seconds between two looks.
        what: what is waited for, for the failure message; a callable is called at the end.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            described = what() if callable(what) else what or getattr(predicate, "__name__", "it")
            raise AssertionError(f"waited {timeout:g} s in vain for: {described} (last value: {value!r})")
        time.sleep(interval)
