"""What lifecycle says after a commit: one signal for a batch of moves. Nothing in here or below hears it."""

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal


class Moved(NamedTuple):
    """One task's move: where it stands now."""

    id: UUID
    status: str
    actor: str
    queue: str
    trace_id: str
    #: Number of the attempt that ended, and how long it ran, if one did.
    attempt: int | None = None
    seconds: float | None = None


#: Sent once per batch when its transaction has committed, with ``verb`` (str), ``moves`` (a sequence of Moved) and
#: ``at``, when the statement was done, by ``time.monotonic()``. Logs, metrics and wake-ups hang on it; no rule does,
#: and a receiver that raises disturbs nobody.
transitioned = Signal()


def announce(verb: str, moves: Sequence[Moved]) -> None:
    """Send ``transitioned`` when the current transaction commits, at once if there is none."""
    if moves:
        send = partial(transitioned.send_robust, sender=None, verb=verb, moves=moves, at=time.monotonic())
        transaction.on_commit(send, robust=True)
