"""The journal: verbs record who acted, through which door and why, in the statement that does it.

A verb that changes nothing records nothing. An act on many leaves a row for each object, and one that sums them up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tasks.db.statements import fetch
from tasks.models import Journal, Task
from tasks.states import Door, ObjectKind

#: In characters.
LONGEST_REASON = 200
#: An e-mail address that is a user name may be longer.
LONGEST_NAME = 150


@dataclass(frozen=True)
class Author:
    """Who acts, through which door, and why.

    Parameters:
        name: of the user, of which 150 characters are kept; empty for a repair.
        reason: at most ``LONGEST_REASON`` characters, without control characters.
        operation_id: the same for all rows of one act on many; None if it is an act on one.
    """

    name: str = ""
    door: Door = Door.CODE
    reason: str = ""
    operation_id: UUID | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a statement with ``entries``."""
        operation = None if self.operation_id is None else str(self.operation_id)
        return {"by": self.name[:LONGEST_NAME], "door": str(self.door), "reason": self.reason, "operation": operation}


#: Code that does not say who it is.
UNKNOWN = Author()


def entries(
    rows: str, *, verb: str, kind: str, id: str = "id", name: str = "''", task: str = "NULL::uuid", actor: str = "''",
    queue: str = "''", detail: str = "'{}'::jsonb",
) -> str:  # fmt: skip
    """Write the INSERT of a verb's statement: an entry for each row that it changed.

    Parameters:
        rows: what the statement changed, as in FROM. All others are SQL expressions of its columns.
    """
    return f"""INSERT INTO callboard_journal
        (verb, by, door, reason, operation_id, kind, object_id, object_name, task_id, actor, queue, detail)
    SELECT {verb}, %(by)s, %(door)s, %(reason)s, %(operation)s::uuid,
           {kind}, {id}, {name}, {task}, {actor}, {queue}, {detail}
    FROM {rows}"""


def of_tasks(rows: str, *, verb: str, detail: str) -> str:
    """Write the INSERT of a verb on tasks; ``rows`` have their id, actor and queue."""
    return entries(rows, verb=verb, kind="'task'", task="id", actor="actor", queue="queue", detail=detail)


def record(
    by: Author,
    verb: str,
    kind: ObjectKind,
    object_id: str,
    *,
    name: str,
    detail: Mapping[str, Any] | None = None,
    task: Task | None = None,
) -> None:
    """Add the entry of a verb that is not one statement; call it in the verb's transaction."""
    of_task = {} if task is None else {"task_id": task.pk, "actor": task.actor, "queue": task.queue}
    Journal.objects.create(
        verb=verb, by=by.name[:LONGEST_NAME], door=by.door, reason=by.reason, operation_id=by.operation_id,
        kind=kind, object_id=object_id, object_name=name, detail=dict(detail or {}), **of_task,
    )  # fmt: skip


_SUMMARISE = """
INSERT INTO callboard_journal (verb, by, door, reason, operation_id, kind, count)
SELECT %(verb)s, %(by)s, %(door)s, %(reason)s, %(operation)s::uuid, %(kind)s, count(*)
FROM callboard_journal WHERE operation_id = %(operation)s::uuid
HAVING count(*) > 0
RETURNING id
"""


def summarise(by: Author, verb: str, kind: ObjectKind) -> None:
    """Add the entry that sums up an act on many; none if it changed nothing."""
    fetch(_SUMMARISE, {"verb": verb, "kind": str(kind), **by.parameters})
