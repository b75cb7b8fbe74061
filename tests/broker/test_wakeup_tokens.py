"""Redis wakes only the workers of the bands that hints were published to."""

import threading
from collections.abc import Iterator

import pytest

from tasks.broker.brokers import RedisBroker
from tasks.hint import Hint
from tasks.models import new_id


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    broker = RedisBroker(url=redis_url, namespace=f"tokens-{new_id()}")
    # If Redis does not know the script, the batch is sent again, with its tokens.
    broker.client.script_load(broker.scripts["dispatch"].script)
    yield broker
    keys = broker.client.keys(f"{broker.namespace}:*")
    if keys:
        broker.client.delete(*keys)
    broker.close()


def tokens(broker: RedisBroker, queue: str) -> int:
    """Count the tokens that have woken no worker; a wait that timed out leaves them."""
    return int(broker.client.llen(f"{broker.namespace}:__wake__.{queue}"))


def test_a_hint_wakes_a_worker_of_its_band(broker: RedisBroker) -> None:
    thread = threading.Thread(target=broker.source.wait, args=(["default.high", "default.low"], 2))
    thread.start()
    broker.source.publish_many([("default.low", Hint(new_id(), 1))])
    thread.join(20)
    assert not thread.is_alive()
    assert tokens(broker, "default.low") == 0


def test_a_hint_leaves_the_token_to_the_workers_of_its_band(broker: RedisBroker) -> None:
    broker.source.publish_many([("default.high", Hint(new_id(), 1))])
    broker.source.wait(["default.low"], 0.05)
    assert tokens(broker, "default.high") == 1
    broker.source.wait(["default.high"], 2)
    assert tokens(broker, "default.high") == 0


def test_a_process_that_cannot_take_all_hints_wakes_the_next(broker: RedisBroker) -> None:
    broker.source.publish_many([(name, Hint(new_id(), 1)) for name in ("default.high", "default.low") for _ in "12"])
    for name in ("default.high", "default.low"):
        broker.source.wait([name], 2)
    assert len(broker.source.take(["default.high", "default.low"], 3)) == 3
    assert (tokens(broker, "default.high"), tokens(broker, "default.low")) == (0, 1)
    broker.source.wait(["default.low"], 2)
    assert len(broker.source.take(["default.high", "default.low"], 3)) == 1
    assert tokens(broker, "default.low") == 0
