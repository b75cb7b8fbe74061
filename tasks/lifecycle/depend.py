"""depend: the dependencies of tasks that are being submitted, planned before anything is written.

A submission never locks a parent: that lock would last as long as the caller's transaction, and hold up the parent's
completion with its whole batch. Parents that have SUCCEEDED stay so, and need no lock. Other parents outside of the
submission get NEW edges, which the leader links (``tasks.lifecycle.release``); parents inside of it are marked at once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.errors import FieldError, InvalidTask
from tasks.models import Task
from tasks.states import EdgeState, OnFailure, Status
from tasks.submission import MOST_PARENTS, DependsOn

Row = dict[str, Any]
#: How many missing tasks one error names.
_MOST_NAMED = 5


class Edge(NamedTuple):
    """A dependency that is about to be written; rows may still change their ids."""

    child: Row
    parent: Row | UUID
    on_failure: OnFailure
    state: EdgeState

    def as_row(self) -> dict[str, Any]:
        """Turn the edge into the row that the statement reads."""
        parent = self.parent if isinstance(self.parent, UUID) else self.parent["id"]
        return {"child": self.child["id"], "parent": parent, "on_failure": self.on_failure, "state": self.state}


_INSERT = """
INSERT INTO callboard_dependency (child_id, parent_id, on_failure, state)
SELECT child, parent, on_failure, state
FROM json_to_recordset(%(edges)s) AS edge (child uuid, parent uuid, on_failure text, state text)
RETURNING child_id
"""


def insert_edges(edges: Sequence[Edge]) -> None:
    """Insert planned dependencies, if there are any."""
    if edges:
        fetch(_INSERT, {"edges": as_json([edge.as_row() for edge in edges])})


def plan(rows: Sequence[Row]) -> list[Edge]:
    """Plan the dependencies of checked rows, and give the rows their status.

    Raises:
        InvalidTask: a parent does not exist, a ref is unknown or given twice, or the dependencies form a cycle; with an
            error for each such field, which is named ``tasks.<position>.<field>`` if there are several rows.
    """
    faults: list[FieldError] = []
    named = _by_ref(rows, faults)
    wanted = [_parents(rows, position, named, faults) for position in range(len(rows))]
    if (count := sum(map(len, wanted))) > MOST_PARENTS:
        message = f"expected at most {MOST_PARENTS:,} dependencies in one call, got {count:,}"
        raise InvalidTask(message, errors=[FieldError("depends_on", "too_large", message)])
    statuses = _statuses({parent for found in wanted for parent in found if isinstance(parent, UUID)})
    for position, found in enumerate(wanted):
        missing = [str(parent) for parent in found if isinstance(parent, UUID) and parent not in statuses]
        if missing:
            faults.append(FieldError(_field(rows, position), "unknown_task", unknown_tasks(missing)))
    faults += _cycle(rows, wanted)
    if faults:
        raise InvalidTask(errors=faults)
    return [edge for row, found in zip(rows, wanted, strict=True) for edge in _edges(rows, row, found, statuses)]


def unknown_tasks(ids: Sequence[str]) -> str:
    """Say that there are no such tasks, or none that the caller may see; the two look the same."""
    more = f" and {len(ids) - _MOST_NAMED:,} more" if len(ids) > _MOST_NAMED else ""
    return f"expected ids of tasks that exist; there is no task {', '.join(ids[:_MOST_NAMED])}{more}"


def _field(rows: Sequence[Row], position: int, name: str = "depends_on") -> str:
    return name if len(rows) == 1 else f"tasks.{position}.{name}"


def _by_ref(rows: Sequence[Row], faults: list[FieldError]) -> dict[str, int]:
    named: dict[str, int] = {}
    for position, row in enumerate(rows):
        ref = row.get("ref")
        if ref is not None and named.setdefault(ref, position) != position:
            message = f"expected a ref that no other task of the bulk has, got {ref!r:.120} twice"
            faults.append(FieldError(_field(rows, position, "ref"), "duplicate", message))
    return named


def _parents(
    rows: Sequence[Row], position: int, named: Mapping[str, int], faults: list[FieldError]
) -> dict[UUID | int, OnFailure]:
    """Read the parents of a row: ids of other tasks, and positions of rows of the same call."""
    found: dict[UUID | int, OnFailure] = {}
    for given in rows[position]["depends_on"] or ():
        task: Any
        task, on_failure = given if isinstance(given, DependsOn) else DependsOn(given)
        if not isinstance(task, UUID | str):
            message = f"expected the id of a task, or the ref of one in the same bulk, got {task!r:.100}"
            faults.append(FieldError(_field(rows, position), "invalid", message))
            continue
        parent = task if isinstance(task, UUID) else named.get(task)
        if on_failure not in OnFailure.values:
            message = f"expected on_failure as one of {', '.join(OnFailure.values)}, got {on_failure!r:.100}"
            faults.append(FieldError(_field(rows, position), "invalid", message))
        elif parent is None:
            message = f"expected the ref of a task in the same bulk, got {task!r:.120}"
            faults.append(FieldError(_field(rows, position), "unknown_ref", message))
        elif parent in found:
            message = f"expected each task once, got {task!s:.100} twice"
            faults.append(FieldError(_field(rows, position), "duplicate", message))
        else:
            found[parent] = OnFailure(on_failure)
    return found


def _statuses(ids: set[UUID]) -> Mapping[UUID, str]:
    return dict(Task.objects.filter(pk__in=ids).values_list("pk", "status")) if ids else {}


def _cycle(rows: Sequence[Row], wanted: Sequence[Mapping[UUID | int, OnFailure]]) -> Iterator[FieldError]:
    """Name a task on a cycle. Between calls there is none, since dependencies only come with their child."""
    children: dict[int, list[int]] = {}
    for child, found in enumerate(wanted):
        for parent in found:
            if isinstance(parent, int):
                children.setdefault(parent, []).append(child)
    open_parents = Counter(child for found in children.values() for child in found)
    free = [position for position in range(len(rows)) if not open_parents[position]]
    while free:
        for child in children.pop(free.pop(), ()):
            open_parents[child] -= 1
            if not open_parents[child]:
                free.append(child)
    left = [position for position in sorted(open_parents) if open_parents[position]]
    if left:
        # Every task that is left has a parent that is left, so going up from any of them ends in a cycle.
        at, seen = left[0], set[int]()
        while at not in seen:
            seen.add(at)
            at = next(one for one in wanted[at] if isinstance(one, int) and open_parents[one])
        message = f"expected no cycle; task {at} ({rows[at].get('ref')!r:.120}) would wait for itself"
        yield FieldError(_field(rows, at), "cycle", message)


def _edges(
    rows: Sequence[Row], row: Row, found: Mapping[UUID | int, OnFailure], statuses: Mapping[UUID, str]
) -> list[Edge]:
    """Make the edges of a row, and give it its status."""
    edges = []
    for parent, on_failure in found.items():
        if isinstance(parent, int):
            rows[parent]["settled_as"] = "WAITING"
            edges.append(Edge(row, rows[parent], on_failure, EdgeState.OPEN))
        else:
            state = EdgeState.MET if statuses[parent] == Status.SUCCEEDED else EdgeState.NEW
            edges.append(Edge(row, parent, on_failure, state))
    pending = sum(edge.state != EdgeState.MET for edge in edges)
    row["status"] = Status.BLOCKED if pending else Status.PENDING
    row["pending_parents"] = pending if edges else None
    return edges
