"""A thread that sets the gauges of a process once a second: to set them at every change would cost too much."""

import threading
from collections.abc import Callable

from tasks.log import get_logger

log = get_logger(__name__)

#: Between two samples; scrapes come less often.
SAMPLE_SECONDS = 1.0


class Sampler:
    """Calls ``sample`` every ``SAMPLE_SECONDS`` until it is stopped, and then ``clear``.

    Parameters:
        sample: sets gauges; it must neither wait nor ask a server.
        clear: sets those gauges back to 0.
    """

    def __init__(self, sample: Callable[[], None], *, clear: Callable[[], None]) -> None:
        self._sample, self._clear = sample, clear
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and clear the gauges: the process may go on with other work."""
        self._stopped.set()
        self._thread.join(SAMPLE_SECONDS)
        self._clear()

    def _run(self) -> None:
        while True:
            try:
                self._sample()
            except Exception:
                # The work of the process goes on whatever its figures are.
                log.exception("the gauges of this process could not be set; trying again")
            if self._stopped.wait(SAMPLE_SECONDS):
                return
