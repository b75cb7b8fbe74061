"""The actors that Callboard's workers run in a benchmark."""

import time

import dramatiq

from benchmarks import records
from tasks import current


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


@dramatiq.actor
def claimed(number: int) -> None:
    """Leave a record from the claim to the start."""
    records.write(number, current._claimed().claimed_at.timestamp(), time.time())


@dramatiq.actor
def hold(seconds: float) -> None:
    """Keep a thread."""
    time.sleep(seconds)
