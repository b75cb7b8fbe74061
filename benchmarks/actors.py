"""The actors that Callboard's workers run in a benchmark."""

import time

import dramatiq

from benchmarks import records
from tasks import current


@dramatiq.actor
def noop(number: int) -> None:
    """Write a record and do nothing else."""
    now = time.time()
    records.write(number, now, now)


@dramatiq.actor
def nap(number: int, seconds: float = 0.01) -> None:
    """Sleep for a moment and write a record."""
    started = time.time()
    time.sleep(seconds)
    records.write(number, started, time.time())


@dramatiq.actor
def claimed(number: int) -> None:
    """Write a record of the time from the claim to the start."""
    records.write(number, current._claimed().claimed_at.timestamp(), time.time())


@dramatiq.actor
def hold(seconds: float) -> None:
    """Occupy a thread."""
    time.sleep(seconds)


@dramatiq.actor(time_limit=600_000)
def checkpoints(number: int, writes: int) -> None:
    """Write checkpoints one after the other."""
    started = time.time()
    for place in range(writes):
        current.checkpoint({"place": place})
    records.write(number, started, time.time())


@dramatiq.actor(time_limit=600_000)
def steps(number: int, writes: int) -> None:
    """Run steps that do nothing, one after the other."""
    started = time.time()
    for place in range(writes):
        current.step(f"step {place}", int, place)
    records.write(number, started, time.time())
