"""What runs is what was declared: no decorator is skipped, and annotations keep their promises."""

import asyncio
import functools
import gc
import logging
import weakref
from collections.abc import Callable
from datetime import date
from typing import Any

import asgiref.sync
import dramatiq
import pytest

from tasks.current import run as current_run
from tasks.errors import NotSupported
from tests.waiting import wait_until

got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


def noting(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        got.append("before")
        try:
            return fn(*args, **kwargs)
        finally:
            got.append("after")

    return wrapper


def noting_async(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        got.append("before")
        try:
            return await fn("a session", *args, **kwargs)
        finally:
            got.append("after")

    return wrapper


def blocking(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        got.append("before")
        return asyncio.run(fn(*args, **kwargs))

    return wrapper


def test_a_decorator_around_a_function_runs(declare, run) -> None:
    @noting
    def work(n: int) -> int:
        got.append(n)
        return n

    assert run(declare(work).send(1)).result == 1
    assert got == ["before", 1, "after"]


def test_a_decorator_around_a_coroutine_function_runs_and_injects(declare, run) -> None:
    @noting_async
    async def work(session: str, n: int) -> int:
        await asyncio.sleep(0)
        got.append((session, n))
        return n

    assert run(declare(work).send(1)).result == 1
    assert got == ["before", ("a session", 1), "after"]


@pytest.mark.parametrize("decorator", [blocking, asgiref.sync.async_to_sync])
def test_a_decorator_that_makes_a_coroutine_function_plain_runs(declare, run, decorator) -> None:
    async def work(n: int) -> int:
        # In a loop of its own: the worker's is not entered.
        assert current_run() is not None
        got.append(n)
        return n

    made = decorator(work)
    made.__name__ = "work"
    assert run(declare(made).send(1)).result == 1
    assert got[-1] == 1


def test_a_coroutine_sends_as_the_refusal_says(declare, run) -> None:
    note = declare(lambda n: got.append(n), actor_name="note_it")  # noqa: PLW0108 - an actor needs a function

    async def work() -> str:
        try:
            note.send(1)
        except NotSupported as error:
            return str(await asgiref.sync.sync_to_async(note.send)(2)) and str(error)
        return "sent"

    assert "await sync_to_async(actor.send)" in run(declare(work).send()).result
    wait_until(lambda: got == [2])


def test_a_class_based_actor_runs_and_is_checked(scheduled, run) -> None:
    class Twice(dramatiq.GenericActor):
        class Meta:
            broker = scheduled.broker
            queue_name = "default"

        def perform(self, n: int, day: date) -> int:
            got.append(day)
            return 2 * n

    assert run(Twice.send(4, "2030-01-02")).result == 8
    assert got == [date(2030, 1, 2)]
    with pytest.raises(Exception, match=r"payload\.n"):
        Twice.send("4", "2030-01-02")


def test_an_annotation_keeps_its_promise_and_hooks_see_the_json(scheduled, declare, run) -> None:
    class Look(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            got.append((message.args, message.kwargs))
            message.encode()

    scheduled.broker.add_middleware(Look())

    def work(day: date, *, other: date) -> str:
        return f"{day:%Y} {other:%d}"

    task = run(declare(work).send("2030-01-02", other="2031-02-03"))
    assert task.result == "2030 03"
    assert got == [(("2030-01-02",), {"other": "2031-02-03"})]


def test_a_call_of_an_actor_as_a_function_runs_what_was_declared(declare) -> None:
    @noting
    def work(n: int) -> int:
        return n

    assert declare(work)(5) == 5
    assert got == ["before", "after"]


class Boom(Exception):
    """Notes that it lives."""

    def __init__(self) -> None:
        got.append(weakref.ref(self))


def test_an_exception_is_freed_without_the_garbage_collector(declare, run, caplog) -> None:
    def work() -> None:
        raise Boom

    # Or the records that pytest captures would keep it.
    caplog.set_level(logging.CRITICAL)
    actor = declare(work, max_retries=1, min_backoff=1, max_backoff=1)
    gc.disable()
    try:
        run(actor.send())
        assert len(got) == 2
        wait_until(lambda: all(one() is None for one in got))
    finally:
        gc.enable()
