"""``callboard tasks``: list, show, cancel, retry."""

from argparse import Namespace
from functools import partial
from typing import Any
from uuid import UUID

from django.urls import reverse

from tasks import lifecycle
from tasks.api.filters import TASK_FILTERS, filtered
from tasks.api.serializers import attempt_as_dict, event_as_dict, task_as_dict
from tasks.errors import NotFound
from tasks.management.callboard import operator, parsing, verbs
from tasks.management.callboard.output import Column, Output
from tasks.models import Task, TaskEvent

_LIST = (
    Column("ID", "id"),
    Column("ACTOR", "actor"),
    Column("STATUS", "status"),
    Column("PRIO", "priority", is_number=True),
    Column("CREATED", "created_at"),
    Column("QUEUE", "queue", is_extra=True),
    Column("TRY", "attempt", is_number=True, is_extra=True),
    Column("RUN AT", "run_at", is_extra=True),
    Column("ERROR", "error.message", is_extra=True),
)
_ATTEMPTS = (
    Column("N", "number", is_number=True),
    Column("OUTCOME", "outcome"),
    Column("STARTED", "started_at"),
    Column("FINISHED", "finished_at"),
    Column("WORKER", "worker_id", is_extra=True),
    Column("ERROR", "error.type"),
    Column("MESSAGE", "error.message"),
)
_EVENTS = (Column("AT", "at"), Column("VERB", "verb"), Column("BY", "by"), Column("DETAIL", "detail"))


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(commands, "tasks", help="look at tasks, cancel them, run them again")
    listing = parsing.add_command(
        nouns, "list", list_tasks, help="list tasks, newest first",
        examples=[
            "tasks list --status dead --actor send_mail",
            "tasks list --tag nightly --created-after 2030-01-31T00:00Z --json",
            "tasks list --status retrying -q | xargs manage.py callboard tasks retry",
        ],
    )  # fmt: skip
    parsing.add_list_options(listing, TASK_FILTERS)
    showing = parsing.add_command(
        nouns, "show", show, help="show a task, its attempts with tracebacks, and what was done to it",
        examples=["tasks show 0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"],
    )  # fmt: skip
    showing.add_argument("id", type=parsing.identifier, metavar="ID", help="of a task")
    for name, run, text in (
        ("cancel", cancel, "cancel what waits; ask what runs to stop"),
        ("retry", retry, "run again: DEAD is re-driven, RETRYING runs now, CANCELLED starts anew"),
    ):
        one = parsing.add_command(nouns, name, run, help=text, examples=[f"tasks {name} ID ID ID"])
        parsing.add_ids(one, of="tasks")


def list_tasks(options: Namespace, out: Output) -> None:
    """List tasks."""
    limit = parsing.limit(options)
    rows = filtered(Task.objects.all(), parsing.query(options, TASK_FILTERS), TASK_FILTERS).newest_first()  # type: ignore[attr-defined]
    found = list(rows.defer("args", "options", "checkpoint")[: limit + 1])
    if options.quiet:
        out.lines(str(task.pk) for task in found[:limit])
    else:
        out.rows([as_dict(task) for task in found[:limit]], _LIST, has_more=len(found) > limit)


def show(options: Namespace, out: Output) -> None:
    """Show one task with all that happened to it."""
    task = Task.objects.filter(pk=options.id).first()
    if task is None:
        raise NotFound(f"there is no task {options.id}")
    attempts = [attempt_as_dict(attempt) for attempt in task.attempts.order_by("number")]
    events = [event_as_dict(event) for event in TaskEvent.objects.filter(task_id=task.pk)]
    record = {**as_dict(task), "worker_id": _text(task.worker_id), "attempts": attempts, "events": events}
    out.record(record, hidden=("url",), parts={"attempts": _ATTEMPTS, "events": _EVENTS})
    if not out.is_json and attempts and attempts[-1]["error"]:
        out.text(attempts[-1]["error"]["traceback"], title="last traceback")


def cancel(options: Namespace, out: Output) -> None:
    """Cancel tasks."""
    verbs.apply(options.ids, partial(lifecycle.cancel, by=operator.name()), out)


def retry(options: Namespace, out: Output) -> None:
    """Run tasks again."""
    verbs.apply(options.ids, partial(lifecycle.retry, by=operator.name()), out)


def as_dict(task: Task) -> dict[str, Any]:
    """Give a task the shape of the REST API; its address without the host, which no command knows."""
    base = reverse("api-tasks")
    return task_as_dict(task, url=lambda task_id: f"{base}/{task_id}")


def _text(worker_id: UUID | None) -> str | None:
    return str(worker_id) if worker_id else None
