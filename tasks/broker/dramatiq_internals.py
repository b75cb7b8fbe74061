"""The one place that touches private names of Dramatiq.

Elsewhere the engine uses names without an underscore that Dramatiq does not document, because there is no other way in:

- ``sources.redis``: the keys and the script of the Redis broker, and its ``broker_id``, ``heartbeat_timeout`` and
  ``dead_message_ttl``; ``sources.inprocess`` and ``brokers``: ``queues`` of the brokers.
- ``results``: ``ResultBackend._get``, which is Dramatiq's own hook for back ends.
- ``worker.runtime`` and ``worker.watchdog``: ``work_queue``, ``consumer_whitelist``, ``consumers`` and ``workers`` of a
  worker.
- ``worker.event_loop``: the event loop's thread in ``dramatiq.asyncio``.

``tests/broker/test_dramatiq_contract.py`` covers each of these names and fails when an upgrade moves one.
"""

from dramatiq import MessageProxy
from dramatiq.brokers.redis import RedisBroker


def max_unpack_size(broker: RedisBroker) -> int:
    """Return how many arguments Redis lets the broker's script unpack."""
    size: int = broker._max_unpack_size()  # type: ignore[no-untyped-call]
    return size


def exception_of(message: MessageProxy) -> BaseException | None:
    """Return the exception with which a message failed outside its actor's function."""
    return message._exception
