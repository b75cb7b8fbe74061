"""The watches of one call: begun on a thread, and read in the event loop."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tasks.contract.watching import End, Watch
from tasks.errors import NotReady
from tasks.rpc import calls
from tasks.rpc.calls import Answer, Method, Origin


class Watching:
    """The watches of one call, until it is stopped; made in the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._watches: list[Watch] = []
        self._is_stopped = False

    def begin(self, method: Method, raw: bytes, origin: Origin) -> Answer:
        """Answer the request of the call; on a thread."""
        answer = calls.answer(method, raw, origin)
        self._watches += answer.watches
        if self._is_stopped:
            # The client gave up meanwhile, and nobody has seen the watches.
            self.stop()
        return answer

    def stop(self) -> None:
        """Free the places of the watches."""
        self._is_stopped = True
        for watch in self._watches:
            watch.stop()

    async def events(self, stopping: asyncio.Event) -> AsyncIterator[tuple[Watch, Mapping[str, Any]]]:
        """Give each event as it comes, until all tasks are final or gone.

        Raises:
            NotReady: this server stops, or the call has lasted as long as it may.
        """
        stop = asyncio.ensure_future(stopping.wait())
        stop.add_done_callback(lambda _: self._ready.set())
        open_ones = list(self._watches)
        for watch in open_ones:
            watch.on_change(self._wake)
        try:
            while open_ones:
                await self._ready.wait()
                self._ready.clear()
                for watch in list(open_ones):
                    change = watch.take()
                    if change is None:
                        continue
                    for event in change.events:
                        yield watch, event
                    if change.end is End.OVER:
                        raise NotReady("this watch has lasted as long as it may; watch again from your last event on")
                    if change.end is not None:
                        open_ones.remove(watch)
                if stopping.is_set():
                    raise NotReady("this server stops; watch again from your last event on, at another one")
        finally:
            stop.cancel()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._ready.set)
