"""A function for actors that interrupts can end, and what it noted."""

import threading
import time
from typing import Any

got: list[Any] = []
#: Set once the function runs. The row says RUNNING a moment before.
runs = threading.Event()


def forget() -> None:
    """Forget what earlier tests noted."""
    got.clear()
    runs.clear()


def nap(seconds: float = 20) -> float:
    """Sleep in small pieces, which an exception can end, and note how it ended."""
    until = time.monotonic() + seconds
    runs.set()
    try:
        while time.monotonic() < until:
            time.sleep(0.005)
    except BaseException as error:
        got.append(type(error).__name__)
        raise
    got.append("done")
    return seconds
