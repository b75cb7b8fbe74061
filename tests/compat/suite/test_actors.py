"""Declaring, calling and sending; after Dramatiq's ``test_actors`` and ``test_generic_actors``."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import ActorNotFound, RateLimitExceeded
from dramatiq.middleware import SkipMessage

from tasks.errors import InvalidTask, UnknownActor
from tasks.models import Task
from tasks.states import Status

got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


def keep(*args: Any, **kwargs: Any) -> Any:
    got.append((args, kwargs))
    return len(got)


# --- Declaring ---


def test_a_function_becomes_an_actor() -> None:
    assert isinstance(dramatiq.actor(keep), dramatiq.Actor)


def test_an_actor_has_its_functions_name() -> None:
    assert dramatiq.actor(keep).actor_name == "keep"


def test_an_actor_can_be_named() -> None:
    assert dramatiq.actor(actor_name="other")(keep).actor_name == "other"


def test_an_actor_is_of_the_default_queue() -> None:
    assert dramatiq.actor(keep).queue_name == "default"


def test_an_actor_can_have_a_queue_of_its_own() -> None:
    assert dramatiq.actor(queue_name="mail")(keep).queue_name == "mail"


@pytest.mark.parametrize("name", ["$2@!@#", "1st", "", "a b"])
def test_a_queue_cannot_have_any_name(name: str) -> None:
    with pytest.raises(ValueError, match="Queue names"):
        dramatiq.actor(queue_name=name)(keep)


def test_an_option_is_kept() -> None:
    assert dramatiq.actor(max_retries=32)(keep).options["max_retries"] == 32


def test_an_option_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid_option"):
        dramatiq.actor(invalid_option=32)(keep)


def test_an_option_of_a_middleware_is_known(broker) -> None:
    class Mine(dramatiq.Middleware):
        actor_options = {"mine"}

    broker.add_middleware(Mine())
    assert dramatiq.actor(mine=1)(keep).options["mine"] == 1


def test_a_name_is_taken_once() -> None:
    dramatiq.actor(keep)
    with pytest.raises(ValueError, match="keep"):
        dramatiq.actor(keep)


def test_an_actor_can_be_of_another_class() -> None:
    class Mine(dramatiq.Actor[Any, Any]):
        pass

    assert isinstance(dramatiq.actor(actor_class=Mine)(keep), Mine)


def test_an_actor_can_be_of_a_named_broker(broker) -> None:
    assert dramatiq.actor(broker=broker)(keep).broker is broker


def test_an_actor_is_printed_with_its_name() -> None:
    assert str(dramatiq.actor(keep)) == "Actor(keep)"


def test_an_actor_is_represented_with_its_queue() -> None:
    assert repr(dramatiq.actor(keep)).endswith("queue_name='default', actor_name='keep')")


def test_a_broker_finds_its_actors(broker) -> None:
    actor = dramatiq.actor(keep)
    assert broker.get_actor("keep") is actor
    assert "keep" in broker.get_declared_actors()


def test_a_broker_does_not_find_others(broker) -> None:
    with pytest.raises(ActorNotFound):
        broker.get_actor("nobody")


# --- Calling and sending ---


def test_an_actor_can_be_called() -> None:
    assert dramatiq.actor(actor_name="plus")(lambda a, b: a + b)(1, 2) == 3


def test_a_message_can_be_made_and_not_sent() -> None:
    message = dramatiq.actor(keep).message(1, a=2)
    assert (message.actor_name, message.args, message.kwargs) == ("keep", (1,), {"a": 2})
    assert not Task.objects.exists()


def test_a_message_can_be_sent(run) -> None:
    sent = dramatiq.actor(keep).send(1)
    assert Task.objects.get(pk=sent.message_id).status == Status.PENDING
    assert run(sent).status == Status.SUCCEEDED


def test_many_messages_run(run) -> None:
    actor = dramatiq.actor(keep)
    for n in range(100):
        actor.send(n)
    run()
    assert sorted(args for args, _ in got) == [(n,) for n in range(100)]


def test_arguments_can_be_named(run) -> None:
    run(dramatiq.actor(keep).send(x=1, y=2))
    assert got == [((), {"x": 1, "y": 2})]


def test_arguments_can_be_mixed(run) -> None:
    run(dramatiq.actor(keep).send(1, y=2))
    assert got == [((1,), {"y": 2})]


def test_a_message_can_be_sent_with_options(run) -> None:
    run(dramatiq.actor(keep).send_with_options(args=(1,), kwargs={"y": 2}, mine="x"))
    assert got == [((1,), {"y": 2})]


def test_a_coroutine_function_runs(run) -> None:
    @dramatiq.actor
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    assert run(work.send(2)).result == 4


@pytest.mark.differs("an undeclared actor is refused when its message is sent")
def test_a_message_of_a_missing_actor_is_rejected() -> None:
    with pytest.raises(UnknownActor, match="some_actor"):
        dramatiq.get_broker().enqueue(Message("default", "some_actor", (), {}, {}))
    assert not Task.objects.exists()


# --- Delays and priorities ---


@pytest.mark.parametrize("delay", [90_000, timedelta(seconds=90)])
def test_a_message_can_be_delayed(delay: Any) -> None:
    sent = dramatiq.actor(keep).send_with_options(delay=delay)
    task = Task.objects.get(pk=sent.message_id)
    assert 85 < (task.run_at - task.created_at).total_seconds() < 95


def test_delays_are_independent_of_each_other(run) -> None:
    actor = dramatiq.actor(keep)
    actor.send_with_options(args=(1,), delay=1500)
    actor.send_with_options(args=(2,), delay=1000)
    run()
    assert [args for args, _ in got] == [(2,), (1,)]


def test_lower_priorities_run_first(run) -> None:
    low = dramatiq.actor(actor_name="low", priority=10)(lambda: got.append("low"))
    high = dramatiq.actor(actor_name="high", priority=0)(lambda: got.append("high"))
    for _ in range(3):
        low.send()
        high.send()
    run()
    assert got == ["high"] * 3 + ["low"] * 3


# --- Running ---


def test_failures_of_hooks_are_ignored(broker, run) -> None:
    class Broken(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise RuntimeError("before")

        def after_process_message(
            self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
        ) -> None:
            raise RuntimeError("after")

    broker.add_middleware(Broken())
    assert run(dramatiq.actor(keep).send(1)).status == Status.SUCCEEDED
    assert got == [((1,), {})]


def test_a_hook_can_skip_a_message(broker, run) -> None:
    class Skip(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise SkipMessage

        def after_skip_message(self, broker: Any, message: Any) -> None:
            got.append("skipped")

    broker.add_middleware(Skip())
    run(dramatiq.actor(keep).send(1))
    assert got == ["skipped"]


def test_a_limiter_that_is_busy_is_no_error_in_the_log(run, caplog) -> None:
    @dramatiq.actor(max_retries=0)
    def work() -> None:
        raise RateLimitExceeded("exceeded")

    with caplog.at_level(logging.DEBUG, logger="dramatiq"):
        run(work.send())
    assert "Rate limit exceeded in message" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


# --- Classes ---


def test_a_class_becomes_an_actor_and_can_be_called() -> None:
    class Plus(dramatiq.GenericActor):
        def perform(self, x: int, y: int) -> int:
            return x + y

    plus: Any = Plus
    assert isinstance(plus.__actor__, dramatiq.Actor)
    assert plus(1, 2) == 3


def test_a_class_has_options() -> None:
    class Add(dramatiq.GenericActor):
        class Meta:
            max_retries = 32

        def perform(self) -> None: ...

    assert Add.options["max_retries"] == 32


def test_a_class_without_a_method_cannot_be_called() -> None:
    class Foo(dramatiq.GenericActor):
        pass

    with pytest.raises(NotImplementedError):
        Foo()


class Base(dramatiq.GenericActor):
    """Names what it does; abstract."""

    class Meta:
        abstract = True
        queue_name = "tasks"

    def perform(self) -> None:
        """Note the name of the class that was sent."""
        got.append(type(self).__name__)


def test_an_abstract_class_is_no_actor() -> None:
    assert not isinstance(Base, dramatiq.Actor)
    assert "Base" not in dramatiq.get_broker().actors


def test_classes_inherit_options_and_run(run) -> None:
    class Foo(Base):
        pass

    class Bar(Base):
        pass

    assert Foo.queue_name == Bar.queue_name == "tasks"
    run(Foo.send(), Bar.send())
    assert got == ["Foo", "Bar"]


def test_a_class_keeps_its_attributes() -> None:
    class Work(dramatiq.GenericActor):
        DONE = "done"

    assert Work.DONE == "done"


def test_a_class_can_be_registered_by_a_function_of_its_own() -> None:
    registered: list[Any] = []

    class Work(dramatiq.GenericActor):
        class Meta:
            actor = registered.append

        def perform(self) -> None: ...

    assert registered == [Work]


def test_a_missing_attribute_of_a_class_is_an_error() -> None:
    with pytest.raises(AttributeError):
        dramatiq.GenericActor.missing  # noqa: B018


# --- Arguments that are no JSON ---


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j])
def test_an_argument_that_is_no_json_is_refused_when_it_is_sent(value: Any) -> None:
    with pytest.raises(InvalidTask):
        dramatiq.actor(keep).send(value)
    assert not Task.objects.exists()
