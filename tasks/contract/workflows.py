"""Workflows: the tasks that are linked to one by dependencies, as far as a caller may see them or act on them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from tasks.contract.access import VIEW_TASK, Action, Caller, visible
from tasks.contract.batches import batch_as_dict, visible_batches
from tasks.contract.dependencies import Parents, links_as_dict
from tasks.contract.pages import Order
from tasks.contract.values import timestamp
from tasks.errors import InvalidTask
from tasks.models import Batch, Task
from tasks.queries.dependencies import MOST_IN_WORKFLOW, Workflow, workflow_of
from tasks.states import Status

#: In the order of submission, in which parents mostly come before their children.
OLDEST_FIRST = Order("id", False, lambda row: row.pk.int, lambda number: UUID(int=number))

#: What ``node_as_dict`` writes.
_COLUMNS = (
    *("id", "actor", "queue", "status", "pending_parents", "cause_id"),
    *("created_at", "run_at", "started_at", "finished_at"),
)


def seen_workflow(task: Task, *, caller: Caller, view: Action) -> Workflow:
    """Find the workflow of a task, without the tasks that the caller may not see."""
    found = workflow_of(task.pk)
    rows = visible(Task.objects.filter(pk__in=found.ids), caller, view)
    return found._replace(ids=list(rows.values_list("pk", flat=True)))


def nodes(workflow: Workflow) -> "QuerySet[Task]":
    """Select the tasks of a workflow: by their ids, so it need not be read along an index as other lists are."""
    return QuerySet(Task).filter(pk__in=workflow.ids).only(*_COLUMNS)


def counts(workflow: Workflow) -> dict[str, int]:
    """Count the tasks of a workflow by status."""
    found = Task.objects.filter(pk__in=workflow.ids).counted_by_status()
    return {str(status): found[status] for status in Status if status in found}


def node_as_dict(task: Task, *, url: Callable[[str], str], parents: Parents) -> dict[str, Any]:
    """Write a task of a workflow, with its dependencies and without its data."""
    id = str(task.pk)
    return {
        "id": id,
        "url": url(id),
        "actor": task.actor,
        "queue": task.queue,
        "status": str(task.status),
        **links_as_dict(task, parents),
        "pending_parents": task.pending_parents or 0,
        "created_at": timestamp(task.created_at),
        "run_at": timestamp(task.run_at),
        "started_at": timestamp(task.started_at),
        "finished_at": timestamp(task.finished_at),
    }


def whole(workflow: Workflow) -> Sequence[UUID]:
    """Return the tasks of a workflow for an act on all of them.

    Raises:
        InvalidTask: there are too many.
    """
    if workflow.is_complete:
        return workflow.ids
    message = f"expected a workflow of at most {MOST_IN_WORKFLOW:,} tasks, got a larger one; act on its tasks by filter"
    raise InvalidTask(message)


def whole_of(task: Task, *, caller: Caller, action: Action) -> Sequence[UUID]:
    """Find the tasks of a task's workflow that the caller may do this to.

    Raises:
        InvalidTask: there are too many.
    """
    seen = seen_workflow(task, caller=caller, view=VIEW_TASK)
    mine = visible(Task.objects.filter(pk__in=seen.ids), caller, action)
    return whole(seen._replace(ids=list(mine.values_list("pk", flat=True))))


#: How many batches an answer has.
MOST_BATCHES = 100


def summary(workflow: Workflow, *, caller: Caller, url: Callable[[str], str]) -> Mapping[str, Any]:
    """Write what all pages of a workflow say of the whole.

    Parameters:
        url: of a batch.
    """
    found = counts(workflow)
    batches: list[Batch] = []
    if workflow.batch_ids:
        batches += visible_batches(caller).filter(pk__in=workflow.batch_ids).order_by("pk")[:MOST_BATCHES]
    return {
        "tasks": sum(found.values()),
        "statuses": found,
        "batches": [batch_as_dict(batch, url=url) for batch in batches],
        "is_complete": workflow.is_complete,
    }
