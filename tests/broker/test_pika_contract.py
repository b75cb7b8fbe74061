"""The private names of pika that ``tasks/broker/pika_internals.py`` touches still do what it needs."""

import inspect

from pika.channel import Channel

from tasks.broker.rabbitmq import RabbitmqBroker
from tests.broker.test_sources import HIGH, hints, rabbitmq_broker

__all__ = ["rabbitmq_broker"]


def test_several_messages_come_in_one_round_trip(rabbitmq_broker: RabbitmqBroker) -> None:
    source, sent = rabbitmq_broker.source, hints(3)
    source.publish_many([(HIGH, hint) for hint in sent])
    # More than there are, so that both of RabbitMQ's replies come; then once more, with the names as they were left.
    assert [one.hint for one in source.take([HIGH], 5)] == sent
    assert source.take([HIGH], 5) == []


def test_the_client_forgets_its_expectation_with_each_reply() -> None:
    for reply in ("_on_getok", "_on_getempty"):
        assert "self._on_getok_callback = None" in inspect.getsource(getattr(Channel, reply))
    assert "self._on_getok_callback = callback" in inspect.getsource(Channel.basic_get)
    assert "self._send_method(spec.Basic.Get(queue=queue, no_ack=auto_ack))" in inspect.getsource(Channel.basic_get)
