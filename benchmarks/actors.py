"""The actor that Callboard's workers run in a benchmark."""

import time

import dramatiq

from benchmarks import records


@dramatiq.actor
def noop(number: int) -> None:
    """Do nothing but leave a record."""
    records.write(time.time(), time.time())
