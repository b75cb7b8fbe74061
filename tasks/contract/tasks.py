"""Tasks: how a row and its attempts are written, and what a list of them can be filtered by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from tasks.contract import fields
from tasks.contract.access import VIEW_PAYLOAD, Caller, visible
from tasks.contract.dependencies import Parents, links_as_dict, parents_of
from tasks.contract.filters import Filter, band, choice, error_type, moment, obstacle, payload_value, priority
from tasks.contract.pages import Order
from tasks.contract.sight import Lens, Sees
from tasks.contract.values import error_as_dict, last_error_as_dict, number, timestamp
from tasks.lifecycle import Receipt
from tasks.models import Attempt, Step, Task, TaskQuerySet
from tasks.models.payload_path import PayloadValue
from tasks.queries import waiting
from tasks.queries.forecast import Forecast
from tasks.queries.waiting import WaitingFor
from tasks.states import Status
from tasks.submission import FIELDS, Moment, Seconds

#: Columns that ``task_as_dict`` does not write, so that a query for it need not read them.
UNSEEN = ("options", "checkpoint", "log")
#: The same for a look at the attempts: without its log, the lines of the running one would be read when that may have
#: ended.
UNSEEN_WITH_LOG = ("options", "checkpoint")

#: The attempts of a task, in the order in which they began.
BY_NUMBER = Order("number", False, lambda attempt: attempt.number, int)

#: Stands in place of the status of a task that was pruned or deleted.
REMOVED = "REMOVED"

#: For those who see all payloads; doors take ``filters_for``.
FILTERS: Mapping[str, Filter] = {
    "status": Filter(choice(Status), TaskQuerySet.in_status, is_repeatable=True),
    "actor": Filter(fields.text(255), TaskQuerySet.for_actor),
    "queue": Filter(fields.text(100), TaskQuerySet.in_queue),
    "band": Filter(band, TaskQuerySet.in_band),
    "priority": Filter(priority, TaskQuerySet.with_priority),
    "tag": Filter(fields.text(100), TaskQuerySet.tagged),
    "error_type": Filter(error_type, TaskQuerySet.with_error_type),
    "payload": Filter(payload_value, TaskQuerySet.with_payload, is_repeatable=True),
    "schedule": Filter(fields.identifier, TaskQuerySet.of_schedule),
    "batch": Filter(fields.identifier, TaskQuerySet.of_batch),
    "waiting_for": Filter(obstacle, TaskQuerySet.waiting_for),
    "created_after": Filter(moment, TaskQuerySet.created_after),
    "created_before": Filter(moment, TaskQuerySet.created_before),
    "run_after": Filter(moment, TaskQuerySet.running_after),
    "run_before": Filter(moment, TaskQuerySet.running_before),
    "search": Filter(fields.text(255), TaskQuerySet.searched),
}


def filters_for(caller: Caller) -> Mapping[str, Filter]:
    """Give the filters as this caller may use them: by payload they find what the caller sees the payload of."""

    def by_payload(rows: TaskQuerySet, wanted: Sequence[PayloadValue]) -> TaskQuerySet:
        seen: TaskQuerySet = visible(rows, caller, VIEW_PAYLOAD)
        return seen.with_payload(wanted)

    return {**FILTERS, "payload": replace(FILTERS["payload"], apply=by_payload)}


def task_as_dict(
    task: Task,
    *,
    url: Callable[[str], str],
    sees: Sees,
    forecast: Forecast | None = None,
    parents: Parents | None = None,
) -> dict[str, Any]:
    """Write a task; a field whose capability is not built yet is null or empty, so that the format stays the same.

    Parameters:
        parents: of all tasks of a page; left out, those of this task are read.
    """
    id, lens = str(task.pk), Lens(sees(task.owner_id), task)
    written: dict[str, Any] = {"id": id, "url": url(id), "status": str(task.status), "band": task.band}
    written.update(zip(_COLUMNS, _columns(task), strict=True))
    for name in _DURATIONS:
        written[name] = number(written[name])
    for name in _TIMES:
        written[name] = timestamp(written[name])
    written |= {
        "payload": lens.payload(),
        "expected_start_seconds": number(forecast.seconds) if forecast else None,
        "attempt": task.attempt,
        "failures": task.failures,
        "crashes": task.crashes,
        "result": lens.value(task.result),
        "progress": lens.value(task.progress),
        "checkpointed_at": timestamp(task.checkpointed_at),
        "error": last_error_as_dict(lens, task.error),
        "hidden": lens.hidden(
            "payload", "result", "progress", "error.message", *(["unique.key"] if task.unique_rule else [])
        ),
        "created_at": timestamp(task.created_at),
        "queued_at": timestamp(task.queued_at),
        "started_at": timestamp(task.started_at),
        "finished_at": timestamp(task.finished_at),
        "cancel_requested_at": timestamp(task.cancel_requested_at),
        "trace_id": task.trace_id,
        "schedule_id": str(task.schedule_id) if task.schedule_id else None,
        "scheduled_at": timestamp(task.scheduled_at),
        **links_as_dict(task, parents_of([task]) if parents is None else parents),
        "waiting_for": _waiting_for(task, forecast),
        "ref": None,
        "idempotency_key": task.idempotency_key,
        "unique": _unique_as_dict(task.unique_rule, task, lens) if task.unique_rule else None,
        "concurrency_key": None,
        "batch": None if task.batch_id is None else str(task.batch_id),
    }
    return written


def _unique_as_dict(rule: Mapping[str, Any], task: Task, lens: Lens) -> dict[str, Any]:
    """Write the unique key of a submission; an actor's template puts arguments into it, so it is data of the task."""
    return {
        "key": lens.text(rule["key"]),
        "until": rule["until"],
        "ttl_seconds": number(rule.get("ttl_seconds")),
        "on_conflict": rule["on_conflict"],
        "max_wait_seconds": number(rule.get("max_wait_seconds")),
        "outcome": task.submitted_as or None,
    }


def _waiting_for(task: Task, forecast: Forecast | None) -> list[dict[str, Any]]:
    """Write what a task waits for; without a forecast, what the row alone tells."""
    reasons = forecast.waiting_for if forecast else [waiting.not_due(task)] if task.is_early else []
    return [_obstacle_as_dict(one) for one in reasons]


def _obstacle_as_dict(one: WaitingFor) -> dict[str, Any]:
    facts = {name: timestamp(fact) if isinstance(fact, datetime) else fact for name, fact in one.facts.items()}
    return {"kind": str(one.kind), "message": one.message, **facts}


#: The fields that a submission may give; written from the columns of the same names.
_COLUMNS = [one.name for one in FIELDS.values() if one.is_column]
_DURATIONS = [name for name in _COLUMNS if isinstance(FIELDS[name].kind, Seconds)]
_TIMES = [name for name in _COLUMNS if isinstance(FIELDS[name].kind, Moment)]
_columns = attrgetter(*_COLUMNS)


def receipt_as_list(receipt: Receipt, *, url: Callable[[str], str], sees: Sees) -> list[dict[str, Any]]:
    """Write the tasks of a submission under a key in their current state; a removed task is its id and address only."""
    parents = parents_of(receipt.tasks.values())
    return [
        task_as_dict(receipt.tasks[id], url=url, sees=sees, parents=parents)
        if id in receipt.tasks
        else {"id": str(id), "url": url(str(id)), "status": REMOVED}
        for id in receipt.ids
    ]


def attempt_as_dict(attempt: Attempt, *, lens: Lens) -> dict[str, Any]:
    """Write an attempt of the lens's task; one that is running has no outcome."""
    return {
        "number": attempt.number,
        "outcome": attempt.outcome or None,
        "worker_id": str(attempt.worker_id),
        "started_at": timestamp(attempt.started_at),
        "finished_at": timestamp(attempt.finished_at),
        "error": error_as_dict(lens, attempt.error_type, attempt.error_message, traceback=attempt.traceback),
        **log_as_dict(attempt.log, lens=lens),
        "note": lens.text(attempt.note) or None,
        "hidden": lens.hidden("error.message", "error.traceback", "log", "note"),
    }


def step_as_dict(step: Step, *, lens: Lens) -> dict[str, Any]:
    """Write a step, sleep, wait or signal of the lens's task."""
    return {
        "kind": str(step.kind),
        "name": step.name,
        "created_at": timestamp(step.created_at),
        "ends_at": timestamp(step.ends_at),
        "is_timeout": step.is_timeout,
        "result": lens.value(step.result),
    }


def running_attempt(task: Task) -> Attempt | None:
    """Make the attempt that runs now, whose row is written when it ends; None if none does."""
    if task.status != Status.RUNNING or task.worker_id is None:
        return None
    empty = dict.fromkeys(("outcome", "error_type", "error_message", "traceback", "note"), "")
    now = {"worker_id": task.worker_id, "started_at": task.started_at, "log": running_log(task)}
    return Attempt(task_id=task.pk, number=task.attempt, **now, **empty)


def running_log(task: Task) -> Mapping[str, Any] | None:
    """Give the log of the attempt that runs now; None if none does, or it has reported nothing yet."""
    log = task.log if task.status == Status.RUNNING else None
    return log if log and log["attempt"] == task.attempt else None


def log_as_dict(log: Mapping[str, Any] | None, *, lens: Lens) -> dict[str, Any]:
    """Write the log lines of an attempt; None if they are hidden."""
    found = log or {"lines": [], "dropped": 0}
    lines = [{"at": one["at"], "line": lens.text(one["line"])} for one in found["lines"]]
    return {"log": None if lens.hidden("log") else lines, "log_dropped": found["dropped"]}


def result_as_dict(task: Task, *, sees: Sees) -> dict[str, Any]:
    """Write the result of a task."""
    lens = Lens(sees(task.owner_id), task)
    return {
        "id": str(task.pk),
        "status": str(task.status),
        "result": lens.value(task.result),
        "error": last_error_as_dict(lens, task.error),
        "hidden": lens.hidden("result", "error.message"),
        "finished_at": timestamp(task.finished_at),
    }
