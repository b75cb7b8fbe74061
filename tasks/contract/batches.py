"""Batches: how one is read and written, and which of them a caller may see and act on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from tasks.contract import dependencies, fields
from tasks.contract.access import ADD_TO_BATCH, VIEW_BATCH, Caller, find_owned, in_reach
from tasks.contract.fields import Reader
from tasks.contract.filters import Filter, choice
from tasks.contract.submissions import read_submission, read_submissions
from tasks.contract.values import timestamp
from tasks.errors import FieldError, InvalidTask, NotAllowed
from tasks.lifecycle import NewBatch
from tasks.models import Batch, BatchQuerySet, Task
from tasks.models.batch import CALLBACKS, COUNTS, LONGEST_NAME
from tasks.states import BatchStatus
from tasks.submission import Submission, spread
from tasks.telemetry import trace

FILTERS: Mapping[str, Filter] = {"status": Filter(choice(BatchStatus), BatchQuerySet.in_status, is_repeatable=True)}

#: Of a bulk and of a batch: the tasks become due one after the other over this time.
SPREAD: Reader = fields.seconds(above=None)


def _as_it_is(value: Any) -> Any:
    return value


READERS: Mapping[str, Reader] = {
    "name": fields.text(LONGEST_NAME),
    "tasks": _as_it_is,
    "open": fields.boolean,
    "spread_seconds": SPREAD,
    **dict.fromkeys(CALLBACKS, fields.json_object),
}


def read_batch(body: Mapping[str, Any], *, caller: Caller) -> NewBatch:
    """Read a new batch with its first tasks and its callbacks.

    Raises:
        InvalidTask: with one error per field; those of tasks are named ``tasks.<position>.<field>``, those of callbacks
            ``on_success.<field>``.
        NotAllowed: the caller may not submit for an actor or queue.
    """
    values, errors = fields.read_fields(body, READERS, refused={})
    tasks: Sequence[Submission] = ()
    try:
        tasks = [] if values.get("tasks") in (None, []) else read_submissions(values["tasks"], caller=caller)
    except InvalidTask as error:
        errors += error.errors
    callbacks: dict[str, Submission] = {}
    for name in CALLBACKS:
        if name in values:
            try:
                callbacks[name] = read_submission(values[name], caller=caller)
            except InvalidTask as error:
                errors += [FieldError(f"{name}.{one.field}", one.code, one.message) for one in error.errors]
    if errors:
        raise InvalidTask(errors=errors)
    return NewBatch(
        name=values.get("name", ""),
        tasks=spread(tasks, seconds=values.get("spread_seconds", 0)),
        callbacks=callbacks,
        is_open=values.get("open"),
        owner_id=caller.owner_id,
        trace_id=trace.current(),
    )


def check_batches(submissions: Sequence[Submission], *, caller: Caller) -> None:
    """Refuse batches that the caller may not see, or not add tasks to.

    Raises:
        NotFound: as for a batch that does not exist.
        NotAllowed: they may see it, but not add to it.
    """
    for id in dict.fromkeys(one.batch for one in submissions if one.batch is not None):
        find_owned(Batch.objects.all(), str(id), caller, ADD_TO_BATCH, view=VIEW_BATCH, kind="batch")


def check_reach(batch: Batch, caller: Caller) -> None:
    """Refuse an act on all tasks of a batch to a token that is for other actors or queues than some of them.

    Raises:
        NotAllowed: a task is out of its reach.
    """
    tasks = Task.objects.filter(batch_id=batch.pk)
    if (caller.actors or caller.queues) and tasks.exclude(pk__in=in_reach(tasks, caller).values("pk")).exists():
        raise NotAllowed("this token is limited to actors or queues, and the batch has tasks of others")


def visible_batches(caller: Caller) -> BatchQuerySet:
    """Narrow batches to those that the caller may see, with their counts."""
    return dependencies.visible_batches(Batch.objects.with_news(), caller)


def batch_as_dict(batch: Batch, *, url: Callable[[str], str]) -> dict[str, Any]:
    """Write a batch."""
    id = str(batch.pk)
    return {
        "id": id,
        "url": url(id),
        "name": batch.name,
        "status": str(batch.status),
        **{name: batch.count(name) for name in COUNTS},
        "unfinished": batch.unfinished,
        **{name: _callback_as_dict(batch, name) for name in CALLBACKS},
        "created_at": timestamp(batch.created_at),
        "closed_at": timestamp(batch.closed_at),
        "ended_at": timestamp(batch.ended_at),
        "cancelled_at": timestamp(batch.cancelled_at),
        "cancelled_by": batch.cancelled_by or None,
        "cancel_reason": batch.cancel_reason or None,
        "trace_id": batch.trace_id,
    }


def _callback_as_dict(batch: Batch, name: str) -> dict[str, Any] | None:
    """Write a callback without its data, which its task has once it is submitted."""
    if name not in batch.callbacks:
        return None
    return {"actor": batch.callbacks[name]["actor"], "task_id": batch.called.get(name)}


def created_as_dict(batch: Batch, task_ids: Sequence[UUID], *, url: Callable[[str], str]) -> dict[str, Any]:
    """Write a batch as its creation answers it: with the ids of its first tasks, in the order of the submission."""
    return {**batch_as_dict(batch, url=url), "task_ids": [str(id) for id in task_ids]}
