"""``python -m benchmarks.simulation``: the dispatcher with many queues and workers that exist as rows only.

The dispatcher's own loop runs on a private PostgreSQL and Redis. Made-up workers send heartbeats and take every hint at
once, so no figure contains a worker's speed. Each shape is measured with nothing due, with single tasks that come in
for queues at random, and with a backlog in all queues.
"""

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import django
import psutil
import rich.box
from rich.console import Console
from rich.table import Table

from benchmarks import seeding
from benchmarks.stack import Stack

if TYPE_CHECKING:
    from benchmarks.simulated import Round, Simulated

SHAPES = ("10x10", "100x100", "1000x100", "1000x1000", "10000x1000")
#: The backlog: of each queue, and in all at least.
TASKS_OF_A_QUEUE, FEWEST_TASKS = 20, 20_000
SINGLE_TASKS_PER_SECOND = 20
THREADS = 8
QUIET, SINGLE, BACKLOG = "nothing due", "single tasks", "backlog"


@dataclass
class Figures:
    """How one shape did in one situation; times in milliseconds.

    Parameters:
        statements: of the median round.
        dispatcher: CPU of the dispatcher's thread for a round, on average.
        session: CPU of its session in PostgreSQL for a round, on average.
        others: CPU of all other sessions for each second; the workers' heartbeats are most of it.
        result: what the situation is about.
    """

    queues: int
    workers: int
    situation: str
    rounds: int
    median: float
    longest: float
    statements: float
    dispatcher: float
    session: float
    others: float
    result: str


def main(arguments: Sequence[str]) -> None:
    """Simulate every shape and print the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="QUEUESxWORKERS", type=_shape)
    parser.add_argument("--serving", type=int, default=10, help="number of queues that each worker serves; 0 for all")
    parser.add_argument("--seconds", type=float, default=10, help="how long each situation lasts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    found: list[Figures] = []
    with Stack() as stack:
        os.environ.update(stack.environment, LOG_LEVEL="WARNING")
        django.setup()
        for queues, workers in map(_shape, options.shapes):
            found += simulate(stack, queues, workers, serving=options.serving or queues, seconds=options.seconds)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        _print(found)


def simulate(stack: Stack, queues: int, workers: int, *, serving: int, seconds: float) -> Iterator[Figures]:
    """Measure one shape in all situations."""
    from benchmarks.simulated import Simulated, register

    stack.empty()
    stack.query("DELETE FROM callboard_queue")
    names, ids = register(queues, workers, serving=serving, threads=THREADS)
    with Simulated() as dispatcher, _heartbeats(ids):
        for situation, during in ((QUIET, _nothing), (SINGLE, _submit_singly), (BACKLOG, _await_backlog)):
            if during is _await_backlog:
                dispatcher.hold()
                seeding.waiting(stack, _backlog(names), queues=names)
            dispatcher.finish()
            before, began = _cpu(stack, dispatcher), time.monotonic()
            result = during(dispatcher, names, seconds)
            rounds, took, after = dispatcher.finish(), time.monotonic() - began, _cpu(stack, dispatcher)
            spent = {who: (after[who] - before[who]) / len(rounds) * 1000 for who in after}
            spent["others"] *= len(rounds) / took
            said = Figures(queues, workers, situation, len(rounds), **_of(rounds), **spent, result=result)
            print(said, file=sys.stderr)
            yield said


def _nothing(dispatcher: "Simulated", names: Sequence[str], seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _submit_singly(dispatcher: "Simulated", names: Sequence[str], seconds: float) -> str:
    """Submit tasks one by one; the result is how long after the wake-up their hints are published."""
    late = []
    for _ in range(int(seconds * SINGLE_TASKS_PER_SECOND)):
        began = time.monotonic()
        late.append(dispatcher.submit(random.choice(names)) * 1000)
        time.sleep(max(0.0, 1 / SINGLE_TASKS_PER_SECOND - (time.monotonic() - began)))
    return f"published after {statistics.median(late):,.1f}, p95 {sorted(late)[int(len(late) * 0.95)]:,.1f} ms"


def _await_backlog(dispatcher: "Simulated", names: Sequence[str], seconds: float) -> str:
    """Dispatch a backlog; the result is how fast, and what a hint takes in Redis."""
    count, before = _backlog(names), dispatcher.redis_bytes
    seconds = dispatcher.dispatch(count)
    return f"{count / seconds:,.0f} tasks/s, {(dispatcher.redis_bytes - before) / count:,.0f} bytes of Redis for a hint"


def _backlog(names: Sequence[str]) -> int:
    return max(FEWEST_TASKS, len(names) * TASKS_OF_A_QUEUE)


@contextmanager
def _heartbeats(ids: Sequence[Any]) -> Iterator[None]:
    """Let workers send their heartbeats, evenly, from a thread."""
    from tasks.conf import conf
    from tasks.lifecycle import workers

    stopped, pause = threading.Event(), conf.HEARTBEAT_INTERVAL_SECONDS / len(ids)

    def beat() -> None:
        due = time.monotonic()
        for worker in cycle(ids):
            workers.beat(worker)
            due += pause
            if stopped.wait(max(0.0, due - time.monotonic())):
                break
        django.db.connections.close_all()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _cpu(stack: Stack, dispatcher: "Simulated") -> dict[str, float]:
    """Return the CPU seconds of the dispatcher, of its session, and of all other sessions."""
    spent = {}
    for process in psutil.Process(stack.postgres.pid).children():
        with suppress(psutil.NoSuchProcess):
            spent[process.pid] = sum(process.cpu_times()[:2])
    own = spent.pop(dispatcher.session, 0.0)
    return {"dispatcher": dispatcher.cpu_seconds, "session": own, "others": sum(spent.values())}


def _of(rounds: Sequence["Round"]) -> dict[str, float]:
    return {
        "median": statistics.median(one.seconds for one in rounds) * 1000,
        "longest": max(one.seconds for one in rounds) * 1000,
        "statements": statistics.median(one.statements for one in rounds),
    }


def _shape(text: str | tuple[int, int]) -> tuple[int, int]:
    if isinstance(text, tuple):
        return text
    queues, _, workers = text.partition("x")
    if not (queues.isdigit() and workers.isdigit() and int(queues) and int(workers)):
        raise argparse.ArgumentTypeError(f"expected QUEUESxWORKERS, like 100x10, got {text!r}")
    return int(queues), int(workers)


def _print(found: Sequence[Figures]) -> None:
    cells: dict[str, Callable[[Figures], str]] = {
        "queues × workers": lambda one: f"{one.queues:,} × {one.workers:,}",
        "situation": lambda one: one.situation,
        "rounds": lambda one: f"{one.rounds:,}",
        "round, ms (longest)": lambda one: f"{one.median:,.1f} ({one.longest:,.0f})",
        "statements": lambda one: f"{one.statements:,.0f}",
        "CPU of a round: dispatcher, ms": lambda one: f"{one.dispatcher:,.1f}",
        "PostgreSQL, ms": lambda one: f"{one.session:,.1f}",
        "other sessions, ms/s": lambda one: f"{one.others:,.1f}",
        "result": lambda one: one.result,
    }
    table = Table(*cells, box=rich.box.SIMPLE)
    for one in found:
        table.add_row(*(cell(one) for cell in cells.values()))
    console = Console(width=max(160, Console().width))
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
