"""The event loop that ``async def`` actors share: Dramatiq's, made so that no coroutine can take the process along."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.asyncio import EventLoopThread, async_to_sync, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import AsyncIO, Interrupt

#: A busy machine may take a while for it.
START_SECONDS = 10.0
#: How long the end of a worker waits for a loop that a coroutine blocks.
END_SECONDS = 2.0
#: How long a cancelled coroutine may clean up, as in Dramatiq.
CLEAN_UP_SECONDS = 1.0


class _Exit(BaseException):
    """Carries a SystemExit or KeyboardInterrupt out of the loop, whose thread they would end."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Flight:
    """One call of a coroutine function, which must have landed before anything is said about its attempt.

    An interrupt that arrives after Dramatiq has handed the coroutine to the loop and before it waits for it leaves the
    coroutine running, beside the next attempt of its task.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._is_called_off = False
        self._landed = threading.Event()

    async def fly(self, begin: Callable[[], Awaitable[Any]]) -> Any:
        """Begin and await the coroutine in the loop, unless it was called off before."""
        self._task = asyncio.current_task()
        try:
            # The loop's thread writes the task and then reads the flag, call_off() the other way round: one sees it.
            if self._is_called_off:
                raise asyncio.CancelledError
            return await begin()
        finally:
            self._landed.set()

    def call_off(self, interrupt: Interrupt) -> None:
        """Cancel what still runs; raise as Dramatiq does if it resists."""
        self._is_called_off = True
        task = self._task
        if task is None or self._landed.is_set():
            return
        task.get_loop().call_soon_threadsafe(task.cancel)
        if not self._landed.wait(CLEAN_UP_SECONDS):
            raise RuntimeError("the coroutine goes on after its cancellation") from interrupt


def outside(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Make a coroutine function callable from an actor's thread; whatever it raises arrives there."""

    async def carrying(flight: _Flight, *args: Any, **kwargs: Any) -> Any:
        try:
            return await flight.fly(functools.partial(function, *args, **kwargs))
        except (SystemExit, KeyboardInterrupt) as error:
            raise _Exit(error) from error

    waiting = async_to_sync(carrying)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        flight = _Flight()
        try:
            return waiting(flight, *args, **kwargs)
        except _Exit as carried:
            raise carried.error from None
        except Interrupt as interrupt:
            flight.call_off(interrupt)
            raise

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
        thread.start(timeout=START_SECONDS)
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
