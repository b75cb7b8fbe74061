"""Dependencies: how a request names the tasks that one waits for, and which of them its caller may name."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from tasks.contract import fields
from tasks.contract.access import VIEW_PAYLOAD, VIEW_TASK, Caller, visible
from tasks.contract.causes import Cause, causes_of
from tasks.contract.fields import InvalidValue, Reader
from tasks.errors import FieldError, InvalidTask
from tasks.lifecycle.depend import unknown_tasks
from tasks.models import Dependency, Task
from tasks.queries.dependencies import first_parents
from tasks.states import OnFailure
from tasks.submission import LONGEST_REF, DependsOn, Submission

#: Of an id in its longest form.
_LONGEST_ID = 36


def depends_on(most: int) -> Reader:
    """Read a list of tasks: ids, or objects with an id or a ref, and maybe ``on_failure``."""
    readers: Mapping[str, Reader] = {"id": uuid_text, "ref": fields.text(LONGEST_REF), "on_failure": _on_failure}

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
        task = values.get("id", values.get("ref"))
        if task is None or ("id" in values and "ref" in values):
            raise InvalidValue("invalid", f"expected either an id or a ref, got {'both' if task else 'neither'}")
        return DependsOn(task, values.get("on_failure", OnFailure.CANCEL))
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
    """Refuse parents that the caller may not see. Their results are open to the child, so seeing them counts too.

    Raises:
        InvalidTask: as for parents that do not exist.
    """
    wanted = {position: _ids(one) for position, one in enumerate(submissions) if one.depends_on}
    rows = Task.objects.filter(pk__in={id for ids in wanted.values() for id in ids})
    seen = set(visible(visible(rows, caller, VIEW_TASK), caller, VIEW_PAYLOAD).values_list("pk", flat=True))
    errors = []
    for position, ids in wanted.items():
        if missing := [str(id) for id in ids if id not in seen]:
            field = "depends_on" if len(submissions) == 1 else f"tasks.{position}.depends_on"
            errors.append(FieldError(field, "unknown_task", unknown_tasks(missing)))
    if errors:
        raise InvalidTask(errors=errors)


def _ids(submission: Submission) -> list[UUID]:
    given = [one.task if isinstance(one, DependsOn) else one for one in submission.depends_on]
    return [task for task in given if isinstance(task, UUID)]


class Parents(NamedTuple):
    """What the tasks of a page depend on."""

    #: By child, to its first parents.
    edges: Mapping[UUID, Sequence[Dependency]]
    #: By the id of the parent whose end cancelled a task.
    causes: Mapping[UUID, Cause]


def parents_of(tasks: Collection[Task]) -> Parents:
    """Read what those tasks of a page depend on that have parents, in one query, or two if one has a cause."""
    ids = [task.pk for task in tasks if task.pending_parents is not None]
    return Parents(first_parents(ids), causes_of(tasks)) if ids else Parents({}, {})


def links_as_dict(task: Task, parents: Parents) -> dict[str, Any]:
    """Write what a task depends on, and which parent's end cancelled it."""
    cause = None if task.cause_id is None else parents.causes.get(task.cause_id)
    return {
        "depends_on": [edge_as_dict(edge) for edge in parents.edges.get(task.pk, ())],
        "cause_id": None if task.cause_id is None else str(task.cause_id),
        "cause": cause and cause.sentence,
    }


def edge_as_dict(edge: Dependency) -> dict[str, Any]:
    """Write a dependency as an answer gives it to the child."""
    return {"id": str(edge.parent_id), "on_failure": edge.on_failure, "state": edge.state}
