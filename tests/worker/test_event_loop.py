"""Coroutines of actors: none runs on after its attempt has an outcome."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import Interrupt, Shutdown, TimeLimitExceeded
from dramatiq.threading import raise_thread_exception

from tasks.worker import event_loop
from tests.waiting import wait_until


class HastyLoop(EventLoopThread):
    """A loop whose caller is interrupted after it has handed the coroutine over and before it waits for it."""

    reason: type[Interrupt] = Shutdown
    #: Set by a coroutine that has begun; None interrupts before it can.
    begun: threading.Event | None = None

    def run_coroutine(self, coro: Any) -> Any:
        self.handed: Future[Any] = asyncio.run_coroutine_threadsafe(coro, self.loop)
        if self.begun is not None:
            assert self.begun.wait(10)
        raise self.reason


@pytest.fixture
def loop() -> Iterator[HastyLoop]:
    before = get_event_loop_thread()
    thread = HastyLoop(logging.getLogger("hasty"))
    thread.daemon = True
    thread.start(timeout=10)
    set_event_loop_thread(thread)
    yield thread
    set_event_loop_thread(before)
    wait_until(lambda: not asyncio.all_tasks(thread.loop))
    thread.loop.call_soon_threadsafe(thread.loop.stop)
    thread.join(10)


def test_an_interrupt_just_after_its_start_leaves_no_coroutine_running_beside_the_next_attempt(loop) -> None:
    loop.begun = threading.Event()
    ends: list[str] = []

    async def actor() -> None:
        loop.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    with pytest.raises(Shutdown):
        event_loop.blocking(actor)()
    assert ends == ["cancelled"]


def test_a_coroutine_that_was_interrupted_before_the_loop_came_to_it_never_begins(loop) -> None:
    is_blocked, go_on = threading.Event(), threading.Event()
    begun: list[bool] = []

    def block() -> None:
        is_blocked.set()
        go_on.wait(20)

    async def actor() -> None:
        begun.append(True)

    loop.loop.call_soon_threadsafe(block)
    assert is_blocked.wait(10)
    with pytest.raises(Shutdown):
        event_loop.blocking(actor)()
    go_on.set()
    wait_until(loop.handed.done)
    assert begun == []


def test_a_coroutine_that_resists_is_distinguished_from_one_that_was_interrupted(loop, monkeypatch) -> None:
    monkeypatch.setattr(event_loop, "CLEAN_UP_SECONDS", 0.05)
    loop.begun, is_over = threading.Event(), threading.Event()
    loop.reason = TimeLimitExceeded

    async def actor() -> None:
        loop.begun.set()
        while not is_over.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    with pytest.raises(RuntimeError) as raised:
        event_loop.blocking(actor)()
    is_over.set()
    # The execution recognises it by its cause.
    assert isinstance(raised.value.__cause__, TimeLimitExceeded)


def test_a_further_interrupt_does_not_hide_a_coroutine_that_resists(loop) -> None:
    loop.begun = threading.Event()
    thread_id = threading.get_ident()
    goes_on = [True]

    async def actor() -> None:
        loop.begun.set()
        while goes_on[0]:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                # The thread waits for the end by now, or will at once; the limit is repeated.
                interrupt = threading.Timer(0.2, raise_thread_exception, (thread_id, TimeLimitExceeded))
                interrupt.start()

    try:
        with pytest.raises(RuntimeError, match="continues after its cancellation"):
            event_loop.blocking(actor)()
    finally:
        goes_on[0] = False
