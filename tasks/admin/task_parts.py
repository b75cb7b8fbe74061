"""The parts of a task's page below its summary: attempts, steps, log, relatives and history."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html

from tasks.admin.formatting import (
    EMPTY,
    MAX_NAME_LENGTH,
    badge,
    count_text,
    duration,
    escape_invisible,
    exact_time,
    json_block,
    local,
    relative_time,
    shortened,
    truncated,
)
from tasks.admin.gantt import gantt
from tasks.admin.timeline import timeline
from tasks.admin.worker import worker_names
from tasks.contract.causes import causes_of
from tasks.contract.sight import Lens, Sight
from tasks.contract.tasks import log_as_dict, running_log
from tasks.masking import masked
from tasks.models import Attempt, Batch, Journal, Step, Task
from tasks.states import Status

#: Attempts and events that one page shows.
MAX_SHOWN = 50
#: Parents, and children, on a task's page.
MAX_RELATIVES = 20


def state_badge(task: Task) -> str:
    """Show the status, and whether a cancel is on its way."""
    asked = format_html(' <span class="quiet">{}</span>', "cancel requested") if task.cancel_requested_at else ""
    return format_html("{}{}", badge(task.status, task.get_status_display()), asked)


def parts_of(task: Task) -> dict[str, Any]:
    """Return the template context of a task's page below its summary.

    Parameters:
        task: with the lens that ``TaskAdmin.hide_data`` has looked at it through.
    """
    lens: Lens = task.lens  # type: ignore[attr-defined]
    events = list(Journal.objects.filter(task_id=task.pk).newest_first()[:MAX_SHOWN])
    attempts = list(task.attempts.order_by("-number")[:MAX_SHOWN])
    workers = worker_names(attempt.worker_id for attempt in attempts)
    return {
        "timeline": timeline(task, is_first_start=all(one.number == task.attempt for one in attempts)),
        "gantt": gantt(task, attempts, events),
        "cause": _cause(task),
        "error": "" if task.status == Status.SUCCEEDED else truncated(task.error),
        "is_open": task.status in {Status.DEAD, Status.RETRYING},
        "attempts": [_attempt(attempt, lens) | {"worker": workers.get(attempt.worker_id)} for attempt in attempts],
        "log": _log(running_log(task), lens),
        "steps": [_step(step, lens) for step in task.steps.all()[:MAX_SHOWN]],
        "is_hidden": lens.sight is Sight.NOTHING,
        "events": [_event(event) for event in events],
        "relatives": [
            _relatives("Depends on", task.parent_edges, "parent"),
            _relatives("Needed by", task.child_edges, "child"),
        ],
        "max_shown": MAX_SHOWN,
    }


def _cause(task: Task) -> str:
    """Say whose end cancelled a task, with a link to it; empty if that is not why it ended."""
    for cause in causes_of([task]).values():
        before, name, after = cause.sentence.partition(cause.name)
        address = _batch_address(cause.id) if cause.is_batch else _address(cause.id)
        link = format_html('<a href="{}"><bdi>{}</bdi></a>', address, escape_invisible(name))
        return format_html("{}{}{}", before, link if cause.status else name, after)
    return ""


def _batch_address(batch_id: UUID) -> str:
    return reverse("admin:callboard_batch_change", args=[batch_id])


def _address(task_id: UUID) -> str:
    return reverse("admin:callboard_task_change", args=[task_id])


def _relatives(title: str, edges: Any, side: str) -> dict[str, Any]:
    """List the first parents, or children, of a task; one that was removed has an id only.

    Parameters:
        side: "parent" or "child", the end of the edges that is listed.
    """
    found = list(edges.order_by(f"{side}_id")[: MAX_RELATIVES + 1])
    shown = {getattr(edge, f"{side}_id"): edge for edge in found[:MAX_RELATIVES]}
    tasks = Task.objects.only("actor", "status").in_bulk(shown)
    batches = _batches([id for id, edge in shown.items() if side == "parent" and edge.is_batch])
    return {
        "title": title,
        "is_cut": len(found) > MAX_RELATIVES,
        "rows": [
            {
                "id": str(id),
                "address": _address(id),
                "actor": shortened(tasks[id].actor, MAX_NAME_LENGTH) if id in tasks else "",
                "status": state_badge(tasks[id]) if id in tasks else "removed",
                "on_failure": edge.get_on_failure_display(),
                **batches.get(id, {}),
            }
            for id, edge in shown.items()
        ],
    }


def _batches(ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Describe the batches among the parents of a task."""
    found: dict[UUID, dict[str, Any]] = {id: {"actor": "batch", "address": _batch_address(id)} for id in ids}
    for batch in Batch.objects.with_news().filter(pk__in=ids):
        ended = f"{count_text(batch.count('total') - batch.unfinished)} of {count_text(batch.count('total'))} ended"
        name = shortened(batch.name, MAX_NAME_LENGTH) or "batch"
        status = badge(batch.status, batch.get_status_display())
        found[batch.pk] |= {"actor": name, "status": status, "progress": ended}
    return found


def _event(event: Journal) -> dict[str, Any]:
    return {
        "verb": event.verb,
        "by": escape_invisible(event.by),
        "door": event.get_door_display(),
        "reason": escape_invisible(event.reason),
        "at": exact_time(event.at),
        "detail": json_block(masked(event.detail)) if event.detail else "",
    }


def _log(log: Mapping[str, Any] | None, lens: Lens) -> list[dict[str, str]]:
    lines = log_as_dict(log, lens=lens)["log"] or ()
    return [
        {"at": local(datetime.fromisoformat(one["at"]), "%H:%M:%S"), "line": escape_invisible(one["line"])}
        for one in lines
    ]


def _step(step: Step, lens: Lens) -> dict[str, Any]:
    result = lens.value(step.result)
    return {
        "kind": step.get_kind_display(),
        "name": escape_invisible(step.name),
        "at": exact_time(step.created_at),
        "until": exact_time(step.ends_at) if step.ends_at else "",
        "is_timeout": step.is_timeout,
        "result": "" if result is None else json_block(result),
    }


def _attempt(attempt: Attempt, lens: Lens) -> dict[str, Any]:
    ran = attempt.finished_at - attempt.started_at if attempt.started_at else None
    return {
        "number": attempt.number,
        "outcome": badge(attempt.outcome, attempt.get_outcome_display()),
        "worker_id": str(attempt.worker_id),
        "started": relative_time(attempt.started_at),
        "took": duration(ran.total_seconds()) if ran is not None else EMPTY,
        "error": escape_invisible(f"{attempt.error_type}: {lens.text(attempt.error_message) or ''}".strip(": ")),
        "traceback": truncated(lens.text(attempt.traceback) or ""),
        "note": escape_invisible(lens.text(attempt.note) or ""),
        "log": _log(attempt.log, lens),
    }
