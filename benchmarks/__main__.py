"""``make bench``: runs Callboard and plain Dramatiq in turn on private servers; prints medians, spread and ratios."""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence

import rich.box
from rich.console import Console
from rich.table import Table

from benchmarks import costs, features, measures, scale, watching, workflows
from benchmarks.stack import CALLBOARD, CONTESTANTS, ON_RABBITMQ, PLAIN, Contestant, Stack
from tests.rabbitmq import HOW_TO_GET_RABBITMQ, RabbitServer

WORKFLOWS = {"handover": workflows.handover, "workflows": workflows.shapes}
FEATURES = {"features": features.kinds, "writes": features.writes}
WATCHING = {"watchers": watching.watchers}
COSTS = {"costs": costs.costs}
USUAL = {**measures.MEASURES, **WORKFLOWS, **FEATURES, **WATCHING, **COSTS}
MEASURES = {**USUAL, **scale.MEASURES}
#: By figure and contestant, one value for each run.
Results = dict[str, dict[str, list[float]]]


def main(arguments: Sequence[str]) -> None:
    """Run the chosen measurements and print the report."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    choices = f"some of: {', '.join(USUAL)}; with a large backlog: {', '.join(scale.MEASURES)}"
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="MEASURE", help=choices)
    parser.add_argument("--all", action="store_true", help="those with a large backlog too, which take half an hour")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each measurement")
    parser.add_argument("--tasks", type=int, default=measures.TASKS, help="number of tasks in drain and end-to-end")
    broker = "rabbitmq: Callboard on RabbitMQ too, beside Redis in the same run, where the broker makes a difference"
    parser.add_argument("--broker", choices=["redis", "rabbitmq"], default="redis", help=broker)
    parser.add_argument("--json", action="store_true", help="print every run instead of a table")
    options = parser.parse_args(arguments)
    measures.TASKS = options.tasks
    contestants = _contestants(options.broker)
    with Stack(with_rabbitmq=ON_RABBITMQ in contestants) as stack:
        version = stack.query("SHOW server_version")[0][0]
        names = options.only or list(MEASURES if options.all else USUAL)
        results = _measure(stack, names, options.repeats, contestants)
    about = {"python": platform.python_version(), "postgresql": version, "machine": platform.machine()}
    if options.json:
        print(json.dumps({**about, "results": results}, indent=2))
    else:
        _print(results, about, contestants)


def _contestants(broker: str) -> Sequence[Contestant]:
    """List who takes part; without a RabbitMQ on this machine, Callboard on it does not."""
    if broker != "rabbitmq":
        return CONTESTANTS
    if RabbitServer.program() is None:
        print(f"Callboard on RabbitMQ is left out: no RabbitMQ was found ({HOW_TO_GET_RABBITMQ})", file=sys.stderr)
        return CONTESTANTS
    return (CALLBOARD, ON_RABBITMQ, PLAIN)


def _measure(stack: Stack, names: Sequence[str], repeats: int, contestants: Sequence[Contestant]) -> Results:
    results: Results = {}
    for name in names:
        for repeat in range(repeats):
            # Forwards and backwards, so that neither contestant always runs on the warmer machine.
            for contestant in contestants if repeat % 2 == 0 else contestants[::-1]:
                if contestant is ON_RABBITMQ and name not in measures.OF_BROKERS:
                    continue
                stack.prepare(contestant)
                figures = MEASURES[name](stack, contestant)
                for figure, value in figures.items():
                    results.setdefault(figure, {}).setdefault(contestant.name, []).append(value)
                said = ", ".join(f"{figure} {value:,.1f}" for figure, value in figures.items())
                print(f"{contestant.name}: {said}" if said else "", file=sys.stderr, end="\n" if said else "")
    return results


def _print(results: Results, about: Mapping[str, str], contestants: Sequence[Contestant]) -> None:
    table = Table("figure", *(contestant.name for contestant in contestants), "ratio", box=rich.box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for figure, runs in results.items():
        cells = [_cell(runs.get(contestant.name)) for contestant in contestants]
        table.add_row(figure, *cells, _ratio(runs))
    console = Console(width=max(100, Console().width))
    console.print(table)
    console.print(
        f"Medians (lowest–highest) on Python {about['python']}, PostgreSQL {about['postgresql']} with fsync on."
    )


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    return f"{statistics.median(values):,.1f} ({min(values):,.0f}–{max(values):,.0f})"


def _ratio(runs: Mapping[str, Sequence[float]]) -> str:
    if CALLBOARD.name not in runs or PLAIN.name not in runs:
        return ""
    plain = statistics.median(runs[PLAIN.name])
    return f"{statistics.median(runs[CALLBOARD.name]) / plain:.2f} ×" if plain else ""


if __name__ == "__main__":
    main(sys.argv[1:])
