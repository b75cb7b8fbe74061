"""The same actor on plain Dramatiq with its default middleware and Redis: fast, and nothing is kept."""

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
    """Do nothing but leave a record."""
    records.write(time.time(), time.time())


def enqueue(count: int) -> None:
    """Send ``count`` messages."""
    for number in range(count):
        noop.send(number)
