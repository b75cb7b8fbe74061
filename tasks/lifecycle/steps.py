"""step, sleep, wait: what happens once in a task's life is a row that any later attempt reads."""

from typing import Any, NamedTuple
from uuid import UUID

from tasks.db.statements import fetch, loads
from tasks.errors import AttemptLost
from tasks.holder import Holder
from tasks.lifecycle.checkpoint import HOLDER, IS_HELD, as_text
from tasks.states import StepKind


class Kept(NamedTuple):
    """A row of something that has happened; ``seconds_left`` until it ends, if it takes time."""

    result: Any
    is_timeout: bool
    seconds_left: float | None


_COLUMNS = "result, is_timeout, EXTRACT(EPOCH FROM ends_at - clock_timestamp())::double precision"
_FIND = f"""
SELECT {_COLUMNS} FROM callboard_step WHERE task_id = %(id)s AND kind = %(kind)s AND name = %(name)s
"""
# The lock is what fences it: the sweeper gives a task to another worker by an UPDATE of its row, which is either seen
# or waits for this. A row that is there already stays.
_KEEP = f"""
WITH {HOLDER}, held AS MATERIALIZED (
    SELECT task.id FROM holder JOIN callboard_task AS task ON {IS_HELD} FOR SHARE OF task
), kept AS (
    INSERT INTO callboard_step (task_id, kind, name, result, is_timeout, ends_at)
    SELECT id, %(kind)s, %(name)s, %(result)s::jsonb, %(is_timeout)s,
           clock_timestamp() + %(seconds)s * interval '1 second'
    FROM held ON CONFLICT (task_id, kind, name) DO NOTHING
)
SELECT id FROM held
"""


def find(task_id: UUID, kind: StepKind, name: str) -> Kept | None:
    """Read what is kept under a name; None if there is nothing."""
    found = fetch(_FIND, {"id": task_id, "kind": str(kind), "name": name})
    if not found:
        return None
    ((result, is_timeout, seconds_left),) = found
    return Kept(None if result is None else loads(result), is_timeout, seconds_left)


def keep(
    holder: Holder,
    kind: StepKind,
    name: str,
    *,
    result: Any = None,
    is_timeout: bool = False,
    seconds: float | None = None,
) -> None:
    """Keep something that has happened, unless there is a row of this kind and name.

    Parameters:
        result: checked JSON.
        seconds: how long it takes.

    Raises:
        AttemptLost: the worker no longer holds the attempt.
    """
    value = None if result is None else as_text(result)
    parameters = {"kind": str(kind), "name": name, "result": value, "is_timeout": is_timeout, "seconds": seconds}
    if not fetch(_KEEP, {**holder.parameters, **parameters}):
        raise AttemptLost()
