"""The hooks of middleware; after Dramatiq's tests of ``Middleware``, ``middleware/test_prometheus`` and others."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AgeLimit, CurrentMessage, Middleware, Retries, SkipMessage, TimeLimit
from dramatiq.middleware.middleware import MiddlewareError
from dramatiq.middleware.prometheus import Prometheus

from tasks.models import Attempt, Task
from tasks.states import Status

got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


@pytest.fixture
def work() -> Any:
    """An actor that notes its run."""
    return dramatiq.actor(actor_name="work", max_retries=0)(lambda: got.append("ran"))


def hooks(**named: Any) -> Middleware:
    """Make a middleware of functions, each for the hook of its name."""
    made: Middleware = type("Mine", (Middleware,), named)()
    return made


def test_a_middleware_comes_last(broker) -> None:
    mine = hooks()
    broker.add_middleware(mine)
    assert broker.middleware[-1] is mine


@pytest.mark.parametrize("kind", [Retries, TimeLimit, AgeLimit])
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_middleware_can_be_placed_beside_another(broker, kind: Any, where: str) -> None:
    mine, names = hooks(), [type(one).__name__ for one in broker.middleware]
    broker.add_middleware(mine, **{where: kind})
    place = names.index("Retries" if kind is Retries else "Compatibility")
    assert broker.middleware.index(mine) == (place if where == "before" else place + 1)


def test_a_middleware_cannot_be_placed_beside_one_that_is_not_there(broker) -> None:
    with pytest.raises(ValueError, match="not found"):
        broker.add_middleware(hooks(), before=Prometheus)


def test_a_middleware_cannot_be_placed_twice(broker) -> None:
    with pytest.raises(AssertionError):
        broker.add_middleware(hooks(), before=Retries, after=Retries)


def test_a_second_middleware_of_a_kind_is_warned_of(broker, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="dramatiq"):
        mine = hooks()
        broker.add_middleware(mine)
        broker.add_middleware(mine)
    assert "same type twice" in caplog.text


def test_a_late_middleware_is_told_of_actors_and_queues(broker, work) -> None:
    broker.add_middleware(
        hooks(
            after_declare_actor=lambda self, broker, actor: got.append(actor.actor_name),
            after_declare_queue=lambda self, broker, queue: got.append(queue),
        )
    )
    assert "work" in got
    assert "default.medium" in got


def test_a_hook_hears_of_a_declaration(broker) -> None:
    broker.add_middleware(hooks(before_declare_actor=lambda self, broker, actor: got.append(actor.actor_name)))
    dramatiq.actor(actor_name="late")(lambda: None)
    assert got == ["late"]


def test_a_hook_can_refuse_a_declaration(broker) -> None:
    def refuse(self: Any, broker: Any, actor: Any) -> None:
        raise MiddlewareError("no")

    broker.add_middleware(hooks(before_declare_actor=refuse))
    with pytest.raises(MiddlewareError):
        dramatiq.actor(actor_name="late")(lambda: None)


def test_hooks_hear_of_a_sent_message(broker, work) -> None:
    broker.add_middleware(
        hooks(
            before_enqueue=lambda self, broker, message, delay: got.append(("before", message.actor_name, delay)),
            after_enqueue=lambda self, broker, message, delay: got.append(("after", message.actor_name, delay)),
        )
    )
    work.send_with_options(delay=300)
    assert got == [("before", "work", 300), ("after", "work", 300)]


def test_a_hook_may_add_options(broker, run) -> None:
    def tag(self: Any, broker: Any, message: Any, delay: Any) -> None:
        message.options["tenant"] = "acme"

    broker.add_middleware(hooks(before_enqueue=tag))

    @dramatiq.actor
    def look() -> None:
        message: Any = CurrentMessage.get_current_message()
        got.append(message.options["tenant"])

    run(look.send())
    assert got == ["acme"]


def test_a_hook_can_refuse_a_message(broker, work) -> None:
    def refuse(self: Any, broker: Any, message: Any, delay: Any) -> None:
        raise MiddlewareError("no")

    broker.add_middleware(hooks(before_enqueue=refuse))
    with pytest.raises(MiddlewareError):
        work.send()
    assert not Task.objects.exists()


def test_hooks_run_in_order_before_and_backwards_after(broker, run, work) -> None:
    for name in "ab":
        broker.add_middleware(
            hooks(
                before_process_message=lambda self, broker, message, name=name: got.append(f"before {name}"),
                after_process_message=lambda self, broker, message, name=name, **_: got.append(f"after {name}"),
            )
        )
    run(work.send())
    assert got == ["before a", "before b", "ran", "after b", "after a"]


def test_a_hook_is_told_the_result(broker, run) -> None:
    broker.add_middleware(
        hooks(after_process_message=lambda self, broker, message, *, result=None, exception=None: got.append(result))
    )
    run(dramatiq.actor(actor_name="seven")(lambda: 7).send())
    assert got == [7]


def test_a_hook_is_told_the_exception(broker, run) -> None:
    def after(self: Any, broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
        got.append((result, type(exception)))

    broker.add_middleware(hooks(after_process_message=after))

    @dramatiq.actor(max_retries=0)
    def breaks() -> None:
        raise KeyError

    run(breaks.send())
    assert got == [(None, KeyError)]


def test_an_actor_may_skip_its_message(broker, run) -> None:
    broker.add_middleware(hooks(after_skip_message=lambda self, broker, message: got.append("skipped")))

    @dramatiq.actor
    def work() -> None:
        raise SkipMessage

    run(work.send())
    assert got == ["skipped"]


def test_a_hook_can_fail_a_message(broker, run, work) -> None:
    broker.add_middleware(hooks(after_process_message=lambda self, broker, message, **_: message.fail()))
    assert run(work.send()).status == Status.DEAD


def test_the_current_message_is_that_of_each_coroutine(run) -> None:
    @dramatiq.actor
    async def look(n: int) -> None:
        await asyncio.sleep(0)
        message: Any = CurrentMessage.get_current_message()
        got.append((n, tuple(message.args)))

    for n in range(3):
        look.send(n)
    run()
    assert got == [(n, (n,)) for n in range(3)]


class Payload:
    """Something that an exception holds."""


class Held(Exception):
    """Holds something big."""


def test_what_an_exception_of_a_coroutine_holds_is_freed(run, caplog) -> None:
    caplog.set_level(logging.CRITICAL)

    @dramatiq.actor(max_retries=0)
    async def breaks() -> None:
        payload = Payload()
        got.append(weakref.ref(payload))
        raise Held(payload)

    run(breaks.send())
    gc.collect()
    assert got[0]() is None


def test_an_error_of_a_coroutine_has_its_own_traceback(run) -> None:
    async def deep() -> None:
        raise TypeError("bla")

    @dramatiq.actor(max_retries=0)
    async def breaks() -> None:
        await deep()

    task = run(breaks.send())
    assert task.error == "TypeError: bla"
    assert "in breaks" in Attempt.objects.get(task=task).traceback
    assert "in deep" in Attempt.objects.get(task=task).traceback


def test_a_time_out_inside_of_a_coroutine_is_a_failure_like_others(run) -> None:
    @dramatiq.actor(max_retries=0)
    async def breaks() -> None:
        raise TimeoutError("something took too long")

    assert run(breaks.send()).error == "TimeoutError: something took too long"


def test_prometheus_counts_messages_failures_and_retries(broker, run) -> None:
    middleware = Prometheus()
    broker.add_middleware(middleware)
    middleware.after_process_boot(broker)

    # All counters of this process are one, so no other test may use the name.
    @dramatiq.actor(max_retries=1, queue_name="letters")
    def breaks_here() -> None:
        raise RuntimeError

    run(breaks_here.send())

    def count(metric: Any) -> float:
        return float(metric.labels("letters", "breaks_here")._value.get())

    assert (count(middleware.total_messages), count(middleware.total_errored_messages)) == (2, 2)
    assert (count(middleware.total_retried_messages), count(middleware.total_rejected_messages)) == (1, 1)
