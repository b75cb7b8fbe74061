"""F2 for dependencies: the leader dies between its statements, workers die, hints and servers are lost."""

from itertools import pairwise
from typing import Any

import pytest

from tests.acceptance.harness.processes import resume
from tests.acceptance.harness.rig import Rig
from tests.acceptance.test_failpoints import WHILE_SETTLING
from tests.tiers import slow_except
from tests.waiting import wait_until

FAULT = "F2"

#: Each of these depends on the one before, half of them by ref and half by id.
LAYERS, WIDTH = 3, 4


def submit(rig: Rig, *, dying: bool = False) -> list[str]:
    """Submit layers of tasks that depend on all tasks of the layer before, and one child of a task that dies."""
    tasks: list[dict[str, Any]] = []
    for layer in range(LAYERS):
        parents = [(f"{layer - 1}.{place}", "cancel") for place in range(WIDTH)] if layer else []
        tasks += [{"actor": "effect", "ref": f"{layer}.{place}", "depends_on": parents} for place in range(WIDTH)]
    first = rig.client.submit_all(tasks)
    last = rig.client.submit_all(
        [{"actor": "effect", "depends_on": [(one, "cancel") for one in first[-WIDTH:]]} for _ in range(WIDTH)]
    )
    if dying:
        (dead,) = rig.client.submit_all([{"actor": "fail", "payload": {"times": 9}, "max_retries": 0}])
        rig.client.submit_all([{"actor": "effect", "depends_on": [(dead, "cancel")]}])
        last += rig.client.submit_all([{"actor": "effect", "depends_on": [(dead, "run")]}])
    return [*first, *last]


def assert_ran_in_order(rig: Rig, tasks: list[str]) -> None:
    """Check that each of these ran once, and no layer before the one above."""
    assert sorted(rig.effects().values()) == [1] * len(tasks)
    at = {entry.task: entry.monotonic for entry in rig.ledger.entries() if entry.event == "EFFECT"}
    layers = [[at[id] for id in tasks[start : start + WIDTH]] for start in range(0, (LAYERS + 1) * WIDTH, WIDTH)]
    for above, below in pairwise(layers):
        assert max(above) < min(below)


@pytest.mark.parametrize("name", slow_except("after_release", of=WHILE_SETTLING))
@pytest.mark.parametrize("action", slow_except("kill", of=("kill", "error")))
def test_the_leader_fails_between_two_statements_and_every_child_still_learns_of_its_parents(
    rig: Rig, name: str, action: str
) -> None:
    scheduler = rig.start_scheduler(env=rig.arm(f"{name}:{action}"))
    rig.start_workers(threads=4)
    tasks = submit(rig, dying=True)
    wait_until(lambda: rig.was_hit, timeout=15, what=f"{name} to be reached")
    if action == "kill":
        assert scheduler.wait(15) == -9
        rig.start_scheduler()
    rig.verify(within=15)
    assert_ran_in_order(rig, tasks)


@pytest.mark.slow
def test_a_leader_that_stands_still_between_two_statements_is_overtaken_and_changes_nothing_late(rig: Rig) -> None:
    first = rig.start_scheduler(env=rig.arm("after_link:stop"))
    rig.start_workers(threads=4)
    tasks = submit(rig)
    wait_until(lambda: rig.was_hit, timeout=15, what="after_link to be reached")
    rig.start_scheduler()
    rig.settle(15)
    resume(first.pid)
    rig.verify(within=5)
    assert_ran_in_order(rig, tasks)


@pytest.mark.slow
def test_lost_hints_and_a_killed_worker_lose_no_child(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=2, env=rig.arm("before_completion:kill"))
    tasks = submit(rig)
    wait_until(lambda: rig.was_hit, timeout=15, what="before_completion to be reached")
    rig.hints.flush()
    rig.verify(within=20)
    assert set(rig.effects()) == set(tasks)
