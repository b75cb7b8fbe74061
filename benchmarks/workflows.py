"""Measurements of dependencies: from a parent's end to its child's start, and large workflows. Callboard only."""

import statistics

from benchmarks.measures import Figures, wait_for_first
from benchmarks.stack import CALLBOARD, Client, Contestant, Stack, running, wait_for

PAIRS = 200
WIDE, LONG = 10_000, 1_000


def handover(stack: Stack, contestant: Contestant) -> Figures:
    """Submit a parent with a child ten times a second to idle workers: from the parent's end to the child's start."""
    if contestant is not CALLBOARD:
        return {}
    path = stack.fresh_records()
    with running(stack, contestant):
        client = Client(stack, contestant, "pairs", PAIRS)
        wait_for_first(path)
        client.go()
        found = {one.number: one for one in wait_for(2 * PAIRS + 1, path)}
    late = sorted((found[2 * n].started - found[2 * n - 1].ended) * 1000 for n in range(1, PAIRS + 1))
    return {
        "parent's end to child's start, p50 ms": statistics.median(late),
        "parent's end to child's start, p99 ms": late[int(len(late) * 0.99)],
    }


def shapes(stack: Stack, contestant: Contestant) -> Figures:
    """Run a parent with 10,000 children, a child with 10,000 parents, and a chain of 1,000."""
    if contestant is not CALLBOARD:
        return {}
    figures = {}
    for verb, count in (("fan-out", WIDE), ("fan-in", WIDE), ("chain", LONG)):
        stack.empty()
        path = stack.fresh_records()
        with running(stack, contestant):
            client = Client(stack, contestant, verb, count)
            wait_for_first(path)
            said = client.go()
            found = wait_for(count + (1 if verb == "chain" else 2), path)
        figures[f"{verb} of {count:,}, tasks/s"] = count / (max(one.ended for one in found) - said["ended"])
    return figures
