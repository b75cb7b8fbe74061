"""``callboard stats``: statistics of the whole installation."""

from argparse import Namespace
from typing import Any

from rich.text import Text

from tasks.contract import fields
from tasks.contract.stats import DEFAULT_MINUTES, LONGEST_MINUTES, actors_as_list, stats_as_dict
from tasks.management.callboard import parsing, queues, workers
from tasks.management.callboard.output import Column, Output

_STATUSES = (Column("STATUS", "status"), Column("TASKS", "tasks", is_number=True))
_LATENCIES = (
    Column("SECONDS", "of"),
    Column("P50", "p50", is_number=True),
    Column("P95", "p95", is_number=True),
    Column("P99", "p99", is_number=True),
)
_ACTORS = (
    Column("ACTOR", "actor"),
    Column("IN/MIN", "in_per_minute", is_number=True),
    Column("ENDED/MIN", "ended_per_minute", is_number=True),
    Column("FAILING", "failing", is_number=True),
    Column("DIED", "dead", is_number=True),
    Column("RUN P50", "p50", is_number=True),
    Column("RUN P95", "p95", is_number=True),
)


def register(commands: parsing.Commands) -> None:
    """Add the command."""
    parser = parsing.add_command(
        commands, "stats", show, help="show tasks by status, throughput, latencies, queues and workers",
        examples=["stats", "stats --minutes 15 --json"],
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=int, default=DEFAULT_MINUTES, metavar="N", help="the period to measure (default: %(default)s)"
    )


def show(options: Namespace, out: Output) -> None:
    """Print the statistics."""
    minutes = parsing.read("--minutes", fields.whole_number(1, LONGEST_MINUTES), options.minutes)
    record = {**stats_as_dict(minutes=minutes), "actors": actors_as_list(minutes=minutes)}
    if out.is_json:
        out.json(record)
    else:
        _print(record, out)


def _print(record: dict[str, Any], out: Output) -> None:
    recent = record["recent"]
    at_least = "at least " if recent["is_capped"] else ""
    _heading("tasks", out)
    statuses = [
        {"status": status, "tasks": f"{count}{'+' if status in record['capped'] else ''}"}
        for status, count in record["tasks"].items()
    ]
    out.rows(statuses, _STATUSES)
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(recent["attempts"].items())) or "none"
    _heading(f"last {recent['minutes']} min: {at_least}{recent['attempts_per_second']:g} attempts/s ({outcomes})", out)
    out.rows(
        [{"of": "waiting when due", **recent["wait_seconds"]}, {"of": "running", **recent["run_seconds"]}], _LATENCIES
    )
    if record["actors"]:
        _heading(f"actors, last {recent['minutes']} min", out)
        out.rows([_actor(one, minutes=recent["minutes"]) for one in record["actors"]], _ACTORS)
    _heading("queues", out)
    out.rows(record["queues"], queues.COLUMNS)
    _heading("workers", out)
    out.rows(record["workers"], workers.COLUMNS)


def _actor(one: dict[str, Any], *, minutes: int) -> dict[str, Any]:
    ended = one["succeeded"] + one["retried"] + one["dead"]
    share = one["failure_share"]
    return {
        "actor": one["actor"],
        "in_per_minute": f"{one['submitted'] / minutes:.1f}",
        "ended_per_minute": f"{ended / minutes:.1f}",
        "failing": None if share is None else f"{share:.1%}",
        "dead": one["dead"],
        "p50": one["run_seconds"]["p50"],
        "p95": one["run_seconds"]["p95"],
    }


def _heading(text: str, out: Output) -> None:
    if out.is_plain:
        out.lines(["", text])
    else:
        out.console.print(Text(f"\n{text}", style="bold underline"))
