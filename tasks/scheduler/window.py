"""How many hints the broker may hold: a window for each broker queue that follows the workers' speed."""

import time
from collections import deque
from collections.abc import Mapping

from tasks.broker.sources.base import Source

WINDOW_SECONDS = 0.1
LARGEST_WINDOW = 1024


class Window:
    """The window of one broker queue: twice as many hints as workers took in the last tenth of a second."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()
        #: The depth if workers took nothing since it was read; None until it is read.
        self._expected: int | None = None

    def certain_space(self, *, threads: int) -> int | None:
        """Return how many hints fit even if workers took none since the depth was read; None if it must be read."""
        size = min(LARGEST_WINDOW, threads)
        if self._expected is None or self._expected > size // 2:
            return None
        return size - self._expected

    def space(self, depth: int, *, threads: int) -> int:
        """Return how many hints fit into a queue that holds ``depth`` and is served by ``threads``."""
        now = time.monotonic()
        self._taken.append((now, max(0, (self._expected or 0) - depth)))
        while self._taken[0][0] < now - WINDOW_SECONDS:
            self._taken.popleft()
        self._expected = depth
        size = min(LARGEST_WINDOW, max(threads, 2 * sum(count for _, count in self._taken)))
        return max(0, size - depth)

    @property
    def hints(self) -> int:
        """How many hints the queue holds if workers took none since its depth was read."""
        return self._expected or 0

    def add(self, count: int) -> None:
        """Count published hints in."""
        self._expected = (self._expected or 0) + count


class Windows:
    """The windows of all broker queues."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._windows: dict[str, Window] = {}

    def spaces(self, threads: Mapping[str, int]) -> dict[str, int]:
        """Return how many hints fit into each queue; the broker is asked only where that is not certain.

        Parameters:
            threads: of the workers that serve each broker queue.
        """
        windows = {name: self._windows.setdefault(name, Window()) for name in threads}
        spaces = {name: window.certain_space(threads=threads[name]) for name, window in windows.items()}
        uncertain = [name for name, space in spaces.items() if space is None]
        depths = self._source.depth(uncertain) if uncertain else {}
        read = {name: windows[name].space(depth, threads=threads[name]) for name, depth in depths.items()}
        return {name: read[name] if space is None else space for name, space in spaces.items()}

    def add(self, name: str, count: int) -> None:
        """Count hints in that were published to a queue."""
        self._windows[name].add(count)

    @property
    def hints(self) -> dict[str, int]:
        """How many hints each queue holds, as far as is known."""
        return {name: window.hints for name, window in self._windows.copy().items()}

    def clear(self) -> None:
        """Read every depth again before anything more is published."""
        self._windows.clear()
