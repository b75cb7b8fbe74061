"""What a unique key, a batch, a checkpoint and a durable step cost, beside tasks without them. Callboard only."""

from benchmarks.measures import Figures, wait_for_first
from benchmarks.stack import CALLBOARD, Client, Contestant, Stack, running, wait_for

TASKS, WRITES = 5_000, 1_000
KINDS = {"plain": "fill", "with a unique key": "fill-unique", "in a batch": "fill-batch"}


def kinds(stack: Stack, contestant: Contestant) -> Figures:
    """Submit tasks of each kind, a thousand in a call, and then drain them."""
    if contestant is not CALLBOARD:
        return {}
    figures = {}
    for kind, verb in KINDS.items():
        stack.empty()
        path = stack.fresh_records()
        said = Client(stack, contestant, verb, TASKS).go()
        with running(stack, contestant):
            found = wait_for(TASKS + 1, path)
        figures[f"submit {kind}, tasks/s"] = TASKS / (said["ended"] - said["began"])
        figures[f"drain {kind}, tasks/s"] = TASKS / (
            max(one.ended for one in found) - min(one.started for one in found)
        )
    return figures


def writes(stack: Stack, contestant: Contestant) -> Figures:
    """Run a task that writes a thousand checkpoints, and one that runs a thousand steps."""
    if contestant is not CALLBOARD:
        return {}
    path = stack.fresh_records()
    with running(stack, contestant):
        client = Client(stack, contestant, "long-tasks", WRITES)
        wait_for_first(path)
        client.go()
        checkpoints, steps = sorted(wait_for(3, path), key=lambda one: one.number)
    return {
        f"{name}, ms": (one.ended - one.started) / WRITES * 1000
        for name, one in (("checkpoint", checkpoints), ("step", steps))
    }
