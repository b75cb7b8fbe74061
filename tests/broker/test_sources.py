"""One contract for all sources of hints: Redis, RabbitMQ and the in-process queues."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.broker.brokers import CallboardBroker, InProcessBroker, RedisBroker
from tasks.broker.rabbitmq import RabbitmqBroker
from tasks.broker.sources.base import Source, Taken
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint, encode
from tasks.models import new_id
from tasks.priority import broker_queues
from tests.waiting import wait_until

HIGH, MEDIUM, LOW = broker_queues("default")


def hints(count: int) -> list[Hint]:
    return [Hint(new_id(), number + 1) for number in range(count)]


def make_redis_broker(url: str, namespace: str = "") -> RedisBroker:
    broker = RedisBroker(url=url, namespace=namespace or f"sources-{new_id()}")
    broker.declare_queue("default")
    broker.declare_queue("other")
    return broker


@pytest.fixture
def redis_broker(redis_url: str) -> Iterator[RedisBroker]:
    broker = make_redis_broker(redis_url)
    yield broker
    keys = broker.client.keys(f"{broker.namespace}:*")
    if keys:
        broker.client.delete(*keys)
    broker.close()


@pytest.fixture
def inprocess() -> InProcessBroker:
    broker = InProcessBroker()
    broker.declare_queue("default")
    broker.declare_queue("other")
    return broker


@pytest.fixture
def rabbitmq_broker(rabbitmq_url: str) -> Iterator[RabbitmqBroker]:
    broker = RabbitmqBroker(url=rabbitmq_url, namespace=f"sources-{new_id()}")
    # Of the stock broker's own connection, by which the tests act as strangers.
    broker.confirm_delivery = True
    broker.declare_queue("default")
    broker.declare_queue("other")
    yield broker
    for name in broker.queues:
        broker.channel.queue_delete(f"{broker.source.namespace}.{name}")
    broker.close()


@pytest.fixture(params=["redis_broker", "rabbitmq_broker", "inprocess"])
def broker(request: pytest.FixtureRequest) -> CallboardBroker:
    made: CallboardBroker = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def source(broker: CallboardBroker) -> Source:
    return broker.source


def taken(source: Source, *queues: str, limit: int = 100) -> list[Hint | None]:
    return [one.hint for one in source.take(queues or (HIGH, MEDIUM, LOW), limit)]


def await_depth(source: Source, expected: dict[str, int]) -> None:
    """Wait for a depth: RabbitMQ answers the question before it stores what was just published."""
    wait_until(lambda: source.depth(list(expected)) == expected, what=f"the depth {expected}")


def take_in_time(source: Source, count: int) -> list[Taken]:
    """Take hints, of which RabbitMQ may still have to bring some back."""
    found: list[Taken] = []

    def take() -> bool:
        found.extend(source.take([HIGH, MEDIUM, LOW], count - len(found)))
        return len(found) == count

    wait_until(take, what=f"{count} hints")
    return found


def publish_foreign(broker: CallboardBroker, queue: str, body: bytes) -> None:
    """Publish a foreign message, as any client of the broker can."""
    if isinstance(broker, RedisBroker):
        broker.do_enqueue(queue, "foreign-id", body)
    elif isinstance(broker, RabbitmqBroker):
        broker.source.ping()
        broker.channel.basic_publish("", f"{broker.source.namespace}.{queue}", body)
    else:
        assert isinstance(broker, InProcessBroker)
        broker.queues[queue].put(body)


# --- Publish, depth, take ---


def test_hints_come_out_as_they_went_in_and_in_that_order(source) -> None:
    sent = hints(20)
    source.publish_many([(HIGH, hint) for hint in sent])
    await_depth(source, {HIGH: 20, LOW: 0})
    assert taken(source) == sent
    await_depth(source, {HIGH: 0, LOW: 0})


def test_queues_are_taken_in_the_order_that_they_are_asked_in(source) -> None:
    low, high, medium = hints(3)
    source.publish_many([(LOW, low), (HIGH, high), (MEDIUM, medium)])
    assert [(one.queue, one.hint) for one in source.take([HIGH, MEDIUM, LOW], 9)] == [
        (HIGH, high), (MEDIUM, medium), (LOW, low),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_a_limit_holds_over_all_queues(source, limit: int) -> None:
    source.publish_many([(name, hint) for name in (LOW, HIGH) for hint in hints(2)])
    assert len(source.take([HIGH, LOW], limit)) == min(limit, 4)
    assert len(source.take([HIGH, LOW], 9)) == max(0, 4 - limit)


def test_only_the_asked_queues_are_taken_from(source) -> None:
    source.publish_many([("other.high", hints(1)[0])])
    assert taken(source, HIGH, MEDIUM, LOW) == []
    await_depth(source, {"other.high": 1})


def test_nothing_is_taken_from_nothing(source) -> None:
    assert source.take([HIGH], 10) == []
    source.publish_many([])
    source.done([])
    source.put_back([])
    assert source.missing("default", []) == []


def test_two_takers_share_and_none_gets_the_same(broker, source) -> None:
    sent = hints(200)
    source.publish_many([(HIGH, hint) for hint in sent])
    found: list[Hint | None] = []

    def take_all() -> None:
        while some := source.take([HIGH], 7):
            found.extend(one.hint for one in some)

    threads = [threading.Thread(target=take_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found, key=str) == sorted(sent, key=str)


@pytest.mark.parametrize(
    "body",
    [b"", b"no hint", b"\xff\xfe", b'{"actor_name": "x"}', b"x" * 10_000, b"01890000-0000-7000-8000-000000000000:0"],
)
def test_a_foreign_message_is_taken_without_a_hint_and_can_be_forgotten(broker, source, body: bytes) -> None:
    publish_foreign(broker, HIGH, body)
    (ours,) = hints(1)
    source.publish_many([(HIGH, ours)])
    some = source.take([HIGH], 10)
    assert [one.hint for one in some] == [None, ours]
    source.done(some)
    assert source.take([HIGH], 10) == []
    if isinstance(broker, RedisBroker):
        assert left(broker) == {f"{broker.namespace}:__heartbeats__", f"{broker.namespace}:__wake__.{HIGH}"}


def left(broker: RedisBroker) -> set[str]:
    keys: Any = broker.client.keys(f"{broker.namespace}:*")
    return {key.decode() for key in keys}


# --- Done, put back, missing ---


def test_a_hint_that_is_put_back_can_be_taken_once_more(source) -> None:
    sent = hints(3)
    source.publish_many([(MEDIUM, hint) for hint in sent])
    source.put_back(source.take([MEDIUM], 2))
    assert sorted(map(str, taken(source))) == sorted(map(str, sent))
    assert taken(source) == []


def test_a_hint_that_is_done_cannot_be_put_back(redis_broker) -> None:
    source = redis_broker.source
    source.publish_many([(MEDIUM, hint) for hint in hints(2)])
    some = source.take([MEDIUM], 2)
    source.done(some)
    source.put_back(some)
    assert taken(source) == []


def test_one_call_takes_hints_and_forgets_those_that_are_done(source) -> None:
    sent = hints(5)
    source.publish_many([(HIGH, hint) for hint in sent])
    some = source.take([HIGH], 2)
    more = source.take([MEDIUM, HIGH], 2, done=some)
    assert [one.hint for one in more] == sent[2:4]
    source.put_back(more)
    assert sorted(map(str, taken(source))) == sorted(map(str, sent[2:]))


@pytest.mark.parametrize("broker", ["redis_broker", "inprocess"], indirect=True)
def test_a_hint_is_missing_if_it_waits_in_no_band_of_its_queue(source) -> None:
    ready, taken_out, elsewhere, never = hints(4)
    source.publish_many([(LOW, taken_out)])
    some = source.take([LOW], 1)
    source.publish_many([(HIGH, ready), ("other.high", elsewhere)])
    asked = [ready, taken_out, elsewhere, never]
    # A hint that was taken and is not acknowledged counts as missing too: its claim is committed first, or was lost.
    assert source.missing("default", asked) == [taken_out, elsewhere, never]
    assert source.missing("other", asked) == [ready, taken_out, never]
    source.done(some)
    assert source.missing("default", [Hint(ready.task_id, ready.dispatch + 1)]) != []


def test_of_a_queue_that_only_an_older_release_declared_everything_is_missing(source) -> None:
    lost = hints(2)
    assert source.missing("of-last-year", lost) == lost


def test_a_broker_that_is_there_answers(source) -> None:
    source.ping()
    source.remove_leftovers(set())


# --- Waiting (on Redis no wait is longer than two seconds; test_wakeup_tokens.py shows what ends it) ---


def in_thread(function: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_wait_ends_when_something_is_published(source) -> None:
    waiting = in_thread(lambda: source.wait([HIGH, LOW], 100))
    source.publish_many([(LOW, hints(1)[0])])
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_wait_returns_at_once_if_a_hint_is_there(source) -> None:
    source.publish_many([(LOW, hints(1)[0])])
    began = time.monotonic()
    source.wait([HIGH, LOW], 100)
    assert time.monotonic() - began < 30


def test_a_wait_in_vain_ends_in_time(source) -> None:
    began = time.monotonic()
    source.wait([HIGH], 0.1)
    assert 0.05 < time.monotonic() - began < 30


# --- Redis ---


DONE: dict[str, Callable[[Source, list[Taken]], object]] = {
    "said alone": lambda source, some: source.done(some),
    "said while more is taken": lambda source, some: source.take([HIGH], 1, done=some),
}


@pytest.mark.parametrize("how", DONE)
def test_redis_holds_nothing_of_a_hint_that_is_done(redis_broker, how: str) -> None:
    source = redis_broker.source
    source.publish_many([(name, hint) for name in (HIGH, LOW) for hint in hints(10)])
    DONE[how](source, source.take([HIGH, LOW], 100))
    assert left(redis_broker) == {
        f"{redis_broker.namespace}:{name}" for name in ("__heartbeats__", f"__wake__.{HIGH}", f"__wake__.{LOW}")
    }


@pytest.mark.parametrize("how", DONE)
def test_hints_taken_in_a_lost_reply_are_forgotten_with_the_next_done(redis_broker, how: str) -> None:
    source = redis_broker.source
    source.publish_many([(HIGH, hint) for hint in hints(3)])
    source.take([HIGH], 2)
    DONE[how](source, source.take([HIGH], 1))
    assert redis_broker.client.scard(f"{redis_broker.namespace}:__acks__.{redis_broker.broker_id}.{HIGH}") == 0
    assert redis_broker.client.hlen(f"{redis_broker.namespace}:{HIGH}.msgs") == 0


def test_hints_taken_in_lost_replies_are_forgotten_on_demand(redis_broker) -> None:
    source = redis_broker.source
    source.publish_many([(name, hint) for name in (HIGH, LOW) for hint in hints(3)])
    source.take([HIGH, LOW], 5)
    source.forget_taken([HIGH, LOW])
    assert source.depth([HIGH, LOW]) == {HIGH: 0, LOW: 1}
    assert redis_broker.client.keys(f"{redis_broker.namespace}:__acks__.*") == []
    assert redis_broker.client.hlen(f"{redis_broker.namespace}:{LOW}.msgs") == 1


def test_redis_may_forget_its_scripts(redis_broker) -> None:
    source, sent = redis_broker.source, hints(2)
    source.publish_many([(HIGH, sent[0])])
    redis_broker.client.script_flush()
    source.publish_many([(HIGH, sent[1])])
    redis_broker.client.script_flush()
    assert taken(source) == sent


def test_redis_may_lose_everything(redis_broker) -> None:
    source, sent = redis_broker.source, hints(3)
    source.publish_many([(HIGH, hint) for hint in sent])
    some = source.take([HIGH], 1)
    redis_broker.client.delete(*left(redis_broker))
    source.done(some)
    source.put_back(some)
    assert taken(source) == []
    assert source.missing("default", sent) == sent


def test_hints_taken_by_a_silent_process_are_removed_and_those_of_a_present_one_stay(redis_url, redis_broker) -> None:
    silent, present = (make_redis_broker(redis_url, redis_broker.namespace) for _ in range(2))
    redis_broker.source.publish_many([(HIGH, hint) for hint in hints(2)])
    for process in (silent, present):
        assert len(process.source.take([HIGH], 1)) == 1
        redis_broker.client.zadd(f"{redis_broker.namespace}:__heartbeats__", {process.broker_id: 1})
    redis_broker.source.remove_leftovers({present.broker_id})
    acks = {key for key in left(redis_broker) if "__acks__" in key}
    assert acks == {f"{redis_broker.namespace}:__acks__.{present.broker_id}.{HIGH}"}
    assert redis_broker.client.hlen(f"{redis_broker.namespace}:{HIGH}.msgs") == 1
    known = {name.decode() for name in redis_broker.client.zrange(f"{redis_broker.namespace}:__heartbeats__", 0, -1)}
    assert known == {present.broker_id}
    for process in (silent, present):
        process.close()


def test_a_process_that_was_heard_of_lately_keeps_its_own(redis_url, redis_broker) -> None:
    other = make_redis_broker(redis_url, redis_broker.namespace)
    redis_broker.source.publish_many([(HIGH, hint) for hint in hints(1)])
    other.source.take([HIGH], 1)
    redis_broker.source.remove_leftovers(set())
    assert f"{redis_broker.namespace}:__acks__.{other.broker_id}.{HIGH}" in left(redis_broker)
    other.close()


def test_one_token_waits_at_most(redis_broker) -> None:
    for _ in range(3):
        redis_broker.source.publish_many([(HIGH, hint) for hint in hints(100)])
    assert redis_broker.client.llen(f"{redis_broker.namespace}:__wake__.{HIGH}") == 1


CALLS: dict[str, Callable[[Source], Any]] = {
    "publish": lambda source: source.publish_many([(HIGH, hints(1)[0])]),
    "depth": lambda source: source.depth([HIGH]),
    "take": lambda source: source.take([HIGH], 1),
    "wait": lambda source: source.wait([HIGH], 0.1),
    "done": lambda source: source.done([Taken(HIGH, Hint(new_id(), 1), b"")]),
    "put back": lambda source: source.put_back([Taken(HIGH, Hint(new_id(), 1), b"")]),
    "forget taken": lambda source: source.forget_taken([HIGH]),
    "missing": lambda source: source.missing("default", hints(1)),
    "remove_leftovers": lambda source: source.remove_leftovers(set()),
    "ping": lambda source: source.ping(),
    "misconfigurations": lambda source: source.misconfigurations(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_redis_that_is_away_is_the_brokers_error_in_every_call(call: str) -> None:
    broker = RedisBroker(url="redis://127.0.0.1:1/0")
    with pytest.raises(BrokerUnavailable, match="Redis does not answer"):
        CALLS[call](broker.source)
    broker.close()


def test_a_hint_is_its_own_id_and_body(redis_broker) -> None:
    (hint,) = hints(1)
    redis_broker.source.publish_many([(HIGH, hint)])
    key = f"{redis_broker.namespace}:{HIGH}"
    assert redis_broker.client.lrange(key, 0, -1) == [encode(hint).encode()]
    assert redis_broker.client.hgetall(f"{key}.msgs") == {encode(hint).encode(): encode(hint).encode()}


def test_a_redis_that_may_drop_hints_is_misconfigured(redis_broker) -> None:
    client = redis_broker.client
    assert redis_broker.source.misconfigurations() == []
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (problem,) = redis_broker.source.misconfigurations()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in problem
    assert "noeviction" in problem


# --- RabbitMQ ---


def test_a_hint_that_ends_a_wait_is_taken_next_and_only_once(rabbitmq_broker) -> None:
    source = rabbitmq_broker.source
    low, high = hints(2)
    source.publish_many([(LOW, low), (HIGH, high)])
    source.wait([HIGH, MEDIUM, LOW], 100)
    assert {one.hint for one in take_in_time(source, 2)} == {low, high}
    assert taken(source) == []


def test_hints_that_end_a_wait_and_are_not_asked_for_go_back(rabbitmq_broker) -> None:
    source = rabbitmq_broker.source
    (low,) = hints(1)
    source.publish_many([(LOW, low)])
    source.wait([LOW], 100)
    assert source.take([HIGH], 5) == []
    wait_until(lambda: taken(source, LOW) == [low], what="the hint to come back")


def test_what_a_lost_connection_took_can_be_taken_again(rabbitmq_broker) -> None:
    source = rabbitmq_broker.source
    (hint,) = hints(1)
    source.publish_many([(HIGH, hint)])
    some = source.take([HIGH], 1)
    source.close()
    # A connection cannot acknowledge what another one took, and must not be closed for trying.
    assert take_in_time(source, 1) == some
    source.done(some)
    source.done(some)
    assert taken(source) == []


def test_rabbitmq_may_lose_its_queues(rabbitmq_broker) -> None:
    source, sent = rabbitmq_broker.source, hints(3)
    source.publish_many([(HIGH, hint) for hint in sent])
    some = source.take([HIGH], 1)
    for name in rabbitmq_broker.queues:
        rabbitmq_broker.channel.queue_delete(f"{source.namespace}.{name}")
    source.done(some)
    with pytest.raises(BrokerUnavailable, match="no queue"):
        source.take([HIGH, MEDIUM, LOW], 1)
    source.publish_many([(HIGH, sent[0])])
    assert taken(source) == [sent[0]]


def test_hints_are_missing_at_the_second_look_if_more_are_sought_than_are_there(rabbitmq_broker) -> None:
    source, sent = rabbitmq_broker.source, hints(3)
    source.publish_many([(HIGH, hint) for hint in sent[:2]])
    assert source.missing("default", sent) == []
    assert set(source.missing("default", sent)) == set(sent)
    source.publish_many([(MEDIUM, sent[2])])
    await_depth(source, {HIGH: 2, MEDIUM: 1})
    assert source.missing("default", sent) == []


def test_a_hint_that_was_passed_by_all_that_waited_with_it_is_missing(rabbitmq_broker) -> None:
    source = rabbitmq_broker.source
    (lost,) = hints(1)
    source.publish_many([(HIGH, hint) for hint in hints(3)])
    await_depth(source, {HIGH: 3})
    assert source.missing("default", [lost]) == []
    source.done(source.take([HIGH], 2))
    source.publish_many([(HIGH, hint) for hint in hints(2)])
    await_depth(source, {HIGH: 3})
    assert source.missing("default", [lost]) == [], "it may be the third"
    source.done(source.take([HIGH], 3))
    source.publish_many([(HIGH, hint) for hint in hints(2)])
    await_depth(source, {HIGH: 2})
    assert source.missing("default", [lost]) == [lost]


def test_a_hint_that_is_sought_for_the_first_time_is_never_missing(rabbitmq_broker) -> None:
    source = rabbitmq_broker.source
    before, new = hints(2)
    assert source.missing("default", [before]) == []
    assert source.missing("default", [new]) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_rabbitmq_that_is_away_is_the_brokers_error_in_every_call(call: str) -> None:
    broker = RabbitmqBroker(url="amqp://127.0.0.1:1")
    broker.declare_queue("default")
    if call in ("remove_leftovers", "misconfigurations"):
        CALLS[call](broker.source)
    else:
        with pytest.raises(BrokerUnavailable, match=r"RabbitMQ does not answer: .*refused"):
            CALLS[call](broker.source)
        with pytest.raises(BrokerUnavailable, match=r"RabbitMQ does not answer: .*refused"):
            CALLS[call](broker.source)
    broker.close()


def test_queues_of_another_type_are_named(rabbitmq_url, rabbitmq_broker) -> None:
    rabbitmq_broker.source.ping()
    other = RabbitmqBroker(url=rabbitmq_url, namespace=rabbitmq_broker.source.namespace, queue_type="quorum")
    other.declare_queue("default")
    with pytest.raises(BrokerUnavailable, match="inequivalent arg 'x-queue-type' for queue"):
        other.source.ping()
    other.close()


def test_quorum_queues_carry_hints_as_well(rabbitmq_url) -> None:
    broker = RabbitmqBroker(url=rabbitmq_url, namespace=f"quorum-{new_id()}", queue_type="quorum")
    broker.declare_queue("default")
    source, sent = broker.source, hints(3)
    source.publish_many([(HIGH, hint) for hint in sent])
    found = take_in_time(source, 3)
    assert [one.hint for one in found] == sent
    source.put_back(found[:1])
    source.done(found[1:])
    wait_until(lambda: taken(source) == [sent[0]], what="the hint to come back")
    for name in broker.queues:
        broker.channel.queue_delete(f"{source.namespace}.{name}")
    broker.close()
