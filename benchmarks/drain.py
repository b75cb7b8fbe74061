"""``python -m benchmarks.drain``: how fast a full queue of no-op tasks is worked off, beside plain Dramatiq.

Private servers with PostgreSQL's fsync on, 2 worker processes of 8 threads, contestants in turn. The rate is tasks by
the time from the first task's start to the last one's end, by the tasks' own clocks; starting processes is not in it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import records
from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.servers import PostgresServer, RedisServer

PROCESSES, THREADS = "2", "8"
LONGEST_RUN_SECONDS = 120


@dataclass(frozen=True)
class Contestant:
    """What fills the queue, and what works it off."""

    name: str
    module: str
    workers: Sequence[Sequence[str]]


_MANAGE = [sys.executable, "manage.py"]
CONTESTANTS = [
    Contestant(
        "Callboard",
        "benchmarks.callboard",
        [[*_MANAGE, "runscheduler"], [*_MANAGE, "runworkers", "-p", PROCESSES, "-t", THREADS]],
    ),
    Contestant(
        "plain Dramatiq",
        "benchmarks.plain",
        [[sys.executable, "-m", "dramatiq", "benchmarks.plain", "-p", PROCESSES, "-t", THREADS]],
    ),
]


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark and print a table, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    folder = temporary_folder()
    postgres, redis = PostgresServer(folder), RedisServer(folder)
    try:
        environment = _environment(postgres.start(), redis.start())
        subprocess.run([*_MANAGE, "migrate", "-v0"], env=environment, check=True)
        rates = _rates(options.tasks, options.repeats, environment, folder)
    finally:
        redis.stop(immediate=True)
        postgres.stop(immediate=True)
        shutil.rmtree(folder, ignore_errors=True)
    _report(rates, as_json=options.json)


def _environment(database_url: str, broker_url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "DIRECT_DATABASE_URL": database_url,
        "BROKER_URL": broker_url,
        "SECRET_KEY": "benchmark",
        "LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
    }


def _rates(count: int, repeats: int, environment: dict[str, str], folder: Path) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in CONTESTANTS}
    for repeat in range(repeats):
        # Forwards and backwards, so that neither always runs on a warmer machine.
        for contestant in CONTESTANTS if repeat % 2 == 0 else CONTESTANTS[::-1]:
            path = folder / f"{contestant.module}.{repeat}"
            rate = _drain(contestant, count, {**environment, "BENCH_RECORDS": str(path)}, path)
            rates[contestant.name].append(rate)
            print(f"{contestant.name}: {rate:,.0f} tasks/s", file=sys.stderr)
    return rates


def _drain(contestant: Contestant, count: int, environment: dict[str, str], path: Path) -> float:
    fill = f"from {contestant.module} import enqueue; enqueue({count})"
    subprocess.run([sys.executable, "-c", fill], env=environment, check=True)
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in contestant.workers
    ]
    try:
        found = _wait_for(count, path)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    return count / (max(ended for _, ended in found) - min(started for started, _ in found))


def _wait_for(count: int, path: Path) -> list[tuple[float, float]]:
    deadline = time.monotonic() + LONGEST_RUN_SECONDS
    while time.monotonic() < deadline:
        found = list(records.read(path))
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise SystemExit(f"only {len(found)} of {count} tasks ran within {LONGEST_RUN_SECONDS} s")


def _report(rates: dict[str, list[float]], *, as_json: bool) -> None:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["Callboard"] / medians["plain Dramatiq"]
    if as_json:
        print(json.dumps({"rates": rates, "medians": medians, "ratio": ratio}))
        return
    for name, values in rates.items():
        print(f"{name:15} {medians[name]:8,.0f} tasks/s   ({min(values):,.0f} to {max(values):,.0f})")
    print(f"Callboard, with every task and attempt on disk, runs at {ratio:.2f} × plain Dramatiq, which keeps nothing.")


if __name__ == "__main__":
    main(sys.argv[1:])
