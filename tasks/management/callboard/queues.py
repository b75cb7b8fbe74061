"""``callboard queues``: list, pause, resume."""

from argparse import Namespace
from collections.abc import Callable, Sequence

from tasks.contract.queues import queue_as_dict
from tasks.errors import NotFound
from tasks.lifecycle import queues
from tasks.management.callboard import operator, parsing
from tasks.management.callboard.output import Column, Output
from tasks.models import Queue
from tasks.queries.queue_stats import all_queue_stats

COLUMNS = (
    Column("QUEUE", "name", wraps=True),
    Column("WAITING", "waiting", is_number=True),
    Column("QUEUED", "queued", is_number=True),
    Column("RUNNING", "running", is_number=True),
    Column("OLDEST DUE (S)", "oldest_due_seconds", is_number=True),
    Column("THREADS", "threads", is_number=True),
    Column("PAUSED", "paused_at"),
)


def register(commands: parsing.Commands) -> None:
    """Add the commands."""
    nouns = parsing.add_noun(
        commands, "queues", help="list, pause and resume queues",
        examples=["queues list", "queues pause mail", "queues resume mail"],
    )  # fmt: skip
    parsing.add_command(
        nouns, "list", list_queues, help="list queues with their numbers of tasks and longest waits",
        examples=["queues list", "queues list --json"],
    )  # fmt: skip
    for name, run, text in (
        ("pause", pause, "stop dispatching; running tasks continue"),
        ("resume", resume, "dispatch tasks again, at once"),
    ):
        one = parsing.add_command(
            nouns, name, run, help=text, examples=[f"queues {name} default", f"queues {name} a b"]
        )
        one.add_argument("names", nargs="+", metavar="QUEUE")
        parsing.add_reason(one)


def list_queues(_: Namespace, out: Output) -> None:
    """List queues."""
    out.rows([queue_as_dict(stats) for stats in all_queue_stats()], COLUMNS)


def pause(options: Namespace, out: Output) -> None:
    """Pause queues."""
    _apply(queues.pause, options, out)


def resume(options: Namespace, out: Output) -> None:
    """Resume queues."""
    _apply(queues.resume, options, out)


def _apply(verb: Callable[..., Queue], options: Namespace, out: Output) -> None:
    """Call the verb for each queue, or for none if one is unknown, and print the queues."""
    names: Sequence[str] = options.names
    unknown = set(names) - {stats.name for stats in all_queue_stats()}
    if unknown:
        raise NotFound(f"there is no queue {', '.join(repr(name) for name in sorted(unknown))}")
    by = operator.author(options)
    for name in names:
        verb(name, by=by)
    out.rows([queue_as_dict(stats) for stats in all_queue_stats() if stats.name in names], COLUMNS)
