"""The measurements, a function each: it runs a contestant on a stack once and returns figures by name."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import http
from benchmarks.stack import CALLBOARD, Client, Contestant, Stack, running, wait_for

Figures = Mapping[str, float]

TASKS = 10_000
BULK_CALLS = 10
PACED, LATER = 500, 500
QUIET_SECONDS = 20


def drain(stack: Stack, contestant: Contestant) -> Figures:
    """Drain a full queue: tasks per second from the first one's start to the last one's end."""
    path = stack.fresh_records()
    Client(stack, contestant, "fill", TASKS).go()
    with running(stack, contestant) as processes:
        found = wait_for(TASKS + 1, path)
        megabytes = processes.memory() / 1e6
        _await_rows(stack, contestant)
    rate = TASKS / (max(one.ended for one in found) - min(one.started for one in found))
    return {"drain, tasks/s": rate, "largest worker afterwards, MB": megabytes}


def end_to_end(stack: Stack, contestant: Contestant) -> Figures:
    """Submit one by one while workers run; the CPU time of all processes counts, until the last row is final."""
    return live_through(stack, contestant, "single", "end to end")


def in_hundreds(stack: Stack, contestant: Contestant) -> Figures:
    """Submit a hundred in a call, again and again, while workers run; plain Dramatiq sends one by one."""
    return live_through(stack, contestant, "hundreds", "end to end in hundreds")


def live_through(stack: Stack, contestant: Contestant, verb: str, name: str) -> Figures:
    """Let a client submit tasks while workers run; return the rate, and the CPU time of all processes."""
    path = stack.fresh_records()
    with running(stack, contestant) as processes:
        client = Client(stack, contestant, verb, TASKS)
        wait_for_first(path)
        before = processes.cpu()
        said = client.go()
        found = wait_for(TASKS + 1, path)
        _await_rows(stack, contestant)
        after = processes.cpu()
    spent = {kind: after[kind] - before[kind] for kind in after} | {"client": client.cpu}
    return {
        f"{name}, tasks/s": TASKS / (max(one.ended for one in found) - said["began"]),
        f"{name}: CPU in all, s per 10,000 tasks": sum(spent.values()) / TASKS * 10_000,
        **{f"{name}: CPU of {kind}, s per 10,000 tasks": seconds / TASKS * 10_000 for kind, seconds in spent.items()},
    }


def latency(stack: Stack, contestant: Contestant) -> Figures:
    """Submit fifty a second to idle workers: from just before the call to the actor's first line."""
    return _lateness(stack, contestant, "paced", PACED, "latency at 50/s")


def lateness(stack: Stack, contestant: Contestant) -> Figures:
    """Submit tasks that are due over five seconds: how late they start."""
    return _lateness(stack, contestant, "later", LATER, "lateness of run_at")


def submission(stack: Stack, contestant: Contestant) -> Figures:
    """Submit a thousand in one call, ten times, from one process."""
    if contestant is not CALLBOARD:
        return {}
    count = BULK_CALLS * 1_000
    stack.fresh_records()
    said = Client(stack, contestant, "fill", count).go()
    return {"submit 1,000 in one call, tasks/s": count / (said["ended"] - said["began"])}


def over_http(stack: Stack, contestant: Contestant) -> Figures:
    """Submit over HTTP from sixteen connections to two processes, and compare that to a bare view with one INSERT."""
    if contestant is not CALLBOARD:
        return {}
    return http.compare(stack)


def quiet(stack: Stack, contestant: Contestant) -> Figures:
    """Let everything idle, and measure how much of one core that takes."""
    path = stack.fresh_records()
    with running(stack, contestant) as processes:
        Client(stack, contestant, "single", 1).go()
        wait_for(2, path)
        time.sleep(2)
        before, began = processes.cpu(), time.monotonic()
        time.sleep(QUIET_SECONDS)
        spent = sum(processes.cpu().values()) - sum(before.values())
    return {"idle, % of one core": spent / (time.monotonic() - began) * 100}


#: The measurements that are taken on RabbitMQ too.
OF_BROKERS = frozenset({"drain", "end-to-end", "in-hundreds", "latency", "lateness", "quiet"})
MEASURES: Mapping[str, Callable[[Stack, Contestant], Figures]] = {
    "drain": drain,
    "end-to-end": end_to_end,
    "in-hundreds": in_hundreds,
    "latency": latency,
    "lateness": lateness,
    "submission": submission,
    "http": over_http,
    "quiet": quiet,
}


def wait_for_first(path: Any) -> None:
    """Wait until workers have run the first task, so that no figure contains their start."""
    wait_for(1, path)
    time.sleep(1)


def _lateness(stack: Stack, contestant: Contestant, verb: str, count: int, name: str) -> Figures:
    path = stack.fresh_records()
    with running(stack, contestant):
        client = Client(stack, contestant, verb, count)
        wait_for_first(path)
        moments = client.go()["moments"]
        found = wait_for(count + 1, path)
    late = sorted((one.started - moments[one.number - 1]) * 1000 for one in found)
    return {f"{name}, p50 ms": statistics.median(late), f"{name}, p99 ms": late[int(len(late) * 0.99)]}


def _await_rows(stack: Stack, contestant: Contestant) -> None:
    """Wait until Callboard has stored the last outcome."""
    if contestant.has_rows:
        while stack.query("SELECT FROM callboard_task WHERE status <> 'SUCCEEDED' LIMIT 1"):
            time.sleep(0.02)
