"""Batch pages: counts, callbacks and tasks of batches; close and cancel."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from tasks.admin.display import Display, display, display_age
from tasks.admin.filters import BatchStatusFilter
from tasks.admin.formatting import EMPTY, badge, code, count_text, escape_invisible, task_link
from tasks.admin.operated import OperatedAdmin
from tasks.admin.verb import Verb, one_by_one
from tasks.contract.access import CANCEL_BATCH, CLOSE_BATCH, VIEW_TASK
from tasks.errors import CallboardError
from tasks.lifecycle import batches
from tasks.models import Batch, Task
from tasks.models.batch import CALLBACKS
from tasks.states import ObjectKind

#: Tasks that one page shows.
MAX_SHOWN = 50


def _count(label: str, name: str) -> Display:
    return display(label, lambda batch: count_text(batch.count(name)))


def _callback(name: str) -> Display:
    return display(name.replace("_", " "), lambda batch: _callback_text(batch, name))


def _callback_text(batch: Batch, name: str) -> str:
    """Name the actor of a callback, with a link to its task once it was submitted."""
    if name not in batch.callbacks:
        return EMPTY
    actor = escape_invisible(batch.callbacks[name]["actor"])
    if name not in batch.called:
        return actor
    if batch.called[name] is None:
        return format_html("{}, which could not be submitted", actor)
    return format_html('<a href="{}">{}</a>', reverse("admin:callboard_task_change", args=[batch.called[name]]), actor)


_STATUS = display("status", lambda batch: badge(batch.status, batch.get_status_display()))
_UNFINISHED = display("unfinished", lambda batch: count_text(batch.unfinished))
_TOTAL = _count("tasks", "total")
_DEAD = _count("dead", "dead")

CLOSE = Verb(
    name="close",
    label="Close",
    command="Close {}",
    outcome="be closed",
    done="closed",
    permission=CLOSE_BATCH.permission,
    effect="Further tasks are refused. The batch ends when all of its tasks have ended.",
    condition="Only open batches can be closed.",
    legal=lambda rows: rows.open(),
    run=one_by_one(lambda id, by: batches.close(id, by=by), refusals=(CallboardError,)),
)
CANCEL = Verb(
    name="cancel",
    label="Cancel",
    command="Cancel {}",
    outcome="be cancelled",
    done="cancelled",
    permission=CANCEL_BATCH.permission,
    effect="Further tasks are refused, waiting tasks end, and running ones are interrupted.",
    condition="Only batches that have not ended can be cancelled.",
    legal=lambda rows: rows.cancellable(),
    run=one_by_one(lambda id, by: batches.cancel(id, by=by), refusals=(CallboardError,)),
    is_danger=True,
)


@admin.register(Batch)
class BatchAdmin(OperatedAdmin):
    """Batches and their tasks."""

    change_form_template = "callboard/batch.html"
    verbs = (CLOSE, CANCEL)
    kind = ObjectKind.BATCH
    empty_text = "No batches. POST /api/v1/batches makes one."
    list_display = (
        display("batch", lambda batch: escape_invisible(str(batch))),
        _STATUS,
        _TOTAL,
        _UNFINISHED,
        _DEAD,
        display_age("created_at"),
    )
    list_filter = (BatchStatusFilter,)
    summary_fields = (
        _STATUS,
        _TOTAL,
        _UNFINISHED,
        _count("succeeded", "succeeded"),
        _DEAD,
        _count("cancelled", "cancelled"),
        *map(_callback, CALLBACKS),
        display("cancelled by", lambda batch: escape_invisible(batch.cancelled_by) or EMPTY),
        display("reason", lambda batch: escape_invisible(batch.cancel_reason) or EMPTY),
        display_age("created_at"),
        display_age("closed_at"),
        display_age("ended_at"),
        display("ID", lambda batch: code(batch.pk)),
    )

    def annotate(self, rows: list[Batch]) -> None:
        """Add what the leader has not counted yet."""
        found = Batch.objects.with_news().in_bulk([batch.pk for batch in rows])
        for batch in rows:
            batch.news = found[batch.pk].news if batch.pk in found else None

    def page_context(self, request: HttpRequest, row: Batch) -> Mapping[str, Any]:
        """Add its newest tasks, for users who may see tasks."""
        if not request.user.has_perm(VIEW_TASK.permission):
            return {"tasks": None}
        tasks = Task.objects.of_batch(row.pk).newest_first().only("actor", "status")[:MAX_SHOWN]
        return {
            "tasks": [
                {
                    "link": task_link(task.pk, actor=task.actor),
                    "status": badge(task.status, task.get_status_display()),
                }
                for task in tasks
            ]
        }
