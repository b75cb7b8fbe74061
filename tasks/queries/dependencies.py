"""Reads of dependencies: the parents and children of tasks, and the graph that a task belongs to, all bounded."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from tasks.db.statements import fetch
from tasks.models import Dependency

#: How many parents of a task an answer names; its graph has all.
MOST_SHOWN = 100
#: How many tasks of a graph are found.
MOST_IN_WORKFLOW = 20_000

_FIRST_PARENTS = """
SELECT edge.child_id, edge.parent_id, edge.is_batch, edge.on_failure, edge.state
FROM unnest(%(ids)s::uuid[]) AS child (id) CROSS JOIN LATERAL (
    SELECT * FROM callboard_dependency AS edge WHERE edge.child_id = child.id
    ORDER BY edge.parent_id LIMIT %(most)s
) AS edge
ORDER BY edge.child_id, edge.parent_id
"""


def first_parents(ids: Sequence[UUID], *, most: int = MOST_SHOWN) -> dict[UUID, list[Dependency]]:
    """Read the dependencies of some tasks on their first parents, which are the oldest."""
    found: dict[UUID, list[Dependency]] = {id: [] for id in ids}
    for row in fetch(_FIRST_PARENTS, {"ids": [str(id) for id in ids], "most": most}):
        edge = Dependency(**dict(zip(("child_id", "parent_id", "is_batch", "on_failure", "state"), row, strict=True)))
        found[edge.child_id].append(edge)
    return found


class Workflow(NamedTuple):
    """The tasks that a task depends on, those that depend on it, and so on."""

    ids: list[UUID]
    #: Whether these are all.
    is_complete: bool
    #: The batches that some of them wait for; the tasks of those are not part of the workflow.
    batch_ids: Sequence[UUID] = ()


# The walk stops at the limit: PostgreSQL fetches no more rows of a recursive query than are asked for. UNION drops
# those that it met before.
_WORKFLOW = """
WITH RECURSIVE part (id, is_batch) AS (
    SELECT %(id)s::uuid, false
    UNION
    SELECT next.id, next.is_batch FROM part CROSS JOIN LATERAL (
        SELECT edge.parent_id AS id, edge.is_batch FROM callboard_dependency AS edge WHERE edge.child_id = part.id
        UNION ALL
        SELECT edge.child_id, false FROM callboard_dependency AS edge WHERE edge.parent_id = part.id
    ) AS next
)
SELECT id, is_batch FROM part LIMIT %(most)s
"""


def workflow_of(task_id: UUID, *, most: int | None = None) -> Workflow:
    """Find the tasks that are linked to a task over any number of dependencies, itself among them.

    Parameters:
        most: stop after so many; ``MOST_IN_WORKFLOW`` by default.
    """
    most = MOST_IN_WORKFLOW if most is None else most
    found = fetch(_WORKFLOW, {"id": task_id, "most": most + 1})
    parts = found[:most]
    ids, batch_ids = ([id for id, is_batch in parts if is_batch == wanted] for wanted in (False, True))
    return Workflow(ids, len(found) <= most, batch_ids)
