"""F2 for batches: the leader dies while it counts, and ends a batch; each callback is a task exactly once."""

from typing import Any

import pytest

from tests.acceptance.harness.rig import Rig
from tests.acceptance.test_failpoints import WHILE_COUNTING
from tests.waiting import wait_until

FAULT = "F2"

TASKS = 8


def submit(rig: Rig) -> None:
    """Submit a batch in which one task dies; it calls back twice, and once if it were to succeed."""
    effect: dict[str, Any] = {"actor": "effect"}
    tasks = [*[effect] * TASKS, {"actor": "fail", "payload": {"times": 9}, "max_retries": 0}]
    rig.client.submit_batch(tasks, {"on_death": effect, "on_complete": effect, "on_success": effect})


def assert_ended(rig: Rig) -> None:
    """Check that the batch has ended, and that its tasks and callbacks ran once."""
    rig.verify(within=15)
    assert sorted(rig.effects().values()) == [1] * (TASKS + 2)


def wait_for_the_end(rig: Rig) -> None:
    query = "SELECT id FROM callboard_batch WHERE status = 'FAILED' AND dead = 1 AND called ?& '{on_death,on_complete}'"
    wait_until(lambda: rig.database.query(query), timeout=15, what="the batch to end")


def test_a_batch_calls_back_once(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=4)
    submit(rig)
    wait_for_the_end(rig)
    assert_ended(rig)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHILE_COUNTING)
@pytest.mark.parametrize("action", ["kill", "error"])
def test_the_leader_fails_while_it_counts_and_each_callback_is_still_submitted_once(
    rig: Rig, name: str, action: str
) -> None:
    scheduler = rig.start_scheduler(env=rig.arm(f"{name}:{action}"))
    rig.start_workers(threads=4)
    submit(rig)
    wait_until(lambda: rig.was_hit, timeout=15, what=f"{name} to be reached")
    if action == "kill":
        assert scheduler.wait(15) == -9
        rig.start_scheduler()
    wait_for_the_end(rig)
    assert_ended(rig)
