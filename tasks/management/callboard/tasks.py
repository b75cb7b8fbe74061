"""``callboard tasks``: list, show, workflow, cancel, retry, signal."""

from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from tasks import lifecycle
from tasks.contract import fields, workflows
from tasks.contract.dependencies import parents_of
from tasks.contract.journal import event_as_dict
from tasks.contract.pages import DEFAULT_LIMIT
from tasks.contract.sight import Lens, Sees
from tasks.contract.tasks import FILTERS, UNSEEN, attempt_as_dict, log_as_dict, running_log, step_as_dict, task_as_dict
from tasks.lifecycle import Author
from tasks.management.callboard import lists, operator, parsing, payload, verbs
from tasks.management.callboard.output import WIDE, Column, Output
from tasks.models import Task
from tasks.queries.dependencies import MOST_IN_WORKFLOW, Workflow, workflow_of
from tasks.queries.forecast import Forecast, expected_start
from tasks.states import EdgeState, ObjectKind

_LIST = (
    Column("ID", "id"),
    Column("ACTOR", "actor", wraps=True),
    Column("STATUS", "status"),
    Column("PRIO", "priority", is_number=True),
    Column("CREATED", "created_at"),
    Column("QUEUE", "queue", wraps=True, from_width=WIDE),
    Column("CLAIMS", "attempt", is_number=True, from_width=WIDE),
    Column("RUN AT", "run_at", from_width=WIDE),
    Column("ERROR", "error.message", wraps=True, from_width=WIDE),
)
_WAITING_FOR = (Column("KIND", "kind"), Column("MESSAGE", "message", wraps=True))
_WORKFLOW = (
    Column("ID", "id"),
    Column("ACTOR", "actor", wraps=True),
    Column("STATUS", "status"),
    Column("WAITS FOR", "waits_for", wraps=True),
    Column("CAUSE", "cause_id", from_width=WIDE),
)
#: States of edges whose parents a task waits for.
_WAITED_FOR = (EdgeState.NEW, EdgeState.OPEN)
_ATTEMPTS = (
    Column("N", "number", is_number=True),
    Column("OUTCOME", "outcome"),
    Column("STARTED", "started_at"),
    Column("FINISHED", "finished_at"),
    Column("WORKER", "worker_id", from_width=WIDE),
    Column("ERROR", "error.type", wraps=True),
    Column("MESSAGE", "error.message", wraps=True),
    Column("NOTE", "note", wraps=True),
)
_LINES = (Column("AT", "at"), Column("LINE", "line", wraps=True))
_STEPS = (
    Column("KIND", "kind"),
    Column("NAME", "name", wraps=True),
    Column("AT", "created_at"),
    Column("ENDS", "ends_at"),
    Column("RESULT", "result", wraps=True),
)
_EVENTS = (
    Column("AT", "at"),
    Column("VERB", "verb"),
    Column("BY", "by", wraps=True),
    Column("DOOR", "door", from_width=WIDE),
    Column("REASON", "reason", wraps=True),
    Column("DETAIL", "detail", wraps=True),
)

#: Steps that one task's record shows.
MOST_STEPS = 1_000


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "tasks", help="list, show, cancel, retry and signal tasks",
        examples=[
            "tasks list --status dead", "tasks show ID", "tasks cancel ID ID", "tasks retry ID",
            "tasks signal ID approved",
        ],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_tasks, help="list tasks, newest first",
        examples=[
            "tasks list --status dead --actor send_mail",
            "tasks list --tag nightly --created-after 2030-01-31T00:00Z --json",
            "tasks list --status retrying -q | xargs manage.py callboard tasks retry",
        ],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    lists.add_secrets_option(listing)
    add_verb = partial(parsing.add_verb, nouns, noun="tasks", of="tasks")
    lists.add_secrets_option(
        parsing.add_show(
            nouns, show, noun="tasks", help="show a task, its attempts with tracebacks, and its events", of="task"
        )
    )
    canceller = add_verb("cancel", cancel, help="cancel waiting tasks; ask running ones to stop")
    retrier = add_verb("retry", retry, help="run tasks again: DEAD is re-driven, RETRYING runs now, CANCELLED restarts")
    for parser in (canceller, retrier):
        parser.add_argument(
            "--workflow", action="store_true", help="act on all tasks that are linked to these by dependencies"
        )
    graph = parsing.add_command(
        nouns, "workflow", show_workflow, help="list the tasks that are linked to one by dependencies, oldest first",
        examples=["tasks workflow ID", "tasks workflow ID --json"],
    )  # fmt: skip
    graph.add_argument("id", type=parsing.identifier, metavar="ID")
    graph.add_argument(
        "--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help="print at most N (default: %(default)s)"
    )
    signalling = parsing.add_command(
        nouns, "signal", signal, help="give a task the signal that it waits for, or will wait for",
        examples=[
            "tasks signal ID approved",
            "tasks signal ID approved --payload by=ada amount=100 --reason 'within the budget'",
            "tasks signal ID approved --payload @decision.json --json",
        ],
    )  # fmt: skip
    signalling.add_argument("id", type=parsing.identifier, metavar="ID", help="the id of a task")
    signalling.add_argument("name", metavar="NAME", help="the name of the signal, up to 100 characters")
    payload.add_argument(signalling, help="what wait_for() returns")
    parsing.add_reason(signalling)


def list_tasks(options: Namespace, out: Output) -> None:
    """List tasks."""
    rows = Task.objects.defer(*UNSEEN)
    sees = lists.sees(options)
    lists.show(
        rows,
        options,
        out,
        filters=FILTERS,
        write=lambda found: _as_dicts(found, sees=sees),
        columns=_LIST,
    )


def show(options: Namespace, out: Output) -> None:
    """Show one task with its attempts and events."""
    task = lists.find(Task.objects.all(), options.id)
    sees = lists.sees(options)
    lens = Lens(sees(task.owner_id), task)
    attempts = [attempt_as_dict(attempt, lens=lens) for attempt in task.attempts.order_by("number")]
    events = [event_as_dict(event) for event in task.events.all()]
    more = {"worker_id": _text(task.worker_id), **log_as_dict(running_log(task), lens=lens)}
    steps = [step_as_dict(step, lens=lens) for step in task.steps.all()[:MOST_STEPS]]
    lists_of = {"steps": steps, "attempts": attempts, "events": events}
    record = {**as_dict(task, sees=sees, forecast=expected_start(task)), **more, **lists_of}
    parts = {"waiting_for": _WAITING_FOR, "log": _LINES, "steps": _STEPS, "attempts": _ATTEMPTS, "events": _EVENTS}
    out.record(record, hidden=("url",), parts=parts)
    if not out.is_json and attempts and attempts[-1]["log"]:
        lines = "\n".join(f"{one['at']} {one['line']}" for one in attempts[-1]["log"])
        out.text(lines, title="log of the last attempt")
    if not out.is_json and attempts and attempts[-1]["error"]:
        out.text(attempts[-1]["error"]["traceback"], title="last traceback")


def show_workflow(options: Namespace, out: Output) -> None:
    """List the tasks of a workflow."""
    limit = parsing.read("--limit", fields.whole_number(1, MOST_IN_WORKFLOW), options.limit)
    workflow = _workflow(options.id)
    found = list(workflows.nodes(workflow).order_by("pk")[: limit + 1])
    parents, url = parents_of(found[:limit]), lists.address("api-tasks")
    rows = [workflows.node_as_dict(task, url=url, parents=parents) for task in found[:limit]]
    for row in rows:
        waited_for = [edge for edge in row["depends_on"] if edge["state"] in _WAITED_FOR]
        row["waits_for"] = [edge["id"] or f"batch:{edge['batch']}" for edge in waited_for]
    out.rows(rows, _WORKFLOW, has_more=len(found) > limit or not workflow.is_complete)


def cancel(options: Namespace, out: Output) -> None:
    """Cancel tasks."""
    verbs.apply(options, _cancel_workflow if options.workflow else _cancel, out, name="cancel", kind=ObjectKind.TASK)


def retry(options: Namespace, out: Output) -> None:
    """Run tasks again."""
    verbs.apply(options, _retry_workflow if options.workflow else _retry, out, name="retry", kind=ObjectKind.TASK)


def signal(options: Namespace, out: Output) -> None:
    """Give a task a signal."""
    given = payload.read(options.payload) if options.payload else None
    lifecycle.signal(options.id, options.name, given, by=operator.author(options))
    task = lists.find(Task.objects.all(), options.id)
    out.record({"id": str(task.pk), "status": str(task.status), "signal": options.name}, hidden=(), parts={})


def _cancel(task_id: UUID, by: Author) -> str:
    return lifecycle.cancel(task_id, by=by)


def _retry(task_id: UUID, by: Author) -> str:
    return lifecycle.retry(task_id, by=by)


def _workflow(task_id: UUID) -> Workflow:
    lists.find(Task.objects.only("pk"), task_id)
    return workflow_of(task_id)


def _cancel_workflow(task_id: UUID, by: Author) -> str:
    lifecycle.cancel_workflow(workflows.whole(_workflow(task_id)), by=by)
    return str(lists.find(Task.objects.only("status"), task_id).status)


def _retry_workflow(task_id: UUID, by: Author) -> str:
    lifecycle.retry_workflow(workflows.whole(_workflow(task_id)), by=by)
    return str(lists.find(Task.objects.only("status"), task_id).status)


def as_dict(task: Task, *, sees: Sees, forecast: Forecast | None = None) -> dict[str, Any]:
    """Write a task as the REST API does."""
    return task_as_dict(task, url=lists.address("api-tasks"), sees=sees, forecast=forecast)


def _as_dicts(tasks: Sequence[Task], *, sees: Sees) -> list[dict[str, Any]]:
    """Write the tasks of a list, whose dependencies are read together."""
    parents, url = parents_of(tasks), lists.address("api-tasks")
    return [task_as_dict(task, url=url, sees=sees, parents=parents) for task in tasks]


def _text(worker_id: UUID | None) -> str | None:
    return str(worker_id) if worker_id else None
