"""The holder of a running attempt, by which what the actor writes is fenced."""

from typing import Any, NamedTuple
from uuid import UUID


class Holder(NamedTuple):
    """A running attempt and the worker that holds it."""

    task_id: UUID
    attempt: int
    worker_id: UUID

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a statement with ``lifecycle.checkpoint.HOLDER``."""
        return {"id": self.task_id, "attempt": self.attempt, "worker": self.worker_id}
