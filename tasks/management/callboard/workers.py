"""``callboard workers``: list, show, drain; ``pool`` has start, status and stop."""

from argparse import Namespace
from uuid import UUID

from tasks.api.workers import worker_as_dict
from tasks.engine import presence
from tasks.errors import IllegalTransition, NotFound
from tasks.management.callboard import parsing, pool, tasks, verbs
from tasks.management.callboard.output import Column, Output
from tasks.models import Task, Worker

COLUMNS = (
    Column("ID", "id"),
    Column("HOST", "host"),
    Column("PID", "pid", is_number=True),
    Column("STATUS", "status"),
    Column("THREADS", "threads", is_number=True),
    Column("HEARTBEAT", "heartbeat_at"),
    Column("QUEUES", "queues", is_extra=True),
    Column("STARTED", "started_at", is_extra=True),
)
_RUNNING = (
    Column("ID", "id"),
    Column("ACTOR", "actor"),
    Column("TRY", "attempt", is_number=True),
    Column("STARTED", "started_at"),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(commands, "workers", help="look at worker processes, drain them")
    listing = parsing.add_command(
        nouns, "list", list_workers, help="list workers that are present, newest first",
        examples=["workers list", "workers list --all --json"],
    )  # fmt: skip
    listing.add_argument("--all", action="store_true", dest="is_all", help="the newest 100, those that are gone too")
    showing = parsing.add_command(
        nouns, "show", show, help="show a worker and what it runs",
        examples=["workers show 0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"],
    )  # fmt: skip
    showing.add_argument("id", type=parsing.identifier, metavar="ID", help="of a worker")
    draining = parsing.add_command(
        nouns, "drain", drain, help="ask workers to finish what they run and end; a supervisor starts them anew",
        examples=["workers drain ID ID"],
    )  # fmt: skip
    parsing.add_ids(draining, of="workers")
    pool.register(nouns)


def list_workers(options: Namespace, out: Output) -> None:
    """List workers."""
    rows = Worker.objects.all() if options.is_all else Worker.objects.present()
    out.rows([worker_as_dict(worker) for worker in rows.order_by("-id")[:100]], COLUMNS)


def show(options: Namespace, out: Output) -> None:
    """Show one worker."""
    worker = _find(options.id)
    held = Task.objects.held_by(worker.pk).newest_first().defer("args", "options", "checkpoint")
    running = [tasks.as_dict(task) for task in held]
    record = {**worker_as_dict(worker), "crash": worker.crash, "running": [task["id"] for task in running]}
    out.record({**record, "tasks": running}, hidden=("running",), parts={"tasks": _RUNNING})


def drain(options: Namespace, out: Output) -> None:
    """Ask workers to end."""
    verbs.apply(options.ids, _drain, out)


def _drain(worker_id: UUID) -> str:
    worker = _find(worker_id)
    if not presence.ask_to_drain([worker.pk]):
        raise IllegalTransition("drain", status=worker.status, detail=f"cannot drain a worker that is {worker.status}")
    worker.refresh_from_db()
    return worker.status


def _find(worker_id: UUID) -> Worker:
    worker = Worker.objects.filter(pk=worker_id).first()
    if worker is None:
        raise NotFound(f"there is no worker {worker_id}")
    return worker
