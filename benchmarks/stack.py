"""Servers and processes of a benchmark, and their CPU and memory.

The servers are a private PostgreSQL with fsync on, a private Redis and, if it is asked for, a private RabbitMQ.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from benchmarks import records
from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.servers import PostgresServer, RedisServer
from tests.rabbitmq import RabbitServer

PROCESSES, THREADS = 2, 8
LONGEST_WAIT_SECONDS = 180
MANAGE = [sys.executable, "manage.py"]


@dataclass(frozen=True)
class Contestant:
    """One of the compared systems: its client module, its processes by kind, and the broker between them."""

    name: str
    module: str
    processes: dict[str, Sequence[str]]
    broker: str = "redis"

    @property
    def has_rows(self) -> bool:
        """Whether its tasks are rows of PostgreSQL."""
        return self.module == CALLBOARD.module


CALLBOARD = Contestant(
    "Callboard",
    "benchmarks.callboard",
    {
        "scheduler": [*MANAGE, "runscheduler"],
        "workers": [*MANAGE, "runworkers", "-p", str(PROCESSES), "-t", str(THREADS)],
    },
)
PLAIN = Contestant(
    "plain Dramatiq",
    "benchmarks.plain",
    {"workers": [sys.executable, "-m", "dramatiq", "benchmarks.plain", "-p", str(PROCESSES), "-t", str(THREADS)]},
)
#: It takes part where the broker makes a difference.
ON_RABBITMQ = replace(CALLBOARD, name="Callboard on RabbitMQ", broker="rabbitmq")
CONTESTANTS = (CALLBOARD, PLAIN)


class Stack:
    """PostgreSQL, Redis and perhaps RabbitMQ for one run of all benchmarks."""

    def __init__(self, *, with_rabbitmq: bool = False) -> None:
        self._folder = temporary_folder()
        self.postgres, self.redis = PostgresServer(self._folder), RedisServer(self._folder)
        self.rabbitmq = RabbitServer(self._folder) if with_rabbitmq else None
        self._runs = 0

    def __enter__(self) -> "Stack":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        url, broker = self.postgres.start(), self.redis.start()
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DIRECT_DATABASE_URL": url,
            "BROKER_URL": broker,
            "REDIS_URL": broker,
            "SECRET_KEY": "benchmark-key-of-32-characters-or-more",
            "SUBMIT_RATE_LIMIT": "1000000000/m",
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        }
        self._brokers = {"redis": broker}
        if self.rabbitmq is not None:
            self._brokers["rabbitmq"] = self.rabbitmq.start()
        self.run([*MANAGE, "migrate", "-v0"])

    def __exit__(self, *_: object) -> None:
        if self.rabbitmq is not None:
            self.rabbitmq.stop(immediate=True)
        self.redis.stop(immediate=True)
        self.postgres.stop(immediate=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, command: Sequence[str]) -> str:
        """Run a command with the stack's environment; return its output."""
        return subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def checkpoint(self) -> None:
        """Let PostgreSQL write all changed pages to disk, as the superuser: the application's role may not."""
        self.query("CHECKPOINT", url=self.postgres.superuser_url)

    def query(self, statement: str, *, url: str = "") -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        with contextlib.closing(psycopg2.connect(url or self.postgres.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []

    def settle(self) -> None:
        """Leave tables as time leaves them: vacuumed, with their statistics, and flushed to disk."""
        self.query("VACUUM ANALYZE")
        self.checkpoint()

    def fresh_records(self) -> Path:
        """Choose a file for the records of one run; processes that start from now on write to it."""
        self._runs += 1
        path = self._folder / f"records-{self._runs}"
        self.environment["BENCH_RECORDS"] = str(path)
        return path

    def prepare(self, contestant: Contestant) -> None:
        """Delete all tasks; processes that start from now on use the contestant's broker. Nothing may run meanwhile."""
        self.environment["BROKER_URL"] = self._brokers[contestant.broker]
        self.empty()

    def empty(self) -> None:
        """Delete all tasks; nothing may run meanwhile."""
        self.query("TRUNCATE callboard_task, callboard_attempt, callboard_journal, callboard_worker, callboard_lease")
        self.query("VACUUM ANALYZE")


class Running:
    """A contestant's processes."""

    def __init__(self, stack: Stack, contestant: Contestant) -> None:
        self._stack, self._broker = stack, contestant.broker
        self._processes = {
            kind: subprocess.Popen(command, env=stack.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for kind, command in contestant.processes.items()
        }

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each kind of process and of the servers, with their ended children."""
        servers = {"postgres": self._stack.postgres.pid, "redis": self._stack.redis.pid}
        if self._broker == "rabbitmq" and self._stack.rabbitmq is not None:
            servers["rabbitmq"] = self._stack.rabbitmq.pid
        pids = servers | {kind: process.pid for kind, process in self._processes.items()}
        return {kind: _cpu_of_tree(pid) for kind, pid in pids.items()}

    def memory(self) -> int:
        """Return the memory of the largest worker process in bytes."""
        workers = psutil.Process(self._processes["workers"].pid).children(recursive=True)
        return max(one.memory_info().rss for one in workers)

    def stop(self) -> None:
        """Stop the processes in order."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait()


@contextlib.contextmanager
def running(stack: Stack, contestant: Contestant) -> Iterator[Running]:
    """Start a contestant's processes, and stop them."""
    processes = Running(stack, contestant)
    try:
        yield processes
    finally:
        processes.stop()


class Client:
    """A booted client that waits for its start."""

    def __init__(self, stack: Stack, contestant: Contestant, verb: str, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.client", contestant.module, verb, str(count)],
            env=stack.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._before = _cpu_of_tree(self._process.pid)
        self.cpu = 0.0

    def go(self) -> dict[str, Any]:
        """Let the client submit its tasks; return what it prints."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        with contextlib.suppress(psutil.NoSuchProcess):
            self.cpu = _cpu_of_tree(self._process.pid) - self._before
        self._process.communicate()
        return answer


def wait_for(count: int, path: Path) -> list[records.Record]:
    """Wait until a number of tasks have run; return their records, without that of a client's first task."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while records.count(path) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {records.count(path)} of {count} tasks ran within {LONGEST_WAIT_SECONDS} s")
        time.sleep(0.02)
    return [record for record in records.read(path) if record.number]


def _cpu_of_tree(pid: int) -> float:
    total = 0.0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
