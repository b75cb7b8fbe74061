"""Signals for a team's own code: a task has ended. They are sent after the commit, and nothing depends on them.

``task_finished`` is sent for each task that became SUCCEEDED, DEAD or CANCELLED, and ``task_died`` for each that became
DEAD. Receivers get ``task_id`` (UUID), ``status``, ``actor``, ``queue``, ``trace_id``, and ``attempt`` (None if no
attempt ended). The process that wrote the status sends them, once, on the thread that wrote it: a worker, the leading
scheduler (rescues and age limits), or whoever cancelled. A process that ends between the commit and the signal sends
none: what must happen exactly once belongs in ``on_success`` or ``on_death``, which are tasks.

A receiver that raises is logged. One that is slow delays other outcomes of its worker: it should hand work on.
"""

from collections.abc import Sequence
from typing import Any

from django.dispatch import Signal

from tasks.lifecycle.announcements import Moved, send_safely, transitioned
from tasks.states import FINAL, Status


class _AfterEnd(Signal):
    """A signal that listens to lifecycle only once somebody listens to it."""

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Connect a receiver, as Django does."""
        transitioned.connect(_relay)
        super().connect(*args, **kwargs)


task_finished = _AfterEnd()
task_died = _AfterEnd()


def _relay(*, moves: Sequence[Moved], **_: Any) -> None:
    for move in moves:
        if move.status not in FINAL:
            continue
        facts = {"task_id": move.id, **{name: getattr(move, name) for name in _FACTS}}
        send_safely(task_finished, **facts)
        if move.status == Status.DEAD:
            send_safely(task_died, **facts)


_FACTS = ("status", "actor", "queue", "trace_id", "attempt")
