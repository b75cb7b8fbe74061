"""A circuit breaker: calls to a server that does not answer are refused, until a probe in the background finds it well.

Requests do not try the server out: one probe at a time does, in a thread of its own, so no request waits for it, and
any number of health checks share it.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakValueDictionary

from tasks.log import get_logger

log = get_logger(__name__)

#: A probe that takes longer than this opens the circuit, because calls would wait as long.
SILENT_SECONDS = 2.0
#: How long ``answers()`` waits for a probe.
PATIENCE_SECONDS = 1.5
#: How long a probe's answer counts.
FRESH_SECONDS = 1.0
#: Between two probes of a server that does not answer.
PAUSE_SECONDS = 0.5


#: The breakers of this process by name, for metrics.
known: "WeakValueDictionary[str, CircuitBreaker]" = WeakValueDictionary()


class CircuitBreaker:
    """Knows whether a server answers this process.

    The circuit opens when a probe gets no answer for ``SILENT_SECONDS``, or when a caller says so with ``trip()``. A
    probe that fails at once opens nothing: calls then fail at once too, and those on open connections may succeed.

    Parameters:
        name: of the server, for logs and metrics.
        probe: asks the server, and raises whatever is wrong; it must end by itself.
    """

    def __init__(self, name: str, probe: Callable[[], object]) -> None:
        self.name = name
        self._probe = probe
        self._lock = threading.Lock()
        self._answer = threading.Event()
        self._is_probing = False
        self._is_well = False
        self._was_silent = self._was_tripped = False
        #: What the last probe raised.
        self.error: Exception | None = None
        self._began_at = self._ended_at = float("-inf")
        known[name] = self

    @property
    def is_open(self) -> bool:
        """Whether calls are refused."""
        is_silent = self._is_probing and time.monotonic() - self._began_at > SILENT_SECONDS
        return self._was_tripped or self._was_silent or is_silent

    def suspect(self) -> None:
        """Look in the background whether the server answers; return at once."""
        self._begin()

    def trip(self) -> None:
        """Open the circuit until a probe succeeds."""
        if not self._was_tripped:
            log.warning("a server fails; it is not asked until it answers a probe", server=self.name)
        self._was_tripped = True
        self._begin(is_fresh_enough=False)

    def answers(self) -> bool:
        """Tell whether the server answers, after ``PATIENCE_SECONDS`` at most."""
        self._begin()
        # From the beginning of the probe: who asks while it is under way waits for the rest only.
        return self._answer.wait(max(0.0, self._began_at + PATIENCE_SECONDS - time.monotonic())) and self._is_well

    def _begin(self, *, is_fresh_enough: bool = True) -> None:
        with self._lock:
            is_fresh = is_fresh_enough and time.monotonic() - self._ended_at < FRESH_SECONDS
            if self._is_probing or is_fresh:
                return
            self._answer.clear()
            self._began_at = time.monotonic()
            # Without a thread or memory for it, it counts as failed.
            self._is_well = False
            with suppress(RuntimeError):
                threading.Thread(target=self._run, name=f"probe-{self.name}", daemon=True).start()
                self._is_probing = True

    def _run(self) -> None:
        while self._look():
            time.sleep(PAUSE_SECONDS)

    def _look(self) -> bool:
        """Ask once; tell whether to ask again."""
        began_at = time.monotonic()
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is not well
            is_well, self.error = False, error
            log.warning("a probe failed", server=self.name, error=str(error).strip()[:300])
        else:
            is_well, self.error = True, None
        with self._lock:
            if is_well and self.is_open:
                log.info("a server answers again", server=self.name)
            self._is_well = is_well
            self._was_tripped = self._was_tripped and not is_well
            is_silent = not is_well and time.monotonic() - began_at > SILENT_SECONDS
            if is_silent and not self._was_silent:
                log.warning("a server is silent; it is not asked until it answers a probe", server=self.name)
            self._was_silent = is_silent
            self._ended_at = time.monotonic()
            self._is_probing = self._was_tripped or self._was_silent
            self._answer.set()
            return self._is_probing
