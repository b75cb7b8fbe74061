"""The measurements with a large backlog or history: dispatch, drain, memory, waiting times. Callboard only."""

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO

import psycopg2
import redis

from benchmarks import seeding
from benchmarks.measures import Figures, drain, wait_for_first
from benchmarks.stack import CALLBOARD, Client, Contestant, Stack, running, wait_for

FEW, MANY, HISTORY = 1_000, 1_000_000, 10_000_000
#: How many tasks change status while a forgotten transaction is open: ten minutes at 500 tasks/s.
DYING = 300_000
REFILLS = 10
WIDE = 100
MEMORY_TASKS = 100_000
URGENT, BEHIND = 400, 100_000
SHORT = 4_000
SCHEDULES, FIRING_SECONDS = 1_000, 15


def backlog(stack: Stack, contestant: Contestant) -> Figures:
    """Dispatch with little waiting, with a million waiting or in the future, and under a forgotten transaction."""
    if contestant is not CALLBOARD:
        return {}
    figures = {"dispatch with 1,000 waiting, µs/task": _dispatch_few(stack)}
    stack.empty()
    seeding.waiting(stack, MANY)
    with _dispatcher(stack) as ask:
        figures["dispatch with 1,000,000 waiting, µs/task"] = statistics.median(ask(FEW) for _ in range(REFILLS))
    stack.empty()
    seeding.waiting(stack, MANY, due_in="1 day", priority=10)
    figures["dispatch with 1,000,000 in the future, µs/task"] = _dispatch_few(stack)
    stack.empty()
    with _forgotten_transaction(stack):
        seeding.waiting(stack, DYING, due_in="-1 day")
        stack.query("UPDATE callboard_task SET status = 'QUEUED', queued_at = now(), dispatch = 1")
        figures["dispatch under a long transaction, µs/task"] = _dispatch_few(stack)
    return figures


def breadth(stack: Stack, contestant: Contestant) -> Figures:
    """Dispatch with one queue and worker process, with a hundred queues, and with a hundred workers."""
    if contestant is not CALLBOARD:
        return {}
    figures = {}
    for queues, workers in ((1, 1), (WIDE, 1), (1, WIDE)):
        stack.empty()
        stack.query("DELETE FROM callboard_queue")
        name = f"dispatch, queues: {queues}, worker processes: {workers}, µs/task"
        figures[name] = _dispatch_few(stack, queues=queues, workers=workers)
    stack.query("DELETE FROM callboard_queue")
    return figures


def redis_memory(stack: Stack, contestant: Contestant) -> Figures:
    """Drain beside a million waiting tasks, and measure what Redis holds."""
    if contestant is not CALLBOARD:
        return {}
    path = stack.fresh_records()
    before = _redis_bytes(stack)
    seeding.waiting(stack, MANY)
    with running(stack, contestant):
        found = wait_for(20_000, path)
        held = _redis_bytes(stack) - before
    rate = len(found) / (max(one.ended for one in found) - min(one.started for one in found))
    return {"Redis with 1,000,000 waiting, MB": held / 1e6, "drain with 1,000,000 waiting, tasks/s": rate}


def history(stack: Stack, contestant: Contestant) -> Figures:
    """Drain with ten million finished tasks in the tables, and with none."""
    if contestant is not CALLBOARD:
        return {}
    figures = {"drain with empty tables, tasks/s": drain(stack, contestant)["drain, tasks/s"]}
    seeding.finished(stack, HISTORY)
    name = f"drain over {HISTORY:,} finished tasks, tasks/s"
    return {**figures, name: drain(stack, contestant)["drain, tasks/s"]}


def memory(stack: Stack, contestant: Contestant) -> Figures:
    """Run a hundred thousand tasks, and measure the largest worker after a tenth of them and at the end."""
    path = stack.fresh_records()
    Client(stack, contestant, "fill", MEMORY_TASKS).go()
    with running(stack, contestant) as processes:
        wait_for(MEMORY_TASKS // 10, path)
        early = processes.memory() / 1e6
        wait_for(MEMORY_TASKS + 1, path)
        late = processes.memory() / 1e6
    return {"worker after 10,000 tasks, MB": early, "worker after 100,000 tasks, MB": late}


def priority(stack: Stack, contestant: Contestant) -> Figures:
    """Submit tasks of priority 10 while all threads work on 100,000 tasks of priority 1 that take 10 ms each."""
    if contestant is not CALLBOARD:
        return {}
    path = stack.fresh_records()
    seeding.waiting(stack, BEHIND, priority=1, actor="nap")
    with running(stack, contestant):
        client = Client(stack, contestant, "urgent", URGENT)
        wait_for_first(path)
        moments = client.go()["moments"]
        time.sleep(1)
        found = {one.number: one for one in wait_for(1, path)}
    late = sorted((found[BEHIND + n].started - moment) * 1000 for n, moment in enumerate(moments, 1))
    return {
        "priority 10 behind 100,000, p95 ms": late[int(len(late) * 0.95)],
        "priority 10 behind 100,000, p99 ms": late[int(len(late) * 0.99)],
    }


def neighbours(stack: Stack, contestant: Contestant) -> Figures:
    """Submit long tasks among many short ones, and measure how long a claimed task waits for a thread."""
    if contestant is not CALLBOARD:
        return {}
    path = stack.fresh_records()
    with running(stack, contestant):
        client = Client(stack, contestant, "mixed", SHORT)
        wait_for_first(path)
        client.go()
        found = wait_for(SHORT + 1, path)
    return {"claimed task waits for a thread at most, ms": max(one.ended - one.started for one in found) * 1000}


def schedules(stack: Stack, contestant: Contestant) -> Figures:
    """Fire a thousand schedules each second, and none, with the cron loop alone."""
    if contestant is not CALLBOARD:
        return {}
    figures = {}
    for count in (0, SCHEDULES):
        stack.empty()
        words = [sys.executable, "-m", "benchmarks.scheduling", str(count), str(FIRING_SECONDS)]
        said = subprocess.run(words, env=stack.environment, capture_output=True, text=True, check=True).stdout.split()
        figures[f"cron loop, {count:,} schedules due each second, % of a core"] = float(said[0])
        if count:
            figures[f"the last of {count:,} fires of a second is a task after, ms"] = float(said[1])
    stack.query("DELETE FROM callboard_schedule")
    return figures


MEASURES: Mapping[str, Callable[[Stack, Contestant], Figures]] = {
    "backlog": backlog,
    "breadth": breadth,
    "redis-memory": redis_memory,
    "history": history,
    "memory": memory,
    "priority": priority,
    "neighbours": neighbours,
    "schedules": schedules,
}


def _dispatch_few(stack: Stack, *, queues: int = 1, workers: int = 1) -> float:
    found = []
    with _dispatcher(stack, queues=queues, workers=workers) as ask:
        for _ in range(REFILLS):
            seeding.waiting(stack, FEW)
            found.append(ask(FEW))
    return statistics.mean(found)


class _Dispatching:
    """A booted dispatcher; called with a number of tasks, it returns the microseconds for each."""

    def __init__(self, inputs: IO[str], outputs: IO[str]) -> None:
        self._inputs, self._outputs = inputs, outputs

    def __call__(self, count: int) -> float:
        self._inputs.write(f"{count}\n")
        self._inputs.flush()
        return float(self._outputs.readline())


@contextlib.contextmanager
def _dispatcher(stack: Stack, *, queues: int = 1, workers: int = 1) -> Iterator[_Dispatching]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.dispatching", str(queues), str(workers)],
        env=stack.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield _Dispatching(process.stdin, process.stdout)
    finally:
        process.communicate()


@contextlib.contextmanager
def _forgotten_transaction(stack: Stack) -> Iterator[None]:
    with contextlib.closing(psycopg2.connect(stack.postgres.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT count(*) FROM callboard_task")
        yield


def _redis_bytes(stack: Stack) -> int:
    with contextlib.closing(redis.Redis.from_url(stack.redis.url)) as client:
        return int(client.info("memory")["used_memory"])
