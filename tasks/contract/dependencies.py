"""Dependencies: how a request names the tasks and batches that a task waits for, and which its caller may name."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from tasks.contract import fields
from tasks.contract.access import VIEW_BATCH, VIEW_PAYLOAD, VIEW_TASK, Caller, visible
from tasks.contract.causes import Cause, causes_of
from tasks.contract.fields import InvalidValue, Reader
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle.depend import OfBatch, Parent, missing_parents, outside_parent
from tasks.models import Batch, BatchQuerySet, Dependency, Task
from tasks.queries.dependencies import first_parents
from tasks.states import OnFailure
from tasks.submission import LONGEST_REF, DependsOn, Submission

#: Of an id in its longest form.
_LONGEST_ID = 36


def depends_on(most: int) -> Reader:
    """Read a list of tasks: ids, or objects with an id, a ref or a batch, and maybe ``on_failure``."""
    readers: Mapping[str, Reader] = {
        "id": uuid_text,
        "ref": fields.text(LONGEST_REF),
        "batch": uuid_text,
        "on_failure": _on_failure,
    }

    def read(value: Any) -> list[DependsOn]:
        if not isinstance(value, list) or len(value) > most:
            came = f"{len(value):,} of them" if isinstance(value, list) else fields.quoted(value)
            raise InvalidValue("invalid", f"expected an array of at most {most:,} tasks, got {came}")
        return [_read_one(one, place, readers) for place, one in enumerate(value)]

    return read


def _read_one(value: Any, place: int, readers: Mapping[str, Reader]) -> DependsOn:
    try:
        if isinstance(value, str):
            return DependsOn(_id_alone(value))
        if not isinstance(value, dict):
            raise InvalidValue("invalid", f"expected an id or an object, got {fields.quoted(value)}")
        values, errors = fields.read_fields(value, readers, refused={})
        if errors:
            raise InvalidValue(errors[0].code, f"{errors[0].field}: {errors[0].message}")
        given = [name for name in ("id", "ref", "batch") if name in values]
        if len(given) != 1:
            raise InvalidValue("invalid", f"expected an id, a ref or a batch, got {' and '.join(given) or 'none'}")
        on_failure = values.get("on_failure", OnFailure.CANCEL)
        return DependsOn(values.get("id", values.get("ref")), on_failure, values.get("batch"))
    except InvalidValue as error:
        raise InvalidValue(error.code, f"task {place}: {error}") from error


def _id_alone(value: str) -> UUID:
    try:
        return uuid_text(value)
    except InvalidValue as error:
        message = f'{error}; for a task of the same bulk write {{"ref": …}}'
        raise InvalidValue(error.code, message) from error


def uuid_text(value: Any) -> UUID:
    """Read an id in a body."""
    if not isinstance(value, str) or len(value) > _LONGEST_ID:
        raise InvalidValue("invalid", f"expected a UUID, got {fields.quoted(value)}")
    return fields.identifier(value)


def _on_failure(value: Any) -> OnFailure:
    if not isinstance(value, str) or value not in OnFailure.values:
        raise InvalidValue("invalid", f"expected one of {', '.join(OnFailure.values)}, got {fields.quoted(value)}")
    return OnFailure(value)


def check_parents(submissions: Sequence[Submission], *, caller: Caller) -> None:
    """Refuse parents that the caller may not see. Tasks' results are open to the child, so seeing them counts too.

    Raises:
        InvalidTask: as for parents that do not exist.
    """
    wanted = {place: [*map(outside_parent, one.depends_on)] for place, one in enumerate(submissions) if one.depends_on}
    seen = _seen({parent for parents in wanted.values() for parent in parents if parent is not None}, caller)
    errors: list[FieldError] = []
    for position, parents in wanted.items():
        field = "depends_on" if len(submissions) == 1 else f"tasks.{position}.depends_on"
        errors += missing_parents(field, [parent for parent in parents if parent is not None], seen)
    if errors:
        raise InvalidTask(errors=errors)


def _seen(parents: Collection[Parent], caller: Caller) -> set[Parent]:
    rows = Task.objects.filter(pk__in=[one for one in parents if isinstance(one, UUID)])
    seen: set[Parent] = {*visible(visible(rows, caller, VIEW_TASK), caller, VIEW_PAYLOAD).values_list("pk", flat=True)}
    if ids := [one.id for one in parents if isinstance(one, OfBatch)]:
        batches = visible_batches(Batch.objects.filter(pk__in=ids), caller)
        seen |= {OfBatch(id) for id in batches.values_list("pk", flat=True)}
    return seen


def visible_batches(rows: BatchQuerySet, caller: Caller) -> BatchQuerySet:
    """Narrow batches to those that the caller may see."""
    return rows if caller.is_permitted(VIEW_BATCH) else rows.owned_by(caller.owner_id)


class Parents(NamedTuple):
    """What the tasks of a page depend on."""

    #: By child, to its first parents.
    edges: Mapping[UUID, Sequence[Dependency]]
    #: By the id of the task or batch whose end cancelled a task.
    causes: Mapping[UUID, Cause]


def parents_of(tasks: Collection[Task]) -> Parents:
    """Read what those tasks of a page depend on that have parents, in one query, or two if one has a cause."""
    ids = [task.pk for task in tasks if task.pending_parents is not None]
    return Parents(first_parents(ids), causes_of(tasks)) if ids else Parents({}, {})


def links_as_dict(task: Task, parents: Parents) -> dict[str, Any]:
    """Write what a task depends on, and whose end cancelled it."""
    cause = None if task.cause_id is None else parents.causes.get(task.cause_id)
    return {
        "depends_on": [edge_as_dict(edge) for edge in parents.edges.get(task.pk, ())],
        "cause_id": None if task.cause_id is None else str(task.cause_id),
        "cause": cause and cause.sentence,
    }


def edge_as_dict(edge: Dependency) -> dict[str, Any]:
    """Write a dependency as an answer gives it to the child."""
    id = str(edge.parent_id)
    parent = {"id": None, "batch": id} if edge.is_batch else {"id": id, "batch": None}
    return {**parent, "on_failure": edge.on_failure, "state": edge.state}
