"""The event loop that ``async def`` actors share: Dramatiq's, made so that no coroutine can take the process along."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.asyncio import EventLoopThread, async_to_sync, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import AsyncIO

#: How long the end of a worker waits for a loop that a coroutine blocks.
END_SECONDS = 2.0


class _Exit(BaseException):
    """Carries a SystemExit or KeyboardInterrupt out of the loop, whose thread they would end."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def outside(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Make a coroutine function callable from an actor's thread; whatever it raises arrives there."""

    @functools.wraps(function)
    async def carrying(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except (SystemExit, KeyboardInterrupt) as error:
            raise _Exit(error) from error

    waiting = async_to_sync(carrying)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return waiting(*args, **kwargs)
        except _Exit as carried:
            raise carried.error from None

    return called


class BoundedAsyncIO(AsyncIO):
    """Dramatiq's AsyncIO whose thread does not outlive the process.

    The stock one joins the loop's thread without a limit, and a coroutine that blocks the loop (``time.sleep``) would
    keep a worker that has ended its work alive for ever, with nobody in its place.
    """

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start the loop."""
        thread = EventLoopThread(self.logger)
        thread.daemon = True
        thread.start(timeout=1.0)
        set_event_loop_thread(thread)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop the loop, or leave it to its blocker and the process's end."""
        thread = get_event_loop_thread()
        if thread is None:
            return
        set_event_loop_thread(None)
        thread.loop.call_soon_threadsafe(thread.loop.stop)
        thread.join(END_SECONDS)


def is_alive() -> bool:
    """Whether async actors can run: there is no loop yet, or its thread runs."""
    thread = get_event_loop_thread()
    return thread is None or thread.is_alive()
