"""Redis wakes the workers of the band that something was published to, and no others."""

import threading
import time
from collections.abc import Iterator

import pytest

from tasks.engine.brokers import RedisBroker
from tasks.hint import Hint
from tasks.models import new_id


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    broker = RedisBroker(url=redis_url, namespace=f"tokens-{new_id()}")
    yield broker
    keys = broker.client.keys(f"{broker.namespace}:*")
    if keys:
        broker.client.delete(*keys)
    broker.close()


def waited(broker: RedisBroker, *queues: str, timeout: float = 0.3) -> float:
    began = time.monotonic()
    broker.source.wait(queues, timeout)
    return time.monotonic() - began


def test_a_hint_wakes_a_worker_of_its_band(broker: RedisBroker) -> None:
    woken: list[float] = []
    thread = threading.Thread(target=lambda: woken.append(waited(broker, "default.high", "default.low", timeout=2)))
    thread.start()
    broker.source.publish_many([("default.low", Hint(new_id(), 1))])
    thread.join()
    assert woken[0] < 1


def test_a_hint_leaves_the_token_to_the_workers_of_its_band(broker: RedisBroker) -> None:
    broker.source.publish_many([("default.high", Hint(new_id(), 1))])
    assert waited(broker, "default.low") >= 0.3
    assert waited(broker, "default.high") < 0.2
