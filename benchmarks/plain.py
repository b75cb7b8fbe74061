"""Plain Dramatiq with its default middleware and Redis: fast, but it keeps no results or history."""

import os
import time
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks import records

_Broker: Any = RedisBroker
dramatiq.set_broker(_Broker(url=os.environ["BROKER_URL"], namespace="plain"))


@dramatiq.actor
def noop(number: int) -> None:
    """Write a record and do nothing else."""
    now = time.time()
    records.write(number, now, now)


def submit(number: int, *, delay_seconds: float = 0) -> None:
    """Send one message."""
    noop.send_with_options(args=(number,), delay=int(delay_seconds * 1000) or None)


def submit_many(numbers: range, *, chunk: int = 0) -> None:
    """Send messages one by one, since Dramatiq has no call for many."""
    for number in numbers:
        noop.send(number)
