"""The ledger entries of every actor: its start, its effect, signs of life and its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tasks import current
from tests.acceptance.harness.ledger import Ledger

NAP_SECONDS = 0.02


def write(event: str, note: str = "") -> None:
    """Append an entry for the running attempt."""
    Ledger.of_environment().write(event, task=str(current.task_id()), attempt=current.attempt(), note=note)


@contextmanager
def performance() -> Iterator[None]:
    """Write the start, and the end with the exception if there was one; a process that dies writes no end."""
    write("START")
    try:
        yield
    except BaseException as error:
        write("END", type(error).__name__)
        raise
    write("END")


def nap_until(condition: object, seconds: float) -> None:
    """Write signs of life until then; sleep in short naps, so that interrupts arrive."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (callable(condition) and condition()):
        time.sleep(NAP_SECONDS)
        write("TICK")
