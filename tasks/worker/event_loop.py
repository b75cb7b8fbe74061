"""The event loop that ``async def`` actors share: Dramatiq's, made so that no coroutine can take the process along."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import AsyncToSync
from django.db import connections
from dramatiq import Broker, Worker
from dramatiq.asyncio import EventLoopThread, async_to_sync, get_event_loop_thread, set_event_loop_thread
from dramatiq.middleware import AsyncIO, Interrupt

from tasks import current
from tasks.db import sessions
from tasks.worker import open_transactions

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper


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
        self._run: current.Run | None = current.run()
        #: Connections in a transaction that it began by hand, between its calls in the thread for such.
        self.open: dict[str, BaseDatabaseWrapper] = {}
        #: Databases in which it left one open in another thread.
        self.left: list[str] = []
        #: Threads whose sessions it has asked whether they are there.
        self.asked: set[int] = set()

    @property
    def has_landed(self) -> bool:
        """Whether the coroutine has ended; tasks that it made may go on."""
        return self._landed.is_set()

    async def fly(self, begin: Callable[[], Awaitable[Any]]) -> Any:
        """Begin and await the coroutine in the loop, unless it was called off before."""
        self._task = asyncio.current_task()
        _flight.set(self)
        error: BaseException | None = None
        try:
            # The loop's thread writes the task and then reads the flag, call_off() the other way round: one sees it.
            if self._is_called_off:
                raise asyncio.CancelledError
            return await begin()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._landed.set()
            self._leave_nothing_open(error)
            error = None

    def _leave_nothing_open(self, error: BaseException | None) -> None:
        # The thread of the calls writes what is open and then looks whether we have landed: one sees the other.
        if self.open:
            self.left += self.open
            _of_loop(asyncio.get_running_loop()).submit(open_transactions.leave, {}, error)
        self.report()

    def report(self) -> None:
        """Say what it left open, once."""
        left, self.left = self.left, []
        if left and self._run is not None:
            open_transactions.report(self._run, left)

    def call_off(self, interrupt: Interrupt) -> None:
        """Cancel what still runs; raise as Dramatiq does if it resists."""
        self._is_called_off = True
        task = self._task
        if task is None or self._landed.is_set():
            return
        task.get_loop().call_soon_threadsafe(task.cancel)
        if not self._landed.wait(CLEAN_UP_SECONDS):
            raise RuntimeError("the coroutine goes on after its cancellation") from interrupt


#: Who calls: coroutines and the tasks that they make inherit it.
_flight: ContextVar[_Flight | None] = ContextVar("callboard_flight", default=None)


class Threads(ThreadPoolExecutor):
    """Threads for what coroutines do not do themselves, queries above all; asgiref's have sessions that nobody renews.

    One flight's transactions are never another's: what a call leaves open is taken out of its thread and put in again
    for the same flight's next call. So transactions that are entered by hand work, in the one thread that all calls
    share, and are rolled back when their flight lands.

    Parameters:
        keeps: whether there is but one thread, which a flight's next call comes to as well.
    """

    def __init__(self, count: int | None, *, name: str, keeps: bool) -> None:
        super().__init__(count, thread_name_prefix=name)
        self._keeps = keeps

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in a thread, for the flight that asks."""
        return super().submit(self._call, _flight.get(), functools.partial(fn, *args, **kwargs))

    def _call(self, flight: _Flight | None, function: Callable[[], Any]) -> Any:
        displaced = open_transactions.put_in(flight.open) if self._keeps and flight is not None and flight.open else {}
        if sessions.is_renewal_due() or (flight is not None and threading.get_ident() not in flight.asked):
            sessions.renew()
        if flight is not None:
            flight.asked.add(threading.get_ident())
        try:
            return function()
        finally:
            self._leave(flight)
            if displaced:
                open_transactions.close(displaced)
                open_transactions.put_in(displaced)

    def _leave(self, flight: _Flight | None) -> None:
        if flight is None:
            open_transactions.leave({}, None)
            return
        if self._keeps:
            flight.open = open_transactions.take_out()
            if not flight.open or not flight.has_landed:
                return
            # A call that its coroutine did not wait for.
            open_transactions.put_in(flight.open)
            flight.open = {}
        flight.left += open_transactions.leave({}, None)
        if flight.left and flight.has_landed:
            flight.report()


def _of_loop(loop: asyncio.AbstractEventLoop) -> Threads:
    return cast(Threads, AsyncToSync.loop_thread_executors[loop])


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
        serve(thread.loop)
        thread.start(timeout=START_SECONDS)
        set_event_loop_thread(thread)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop the loop, or leave it to its blocker and the process's end."""
        thread = get_event_loop_thread()
        if thread is None:
            return
        set_event_loop_thread(None)
        threads = _of_loop(thread.loop)
        threads.submit(connections.close_all)
        threads.shutdown(wait=False)
        del AsyncToSync.loop_thread_executors[thread.loop]
        thread.loop.call_soon_threadsafe(thread.loop.stop)
        thread.join(END_SECONDS)


def serve(loop: asyncio.AbstractEventLoop) -> None:
    """Give a loop its threads: one for what is thread-sensitive, as all of Django's ORM, and some for the rest."""
    # asgiref looks here for the thread of a loop, and falls back to one for the process.
    executors = cast(dict[Any, Any], AsyncToSync.loop_thread_executors)
    executors[loop] = Threads(1, name="async-sensitive", keeps=True)
    loop.set_default_executor(Threads(None, name="async", keeps=False))


def is_alive() -> bool:
    """Whether async actors can run: there is no loop yet, or its thread runs."""
    thread = get_event_loop_thread()
    return thread is None or thread.is_alive()
