"""An event loop for ``async def`` actors whose database calls run in the thread that waits for them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from asgiref.sync import AsyncToSync
from dramatiq.asyncio import EventLoopThread

R = TypeVar("R")

#: How often the waiting thread looks up, so that an interrupt can reach it.
LOOK_SECONDS = 0.05
START_SECONDS = 10.0


class CallersLoop(EventLoopThread):
    """Dramatiq's event loop thread, started by its first coroutine.

    asgiref runs thread-sensitive functions, which are all of Django's ORM, in the executor that a loop names. Here it
    is the calling thread, whose session holds the test's transaction.
    """

    def __init__(self) -> None:
        super().__init__(logging.getLogger(__name__))
        self.daemon = True
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> "Future[R]":
        """Have the waiting thread call a function; asgiref and asyncio call this as an executor's."""
        future: Future[R] = Future()

        def call() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised in the coroutine
                future.set_exception(error)

        self._calls.put(call)
        return future

    def run_coroutine(self, coro: Awaitable[R]) -> R:
        """Run a coroutine in the loop and its database calls in this thread, until it ends."""
        if self.ident is None:
            cast(dict[Any, Any], AsyncToSync.loop_thread_executors)[self.loop] = self
            self.start(timeout=START_SECONDS)
        future = asyncio.run_coroutine_threadsafe(cast(Any, coro), self.loop)
        future.add_done_callback(lambda _: self._calls.put(None))
        while not future.done():
            try:
                call = self._calls.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
            if call is not None:
                call()
        return cast(R, future.result())

    def stop(self) -> None:
        """End the loop, if it was started."""
        if self.ident is None:
            self.loop.close()
            return
        del AsyncToSync.loop_thread_executors[self.loop]
        super().stop()  # type: ignore[no-untyped-call]
