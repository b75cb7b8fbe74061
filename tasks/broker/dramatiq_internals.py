"""The one place that touches private names of Dramatiq.

Elsewhere the engine uses names without an underscore that Dramatiq does not document, because there is no other way in:

- ``sources.redis``: the keys and the script of the Redis broker, and its ``broker_id``, ``heartbeat_timeout`` and
  ``dead_message_ttl``; ``sources.inprocess`` and ``brokers``: ``queues`` of the brokers.
- ``results``: ``ResultBackend._get``, which is Dramatiq's own hook for back ends.
- ``worker.runtime`` and ``worker.watchdog``: ``work_queue``, ``consumer_whitelist``, ``consumers`` and ``workers`` of a
  worker.
- ``worker.event_loop`` and ``testing.event_loop``: the event loop's thread in ``dramatiq.asyncio``.
- ``testing.worker``: ``WorkerThread.process_message()``, and ``ConsumerThread`` with its ``consumer``.

``tests/broker/test_dramatiq_contract.py`` covers each of these names and fails when an upgrade moves one.
"""

from types import SimpleNamespace

import dramatiq.message
from dramatiq import MessageProxy
from dramatiq.brokers.redis import RedisBroker
from uuid_utils.compat import uuid7


def max_unpack_size(broker: RedisBroker) -> int:
    """Return how many arguments Redis lets the broker's script unpack."""
    size: int = broker._max_unpack_size()  # type: ignore[no-untyped-call]
    return size


def exception_of(message: MessageProxy) -> BaseException | None:
    """Return the exception with which a message failed outside its actor's function."""
    return message._exception


def make_ids_of_messages_task_ids() -> None:
    """Let Dramatiq make messages with ids that their tasks can have, so that both are the same from the beginning.

    Groups and pipelines keep copies of their messages, and ask for results by the ids of these copies.
    """
    dramatiq.message.uuid = SimpleNamespace(uuid4=uuid7)  # type: ignore[assignment, attr-defined]
