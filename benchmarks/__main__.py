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
from benchmarks.stack import CALLBOARD, CONTESTANTS, PLAIN, Stack

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
    parser.add_argument("--json", action="store_true", help="print every run instead of a table")
    options = parser.parse_args(arguments)
    measures.TASKS = options.tasks
    with Stack() as stack:
        version = stack.query("SHOW server_version")[0][0]
        results = _measure(
            stack,
            options.only or list(MEASURES if options.all else USUAL),
            options.repeats,
        )
    about = {"python": platform.python_version(), "postgresql": version, "machine": platform.machine()}
    if options.json:
        print(json.dumps({**about, "results": results}, indent=2))
    else:
        _print(results, about)


def _measure(stack: Stack, names: Sequence[str], repeats: int) -> Results:
    results: Results = {}
    for name in names:
        for repeat in range(repeats):
            # Forwards and backwards, so that neither contestant always runs on the warmer machine.
            for contestant in CONTESTANTS if repeat % 2 == 0 else CONTESTANTS[::-1]:
                stack.empty()
                figures = MEASURES[name](stack, contestant)
                for figure, value in figures.items():
                    results.setdefault(figure, {}).setdefault(contestant.name, []).append(value)
                said = ", ".join(f"{figure} {value:,.1f}" for figure, value in figures.items())
                print(f"{contestant.name}: {said}" if said else "", file=sys.stderr, end="\n" if said else "")
    return results


def _print(results: Results, about: Mapping[str, str]) -> None:
    table = Table("figure", *(contestant.name for contestant in CONTESTANTS), "ratio", box=rich.box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for figure, runs in results.items():
        cells = [_cell(runs.get(contestant.name)) for contestant in CONTESTANTS]
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
