"""Queue pages: the numbers of each queue, pause and resume."""

from typing import Any

from django.contrib import admin

from tasks.admin.display import Display, display, display_age
from tasks.admin.formatting import EMPTY, badge, count_text, duration, escape_invisible
from tasks.admin.operated import OperatedAdmin
from tasks.admin.verb import Verb, one_by_one
from tasks.contract.access import PAUSE_QUEUE
from tasks.errors import NotFound
from tasks.lifecycle import queues
from tasks.models import Queue
from tasks.queries.queue_stats import QueueStats, all_queue_stats
from tasks.states import ObjectKind


def status_badge(paused_at: Any) -> str:
    """Show whether the queue is paused."""
    return badge("paused", "Paused") if paused_at else badge("alive", "Active")


_STATUS = display("status", lambda queue: status_badge(queue.paused_at))


def _stat(name: str, label: str) -> Display:
    return display(label, lambda queue: getattr(queue, "stats", {}).get(name, EMPTY))


_STATS = (
    _stat("waiting", "waiting"),
    _stat("queued", "dispatched"),
    _stat("running", "running"),
    _stat("oldest", "oldest wait"),
    _stat("threads", "threads"),
)

PAUSE = Verb(
    name="pause",
    label="Pause",
    command="Pause {}",
    outcome="be paused",
    done="paused",
    permission=PAUSE_QUEUE.permission,
    effect="Dispatching stops. Tasks that no worker has claimed go back to waiting; claimed tasks still run.",
    condition="Only queues that are not paused can be paused.",
    legal=lambda rows: rows.filter(paused_at=None),
    run=one_by_one(lambda name, by: queues.pause(name, by=by), refusals=(NotFound,)),
    is_danger=True,
)
RESUME = Verb(
    name="resume",
    label="Resume",
    command="Resume {}",
    outcome="be resumed",
    done="resumed",
    permission=PAUSE_QUEUE.permission,
    effect="Waiting tasks are dispatched again at once.",
    condition="Only paused queues can be resumed.",
    legal=lambda rows: rows.exclude(paused_at=None),
    run=one_by_one(lambda name, by: queues.resume(name, by=by), refusals=(NotFound,)),
)


def stats_as_text(stats: QueueStats) -> dict[str, Any]:
    """Write a queue's numbers."""
    oldest = stats.oldest_due_seconds
    return {
        "name": escape_invisible(stats.name),
        "state": status_badge(stats.paused_at),
        "waiting": count_text(stats.waiting.number, is_capped=stats.waiting.is_capped),
        "queued": count_text(stats.queued),
        "running": count_text(stats.running),
        "oldest": EMPTY if oldest is None else duration(oldest),
        "threads": count_text(stats.threads),
    }


@admin.register(Queue)
class QueueAdmin(OperatedAdmin):
    """Queues."""

    change_form_template = "callboard/queue.html"
    verbs = (PAUSE, RESUME)
    kind = ObjectKind.QUEUE
    state_field = None
    empty_text = "No queues. A queue appears here when the scheduler or a worker starts with an actor that names it."
    list_display = (display("queue", lambda queue: escape_invisible(queue.name)), _STATUS, *_STATS)
    ordering = ("name",)
    summary_fields = (_STATUS, display_age("paused_at"), *_STATS)

    def annotate(self, rows: list[Queue]) -> None:
        """Add their numbers."""
        texts = {stats.name: stats_as_text(stats) for stats in all_queue_stats()}
        for queue in rows:
            queue.stats = texts.get(queue.name, {})  # type: ignore[attr-defined]
