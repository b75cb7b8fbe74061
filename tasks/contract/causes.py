"""Causes: the tasks and batches whose ends cancelled tasks, and the sentence that says so at every door."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from tasks.models import Batch, Task
from tasks.states import Status

_ENDED = {Status.DEAD: "died", Status.CANCELLED: "was cancelled"}


class Cause(NamedTuple):
    """The task or batch whose end cancelled a task; without a status if it was removed since."""

    id: UUID
    #: Of a task.
    actor: str = ""
    status: str = ""
    is_batch: bool = False
    #: Of a batch: who cancelled it and why.
    cancelled_by: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """Name the task or batch, as the sentence does."""
        if self.is_batch:
            return f"batch {self.id}"
        return f"task {self.id} of actor {self.actor}" if self.actor else f"task {self.id}"

    @property
    def sentence(self) -> str:
        """Say why the other task is CANCELLED."""
        if not self.status:
            return f"Cancelled because {self.name} did not succeed; it was removed since"
        if self.is_batch and (self.cancelled_by or self.reason):
            by = f" by {self.cancelled_by}" if self.cancelled_by else ""
            return f"Cancelled because {self.name} was cancelled{by}{f': {self.reason}' if self.reason else ''}"
        # In a second life, until the leader has brought back what the end of the first one cancelled.
        return f"Cancelled because {self.name} {_ENDED.get(Status(self.status), 'did not succeed')}"


def causes_of(tasks: Iterable[Task]) -> Mapping[UUID, Cause]:
    """Read the causes of those tasks of a page that have one, by their ids; in one query, two if one is a batch."""
    ids = {task.cause_id for task in tasks if task.cause_id is not None}
    if not ids:
        return {}
    found = Task.objects.filter(pk__in=ids).values_list("pk", "actor", "status")
    causes = {cause[0]: Cause(*cause) for cause in found}
    if others := ids - causes.keys():
        batches = Batch.objects.filter(pk__in=others).values_list("pk", "status", "cancelled_by", "cancel_reason")
        causes |= {id: Cause(id, "", status, True, by, reason) for id, status, by, reason in batches}
    return {id: Cause(id) for id in ids} | causes
