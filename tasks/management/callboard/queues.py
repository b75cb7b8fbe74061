"""``callboard queues``: list, pause, resume."""

from argparse import Namespace

from tasks.api.queues import queue_as_dict
from tasks.engine import queues
from tasks.engine.statistics import queue_standings
from tasks.management.callboard import operator, parsing
from tasks.management.callboard.output import Column, Output

COLUMNS = (
    Column("QUEUE", "name"),
    Column("WAITING", "waiting", is_number=True),
    Column("QUEUED", "queued", is_number=True),
    Column("RUNNING", "running", is_number=True),
    Column("OLDEST DUE (S)", "oldest_due_seconds", is_number=True),
    Column("THREADS", "threads", is_number=True),
    Column("PAUSED", "paused_at"),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(commands, "queues", help="look at queues, pause and resume them")
    parsing.add_command(
        nouns, "list", list_queues, help="list queues with what waits and for how long",
        examples=["queues list", "queues list --json"],
    )  # fmt: skip
    for name, run, text in (
        ("pause", pause, "hand over nothing more; what runs goes on"),
        ("resume", resume, "hand over again, at once"),
    ):
        one = parsing.add_command(
            nouns, name, run, help=text, examples=[f"queues {name} default", f"queues {name} a b"]
        )
        one.add_argument("names", nargs="+", metavar="QUEUE")


def list_queues(_: Namespace, out: Output) -> None:
    """List queues."""
    out.rows([queue_as_dict(standing) for standing in queue_standings()], COLUMNS)


def pause(options: Namespace, out: Output) -> None:
    """Pause queues."""
    for name in options.names:
        queues.pause(name, by=operator.name())
    _print(options.names, out)


def resume(options: Namespace, out: Output) -> None:
    """Resume queues."""
    for name in options.names:
        queues.resume(name, by=operator.name())
    _print(options.names, out)


def _print(names: list[str], out: Output) -> None:
    out.rows([queue_as_dict(standing) for standing in queue_standings() if standing.name in names], COLUMNS)
