"""How far an operation has come: on its own page and on its failure's."""

from typing import Any

from django.urls import reverse

from tasks.admin.formatting import badge, duration, escape_invisible
from tasks.models import Operation
from tasks.models.operation import STOP_WINDOW
from tasks.states import ON_DEAD_LETTERS, RUNNING_AGAIN, OperationState


def progress_of(operation: Operation) -> dict[str, Any]:
    """Describe the four steps of an operation, its bar and its numbers, for ``operation_progress.html``."""
    runs = operation.verb in RUNNING_AGAIN
    noun = "dead letters" if operation.verb in ON_DEAD_LETTERS else "tasks"
    percent = None if operation.is_over else operation.stop_percent
    stop_rule = f"Stops automatically when {percent} % of the canary, or of the last {STOP_WINDOW} tasks, die again."
    return {
        "operation": operation,
        "operation_url": reverse("admin:callboard_operation_change", args=[operation.pk]),
        "operation_state": badge(operation.state, operation.get_state_display()),
        "steps": _steps(operation, noun),
        "bars": _bars(operation, runs=runs),
        "sentence": _sentence(operation, runs=runs),
        "stop_rule": stop_rule if percent else "",
        "note": escape_invisible(operation.note),
    }


def _steps(operation: Operation, noun: str) -> list[dict[str, Any]]:
    has_begun, state = operation.started_at is not None, operation.state
    is_past = operation.moved > operation.canary or state in {OperationState.RUNNING, OperationState.DONE}
    has_passed_canary = has_begun and (not operation.canary or is_past)
    capped = "; more matched" if operation.is_capped else ""
    canary = f"{min(operation.moved, operation.canary):,} of {operation.canary:,} begun" if has_begun else "waits"
    if not operation.canary:
        canary = "none"
    elif has_passed_canary:
        canary = f"{operation.canary:,} first"
    rate = "as fast as it can" if operation.rate_per_second is None else f"{operation.rate_per_second:g} per second"
    done = f"{operation.moved + operation.skipped:,} of {operation.total:,}"
    return [
        {"name": "Preview", "text": f"{operation.total:,} {noun}{capped}", "is_reached": True},
        {"name": "Canary", "text": canary, "is_reached": has_begun},
        {"name": "Running", "text": f"{done} · {rate}", "is_reached": has_passed_canary},
        {"name": "Done", "text": _end(operation), "is_reached": operation.is_over},
    ]


def _end(operation: Operation) -> str:
    if operation.state == OperationState.CANCELLED:
        return "cancelled"
    if operation.state == OperationState.DONE:
        return "all ended" if operation.verb in RUNNING_AGAIN else "all done"
    if operation.is_active and operation.rate_per_second and operation.left:
        return f"in about {duration(operation.left / operation.rate_per_second)}"
    return ""


def _bars(operation: Operation, *, runs: bool) -> list[dict[str, Any]]:
    """Give the parts of the bar, in percent of its width."""
    parts = (
        [("succeeded", operation.succeeded), ("died", operation.died), ("running", operation.running + operation.ended)]
        if runs
        else [("succeeded", operation.moved)]
    )
    found, x = [], 0.0
    for kind, count in (*parts, ("skipped", operation.skipped)):
        width = 100 * count / max(operation.total, 1)
        if width:
            found.append({"kind": kind, "x": f"{x:.2f}%", "width": f"{width:.2f}%"})
        x += width
    return found


def _sentence(operation: Operation, *, runs: bool) -> str:
    parts = [(operation.left, "to go"), (operation.skipped, "skipped")]
    if runs:
        parts = [
            (operation.succeeded, "succeeded"),
            (operation.died, "died again"),
            (operation.running, "running or waiting to run"),
            (operation.ended, "cancelled or removed"),
            *parts,
        ]
    return " · ".join(f"{count:,} {what}" for count, what in parts if count)
