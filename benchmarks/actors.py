"""The actors that Callboard's workers run in a benchmark."""

import time

import dramatiq

from benchmarks import records


@dramatiq.actor
def noop(number: int) -> None:
    """Do nothing but leave a record."""
    now = time.time()
    records.write(number, now, now)


@dramatiq.actor
def nap(number: int, seconds: float = 0.01) -> None:
    """Sleep for a moment and leave a record."""
    started = time.time()
    time.sleep(seconds)
    records.write(number, started, time.time())
