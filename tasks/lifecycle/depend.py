"""depend: the dependencies of tasks that are being submitted, planned before anything is written.

A submission never locks a parent: that lock would last as long as the caller's transaction. It would hold up the
parent's completion, with all outcomes that are written with it, or the submissions into a batch. Parents that have
SUCCEEDED stay so, and need no lock. Other parents outside of the submission get NEW edges, which the leader links
(``tasks.lifecycle.release``); parents inside of it are marked at once.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from tasks.db.statements import as_json, fetch
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle.circles import circle
from tasks.models import Batch, Task
from tasks.states import EdgeState, OnFailure, Status
from tasks.submission import MOST_PARENTS, DependsOn

Row = dict[str, Any]
#: How many missing tasks one error names.
_MOST_NAMED = 5


class OfBatch(NamedTuple):
    """A batch as a parent; a UUID alone is a task's, and a number the place of a row in the same call."""

    id: UUID


Parent = UUID | int | OfBatch


class Edge(NamedTuple):
    """A dependency that is about to be written; rows may still change their ids."""

    child: Row
    parent: Row | UUID
    on_failure: OnFailure
    state: EdgeState
    is_batch: bool = False

    def as_row(self) -> dict[str, Any]:
        """Turn the edge into the row that the statement reads."""
        parent = self.parent if isinstance(self.parent, UUID) else self.parent["id"]
        of_batch = {"is_batch": True} if self.is_batch else {}
        return {
            "child": self.child["id"],
            "parent": parent,
            "on_failure": self.on_failure,
            "state": self.state,
            **of_batch,
        }


_INSERT = """
INSERT INTO callboard_dependency (child_id, parent_id, on_failure, state, is_batch)
SELECT child, parent, on_failure, state, COALESCE(is_batch, false)
FROM json_to_recordset(%(edges)s) AS edge (child uuid, parent uuid, on_failure text, state text, is_batch boolean)
RETURNING child_id
"""


def insert_edges(edges: Sequence[Edge]) -> None:
    """Insert planned dependencies, if there are any."""
    if edges:
        fetch(_INSERT, {"edges": as_json([edge.as_row() for edge in edges])})


def plan(rows: Sequence[Row]) -> list[Edge]:
    """Plan the dependencies of checked rows, and give the rows their status.

    Raises:
        InvalidTask: a task or batch does not exist, a ref is unknown or given twice, or the dependencies form a cycle;
            with an error for each such field, which is named ``tasks.<position>.<field>`` if there are several rows.
    """
    faults: list[FieldError] = []
    named = _by_ref(rows, faults)
    wanted = [_parents(rows, position, named, faults) for position in range(len(rows))]
    if (count := sum(map(len, wanted))) > MOST_PARENTS:
        message = f"expected at most {MOST_PARENTS:,} dependencies in one call, got {count:,}"
        raise InvalidTask(message, errors=[FieldError("depends_on", "too_large", message)])
    statuses = _statuses({parent for found in wanted for parent in found if not isinstance(parent, int)})
    for position, found in enumerate(wanted):
        faults += missing_parents(_field(rows, position), found, statuses)
    faults += _cycle(rows, wanted)
    if faults:
        raise InvalidTask(errors=faults)
    return [edge for row, found in zip(rows, wanted, strict=True) for edge in _edges(rows, row, found, statuses)]


def missing_parents(field: str, wanted: Iterable[Parent], found: Container[Parent]) -> Iterator[FieldError]:
    """Say which tasks and batches do not exist, or that the caller may not see them; the two look the same."""
    missing = [parent for parent in wanted if not isinstance(parent, int) and parent not in found]
    for kind, plural, ids in (
        ("task", "tasks", [str(one) for one in missing if isinstance(one, UUID)]),
        ("batch", "batches", [str(one.id) for one in missing if isinstance(one, OfBatch)]),
    ):
        if ids:
            more = f" and {len(ids) - _MOST_NAMED:,} more" if len(ids) > _MOST_NAMED else ""
            named = ", ".join(ids[:_MOST_NAMED])
            message = f"expected ids of {plural} that exist; there is no {kind} {named}{more}"
            yield FieldError(field, f"unknown_{kind}", message)


def outside_parent(given: DependsOn | UUID) -> Parent | None:
    """Read which task or batch is named by its id; None: none is, but a ref."""
    if isinstance(given, DependsOn):
        if given.batch is not None:
            return OfBatch(given.batch)
        return given.task if isinstance(given.task, UUID) else None
    return given


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
) -> dict[Parent, OnFailure]:
    """Read the parents of a row: ids of other tasks and batches, and positions of rows of the same call."""
    found: dict[Parent, OnFailure] = {}
    for given in rows[position]["depends_on"] or ():
        one = given if isinstance(given, DependsOn) else DependsOn(given)
        parent = outside_parent(one)
        if parent is None and isinstance(one.task, str):
            parent = named.get(one.task)
        if fault := _fault_of(one, parent, found):
            faults.append(FieldError(_field(rows, position), *fault))
        elif parent is not None:
            found[parent] = OnFailure(one.on_failure)
    return found


def _fault_of(one: DependsOn, parent: Parent | None, found: Container[Parent]) -> tuple[str, str] | None:
    """Say what is wrong with a dependency: a code and a message."""
    # Code may give anything.
    task: Any = one.task
    batch: Any = one.batch
    if not isinstance(batch, UUID | None) or (batch is None and not isinstance(task, UUID | str)):
        got = task if batch is None else batch
        return "invalid", f"expected the id of a task or batch, or the ref of one in the same bulk, got {got!r:.100}"
    if batch is not None and task is not None:
        return "invalid", f"expected either a task or a batch, got {task!s:.100} and batch {batch}"
    if one.on_failure not in OnFailure.values:
        message = f"expected on_failure as one of {', '.join(OnFailure.values)}, got {one.on_failure!r:.100}"
        return "invalid", message
    if parent is None:
        return "unknown_ref", f"expected the ref of a task in the same bulk, got {task!r:.120}"
    if parent in found:
        return "duplicate", f"expected each task and batch once, got {batch or task!s:.100} twice"
    return None


def _statuses(parents: set[Parent]) -> Mapping[Parent, str]:
    """Read the statuses of those tasks and batches that exist."""
    ids = {one for one in parents if isinstance(one, UUID)}
    batches = {one.id for one in parents if isinstance(one, OfBatch)}
    found: dict[Parent, str] = {}
    if ids:
        found |= dict(Task.objects.filter(pk__in=ids).values_list("pk", "status"))
    if batches:
        rows = Batch.objects.filter(pk__in=batches).values_list("pk", "status")
        found |= {OfBatch(id): status for id, status in rows}
    return found


def _cycle(rows: Sequence[Row], wanted: Sequence[Mapping[Parent, OnFailure]]) -> Iterator[FieldError]:
    """Name a task on a cycle of the call; ``tasks.lifecycle.circles`` finds those that batches close."""
    waits: dict[Parent, Collection[Parent]] = {place: parents.keys() for place, parents in enumerate(wanted)}
    found = [at for at in circle(waits) if isinstance(at, int)]
    for at in found[:1]:
        message = f"expected no cycle; task {at} ({rows[at].get('ref')!r:.120}) would wait for itself"
        yield FieldError(_field(rows, at), "cycle", message)


def _edges(
    rows: Sequence[Row], row: Row, found: Mapping[Parent, OnFailure], statuses: Mapping[Parent, str]
) -> list[Edge]:
    """Make the edges of a row, and give it its status."""
    edges = []
    for parent, on_failure in found.items():
        if isinstance(parent, int):
            rows[parent]["settled_as"] = "WAITING"
            edges.append(Edge(row, rows[parent], on_failure, EdgeState.OPEN))
            continue
        # SUCCEEDED is the same word of tasks and batches.
        state = EdgeState.MET if statuses[parent] == Status.SUCCEEDED else EdgeState.NEW
        is_batch = isinstance(parent, OfBatch)
        edges.append(Edge(row, parent.id if isinstance(parent, OfBatch) else parent, on_failure, state, is_batch))
    pending = sum(edge.state != EdgeState.MET for edge in edges)
    row["status"] = Status.BLOCKED if pending else Status.PENDING
    row["pending_parents"] = pending if edges else None
    return edges
