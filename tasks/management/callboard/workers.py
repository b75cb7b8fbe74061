"""``callboard workers``: list, show, drain; ``pool`` has start, status and stop."""

from argparse import Namespace
from uuid import UUID

from tasks.contract.sight import Sight
from tasks.contract.tasks import UNSEEN
from tasks.contract.workers import FILTERS, worker_as_dict
from tasks.errors import IllegalTransition
from tasks.lifecycle import Author, workers
from tasks.management.callboard import lists, parsing, pool, tasks, verbs
from tasks.management.callboard.output import WIDE, Column, Output
from tasks.models import Task, Worker
from tasks.states import ObjectKind

COLUMNS = (
    Column("ID", "id"),
    Column("HOST", "host", wraps=True),
    Column("PID", "pid", is_number=True),
    Column("STATUS", "status"),
    Column("THREADS", "threads", is_number=True),
    Column("HEARTBEAT", "heartbeat_at"),
    Column("BUILD", "build", from_width=WIDE),
    Column("QUEUES", "queues", wraps=True, from_width=WIDE),
    Column("STARTED", "started_at", from_width=WIDE),
)
_RUNNING = (
    Column("ID", "id"),
    Column("ACTOR", "actor", wraps=True),
    Column("CLAIMS", "attempt", is_number=True),
    Column("STARTED", "started_at"),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "workers", help="list, show and drain worker processes; manage pools on this machine",
        examples=[
            "workers list",
            "workers list --all --json",
            "workers list -q | xargs manage.py callboard workers drain",
        ],
    )  # fmt: skip
    listing = parsing.add_command(
        nouns, "list", list_workers, help="list present workers, newest first",
        examples=[
            "workers list",
            "workers list --all --json",
            "workers list -q | xargs manage.py callboard workers drain",
        ],
    )  # fmt: skip
    lists.add_options(listing, FILTERS)
    listing.add_argument("--all", action="store_true", dest="is_all", help="include workers that are gone")
    parsing.add_show(nouns, show, noun="workers", help="show a worker and its tasks", of="worker")
    parsing.add_verb(
        nouns, "drain", drain, noun="workers", of="workers",
        help="ask workers to finish their tasks and stop; their supervisor starts new ones",
    )  # fmt: skip
    pool.register(nouns)


def list_workers(options: Namespace, out: Output) -> None:
    """List workers."""
    rows = Worker.objects.all()
    if not (options.is_all or lists.has_filter(options, "status")):
        rows = rows.present()
    lists.show(
        rows, options, out, filters=FILTERS, write=lambda found: list(map(worker_as_dict, found)), columns=COLUMNS
    )


def show(options: Namespace, out: Output) -> None:
    """Show one worker."""
    worker = lists.find(Worker.objects.all(), options.id)
    held = Task.objects.held_by(worker.pk).newest_first().defer(*UNSEEN)
    running = [tasks.as_dict(task, sees=lambda _: Sight.MASKED) for task in held]
    record = {**worker_as_dict(worker), "crash": worker.crash, "running": [task["id"] for task in running]}
    out.record({**record, "tasks": running}, hidden=("running",), parts={"tasks": _RUNNING})


def drain(options: Namespace, out: Output) -> None:
    """Ask workers to stop."""
    verbs.apply(options, _drain, out, name="drain", kind=ObjectKind.WORKER)


def _drain(worker_id: UUID, by: Author) -> str:
    worker = lists.find(Worker.objects.all(), worker_id)
    if not workers.ask_to_drain([worker.pk], by=by):
        raise IllegalTransition("drain", status=worker.status, detail=f"cannot drain a worker that is {worker.status}")
    return lists.find(Worker.objects.all(), worker_id).status
