"""What the brokers add to Dramatiq's own."""

import dramatiq


def test_an_actor_that_names_no_queue_is_of_the_default_one(settings, inprocess_broker) -> None:
    settings.DEFAULT_QUEUE = "orders"

    @dramatiq.actor(actor_name="nameless", broker=inprocess_broker)
    def nameless() -> None: ...

    @dramatiq.actor(actor_name="named", queue_name="mails", broker=inprocess_broker)
    def named() -> None: ...

    assert (nameless.queue_name, named.queue_name) == ("orders", "mails")
    assert {"orders.high", "mails.low"} <= set(inprocess_broker.get_declared_queues())
