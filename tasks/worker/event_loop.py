"""The event loop of ``async def`` actors: Dramatiq's, made safe against coroutines that would end the process."""

import asyncio
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
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


#: How long the loop's thread may take to start on a busy machine.
START_SECONDS = 10.0
#: How long the end of a worker waits for a loop that a coroutine blocks.
END_SECONDS = 2.0
#: How long a cancelled coroutine may clean up, as in Dramatiq.
CLEAN_UP_SECONDS = 1.0


class _CarriedExit(BaseException):
    """Carries a SystemExit or KeyboardInterrupt out of the loop, whose thread either would end."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class _Call:
    """One call of a coroutine function, which must end before its attempt gets an outcome.

    An interrupt may arrive after Dramatiq has handed the coroutine to the loop and before it waits for the result. The
    coroutine would then go on beside the next attempt of its task.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        self._ended = threading.Event()
        self._run: current.Run | None = current.run()
        #: Connections in a transaction that the coroutine began by hand; kept while no function of its runs.
        self.in_transaction: dict[str, BaseDatabaseWrapper] = {}
        #: Databases in which it left a transaction open in another thread.
        self.left_open: list[str] = []
        #: Threads in which its sessions were checked.
        self.checked_threads: set[int] = set()

    @property
    def has_ended(self) -> bool:
        """Whether the coroutine has ended; tasks that it made may go on."""
        return self._ended.is_set()

    async def run(self, begin: Callable[[], Awaitable[Any]]) -> Any:
        """Begin and await the coroutine in the loop, unless the call was cancelled before."""
        self._task = asyncio.current_task()
        _current_call.set(self)
        error: BaseException | None = None
        try:
            # The loop's thread writes the task and then reads the flag; cancel() writes the flag and then reads the
            # task. So at least one of them sees the other.
            if self._is_cancelled:
                raise asyncio.CancelledError
            return await begin()
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._ended.set()
            self._leave_nothing_open(error)
            error = None

    def _leave_nothing_open(self, error: BaseException | None) -> None:
        # The other thread writes what is open and then looks whether the call has ended, so one of the two sees it.
        if self.in_transaction:
            self.left_open += self.in_transaction
            _threads_of(asyncio.get_running_loop()).submit(open_transactions.leave, {}, error)
        self.report()

    def report(self) -> None:
        """Report what the coroutine left open, once."""
        left, self.left_open = self.left_open, []
        if left and self._run is not None:
            open_transactions.report(self._run, left)

    def cancel(self, interrupt: Interrupt) -> None:
        """Cancel the coroutine if it still runs; raise as Dramatiq does if it resists."""
        self._is_cancelled = True
        task = self._task
        if task is None or self._ended.is_set():
            return
        task.get_loop().call_soon_threadsafe(task.cancel)
        if not self._ends_within(CLEAN_UP_SECONDS):
            raise RuntimeError("the coroutine continues after its cancellation") from interrupt

    def _ends_within(self, seconds: float) -> bool:
        """Wait for the end of the coroutine, whatever further interrupts arrive: the first one is being dealt with."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self._ended.wait(max(0.0, until - time.monotonic()))
            except Interrupt:
                continue


#: The call that runs; coroutines and the tasks that they make inherit it.
_current_call: ContextVar[_Call | None] = ContextVar("callboard_coroutine_call", default=None)


class Threads(ThreadPoolExecutor):
    """Threads for blocking calls of coroutines, above all queries. asgiref's own threads never renew their sessions.

    Calls do not share transactions. What a function leaves open is taken out of its thread and put in again for the
    next function of the same call. So transactions that are entered by hand work in the one thread that all calls
    share, and are rolled back when their call ends.

    Parameters:
        keeps_transactions: whether there is only one thread, so that a call's next function runs there as well.
    """

    def __init__(self, count: int | None, *, name: str, keeps_transactions: bool) -> None:
        super().__init__(count, thread_name_prefix=name)
        self._keeps_transactions = keeps_transactions

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a thread, for the call that submits it."""
        return super().submit(self._run, _current_call.get(), functools.partial(fn, *args, **kwargs))

    def _run(self, call: _Call | None, function: Callable[[], Any]) -> Any:
        displaced = self._restore_transactions(call)
        if sessions.is_renewal_due() or (call is not None and threading.get_ident() not in call.checked_threads):
            sessions.renew()
        if call is not None:
            call.checked_threads.add(threading.get_ident())
        try:
            return function()
        finally:
            self._leave(call)
            if displaced:
                open_transactions.close(displaced)
                open_transactions.put_in(displaced)

    def _restore_transactions(self, call: _Call | None) -> Mapping[str, "BaseDatabaseWrapper"]:
        """Put a call's open connections into this thread; return those that were there."""
        if self._keeps_transactions and call is not None and call.in_transaction:
            return open_transactions.put_in(call.in_transaction)
        return {}

    def _leave(self, call: _Call | None) -> None:
        if call is None:
            open_transactions.leave({}, None)
            return
        if self._keeps_transactions:
            call.in_transaction = open_transactions.take_out()
            if not call.in_transaction or not call.has_ended:
                return
            # The coroutine has ended without waiting for this function.
            open_transactions.put_in(call.in_transaction)
            call.in_transaction = {}
        call.left_open += open_transactions.leave({}, None)
        if call.left_open and call.has_ended:
            call.report()


def _threads_of(loop: asyncio.AbstractEventLoop) -> Threads:
    return cast(Threads, AsyncToSync.loop_thread_executors[loop])


def blocking(function: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """Make a coroutine function a plain one that blocks its thread and raises there whatever the coroutine raises."""

    async def run(call: _Call, *args: Any, **kwargs: Any) -> Any:
        try:
            return await call.run(functools.partial(function, *args, **kwargs))
        except (SystemExit, KeyboardInterrupt) as error:
            raise _CarriedExit(error) from error

    run_and_wait = async_to_sync(run)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        call = _Call()
        try:
            return run_and_wait(call, *args, **kwargs)
        except _CarriedExit as carried:
            raise carried.error from None
        except Interrupt as interrupt:
            call.cancel(interrupt)
            raise

    return called


class BoundedAsyncIO(AsyncIO):
    """Dramatiq's AsyncIO whose thread does not outlive the process.

    The stock one joins the loop's thread without a limit. A coroutine that blocks the loop (``time.sleep``) would keep
    a worker alive for ever after its last task, and no other worker would take its place.
    """

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start the loop."""
        thread = EventLoopThread(self.logger)
        thread.daemon = True
        attach_threads(thread.loop)
        thread.start(timeout=START_SECONDS)
        set_event_loop_thread(thread)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop the loop; a loop that a coroutine blocks ends with the process."""
        thread = get_event_loop_thread()
        if thread is None:
            return
        set_event_loop_thread(None)
        threads = _threads_of(thread.loop)
        threads.submit(connections.close_all)
        threads.shutdown(wait=False)
        del AsyncToSync.loop_thread_executors[thread.loop]
        thread.loop.call_soon_threadsafe(thread.loop.stop)
        thread.join(END_SECONDS)


def attach_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Give a loop its threads: one for thread-sensitive functions (all of Django's ORM), several for the rest."""
    # asgiref looks up a loop's thread here and falls back to one for the whole process.
    executors = cast(dict[Any, Any], AsyncToSync.loop_thread_executors)
    executors[loop] = Threads(1, name="async-sensitive", keeps_transactions=True)
    loop.set_default_executor(Threads(None, name="async", keeps_transactions=False))


def is_alive() -> bool:
    """Whether async actors can run: there is no loop yet, or its thread runs."""
    thread = get_event_loop_thread()
    return thread is None or thread.is_alive()
