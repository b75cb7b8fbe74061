"""The one place that touches private names of pika, RabbitMQ's client.

``tests/broker/test_pika_contract.py`` fails when an upgrade moves one.
"""

from collections.abc import Callable
from typing import Any

from pika import spec
from pika.channel import Channel


def get_many(
    channel: Channel, queue: str, count: int, *, on_replies: Callable[[list[tuple[int, bytes]]], object]
) -> None:
    """Ask for several messages at once, which takes one round trip; pika itself asks for one at a time.

    Parameters:
        on_replies: called once, with the delivery tag and the body of each message that was there.
    """
    found: list[tuple[int, bytes]] = []
    left = count

    def returned(got: tuple[int, bytes] | None) -> None:
        nonlocal left
        left -= 1
        if got is not None:
            found.append(got)
        if left:
            # The client expects one reply, and forgets this after it.
            channel._on_getok_callback = on_message
        else:
            channel._on_getok_callback = None
            channel.callbacks.remove(channel.channel_number, spec.Basic.GetEmpty, on_empty)
            on_replies(found)

    def on_message(_channel: Channel, method: spec.Basic.GetOk, _properties: Any, body: bytes) -> None:
        returned((method.delivery_tag, body))

    def on_empty(_frame: Any) -> None:
        returned(None)

    channel.add_callback(on_empty, [spec.Basic.GetEmpty], one_shot=False)
    channel._on_getok_callback = on_message
    for _ in range(count):
        channel._send_method(spec.Basic.Get(queue=queue, no_ack=False))
