"""Causes: the tasks whose ends cancelled others, and the sentence that says so at every door."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from tasks.models import Task
from tasks.states import Status

_ENDED = {Status.DEAD: "died", Status.CANCELLED: "was cancelled"}


class Cause(NamedTuple):
    """The task whose end cancelled another; without actor and status if it was removed since."""

    id: UUID
    actor: str = ""
    status: str = ""

    @property
    def name(self) -> str:
        """Name the task, as the sentence does."""
        return f"task {self.id} of actor {self.actor}" if self.actor else f"task {self.id}"

    @property
    def sentence(self) -> str:
        """Say why the other task is CANCELLED."""
        if not self.status:
            return f"Cancelled because {self.name} did not succeed; it was removed since"
        # In a second life, until the leader has brought back what the end of the first one cancelled.
        return f"Cancelled because {self.name} {_ENDED.get(Status(self.status), 'did not succeed')}"


def causes_of(tasks: Iterable[Task]) -> Mapping[UUID, Cause]:
    """Read the causes of those tasks of a page that have one, in one query; by their ids."""
    ids = {task.cause_id for task in tasks if task.cause_id is not None}
    if not ids:
        return {}
    found = Task.objects.filter(pk__in=ids).values_list("pk", "actor", "status")
    return {id: Cause(id) for id in ids} | {cause[0]: Cause(*cause) for cause in found}
