"""Dramatiq's RabbitMQ broker as Callboard uses it; apart from the others, because only it needs RabbitMQ's client."""

from typing import Any

from dramatiq.brokers import rabbitmq as stock_rabbitmq

from tasks.broker import rabbitmq_url
from tasks.broker.brokers import CallboardBroker, refuse_early_actors, with_ours
from tasks.broker.sources.rabbitmq import RabbitSource


class RabbitmqBroker(CallboardBroker, stock_rabbitmq.RabbitmqBroker):  # type: ignore[misc]
    """Hints through RabbitMQ.

    Parameters:
        url: see ``tasks.broker.rabbitmq_url``.
        namespace: prefix of every queue.
        queue_type: "classic" or "quorum".
    """

    source: RabbitSource

    def __init__(
        self,
        *,
        url: str,
        middleware: list[Any] | None = None,
        namespace: str = "callboard",
        queue_type: str = "classic",
    ) -> None:
        refuse_early_actors()
        super().__init__(middleware=with_ours(middleware))
        # The stock broker's connections are never made: it knows its nodes for those who look.
        self.parameters = rabbitmq_url.parameters(url)
        self.source = RabbitSource(self, self.parameters, namespace=namespace, kind=queue_type)

    def close(self) -> None:
        """Close the process's connection."""
        self.source.close()
        super().close()
