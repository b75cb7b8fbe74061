"""Pages on queues: how each stands, pause and resume."""

from typing import Any

from django.contrib import admin

from tasks.admin.show import NOTHING, Column, age, badge, column, number, span, visible
from tasks.admin.verbs import OperatedAdmin, Verb, one_by_one
from tasks.errors import NotFound
from tasks.lifecycle import queues
from tasks.models import Queue
from tasks.queries import queue_stats
from tasks.queries.queue_stats import Standing


def state(paused_at: Any) -> str:
    """Show whether a queue is handed out."""
    return badge("paused", "Paused") if paused_at else badge("alive", "Open")


_STATE = column("status", lambda queue: state(queue.paused_at))


def _standing(name: str, label: str) -> Column:
    return column(label, lambda queue: getattr(queue, "standing", {}).get(name, NOTHING))


_STANDINGS = (
    _standing("waiting", "waiting"),
    _standing("queued", "in the broker"),
    _standing("running", "running"),
    _standing("oldest", "oldest due for"),
    _standing("threads", "threads"),
)

PAUSE = Verb(
    name="pause",
    label="Pause",
    done="paused",
    permission="tasks.pause_queue",
    effect="Nothing more is handed out, and what no worker has claimed is taken back. What runs goes on.",
    legal=lambda rows: rows.filter(paused_at=None),
    run=one_by_one(lambda name, by: queues.pause(name, by=by), refusals=(NotFound,)),
    is_danger=True,
)
RESUME = Verb(
    name="resume",
    label="Resume",
    done="resumed",
    permission="tasks.pause_queue",
    effect="Its tasks are handed out again, at once.",
    legal=lambda rows: rows.exclude(paused_at=None),
    run=one_by_one(lambda name, by: queues.resume(name, by=by), refusals=(NotFound,)),
)


def standing_as_text(standing: Standing) -> dict[str, Any]:
    """Write how a queue stands."""
    oldest = standing.oldest_due_seconds
    return {
        "name": visible(standing.name),
        "state": state(standing.paused_at),
        "waiting": number(standing.waiting.number, is_capped=standing.waiting.is_capped),
        "queued": number(standing.queued),
        "running": number(standing.running),
        "oldest": NOTHING if oldest is None else span(oldest),
        "threads": number(standing.threads),
    }


@admin.register(Queue)
class QueueAdmin(OperatedAdmin):
    """Queues."""

    change_form_template = "admin/tasks/queue/change_form.html"
    verbs = (PAUSE, RESUME)
    state_field = None
    nothing = "No actor declares a queue."
    list_display = (column("queue", lambda queue: visible(queue.name)), _STATE, *_STANDINGS)
    ordering = ("name",)
    facts = (_STATE, age("paused_at"), *_STANDINGS)

    def complete(self, rows: list[Queue]) -> None:
        """Add how they stand."""
        standings = {standing.name: standing_as_text(standing) for standing in queue_stats.queue_standings()}
        for queue in rows:
            queue.standing = standings.get(queue.name, {})  # type: ignore[attr-defined]
