"""F27: after a crash the tasks that it hit run again, the guilty one is found, and all others go on."""

import pytest

from tests.acceptance.harness.processes import kill
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

FAULT = "F27"
THREADS = 8
HIT_SECONDS = 12.0
#: From submission to start, on a machine that runs other tests too.
MOST_DELAY_SECONDS = 1.0


def crash_everything(rig: Rig, *, seconds: float) -> list[str]:
    """Kill both worker processes under tasks for half of their threads, and wait until others have their places."""
    rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=THREADS)
    rig.await_workers(2)
    hit = rig.client.submit("last", count=THREADS, seconds=seconds)
    rig.await_starts(hit)
    children = workers.children()
    for child in children:
        kill(child)
    wait_until(
        lambda: len([row for row in rig.database.present_workers() if row.pid not in children]) == 2,
        timeout=20,
        what="two other processes",
    )
    wait_until(
        lambda: [task for task in hit if len(rig.ledger.of(task, "START")) > 1],
        timeout=20,
        what="a task that was hit to run again",
    )
    return hit


def crashes(rig: Rig, tasks: list[str]) -> list[int]:
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {rows[task].status for task in tasks} == {"SUCCEEDED"}
    return [rows[task].crashes for task in tasks]


def test_a_fresh_task_starts_at_once_while_tasks_that_a_crash_hit_run_again(rig: Rig) -> None:
    hit = crash_everything(rig, seconds=HIT_SECONDS)
    delays = []
    for _ in range(5):
        (fresh,) = rig.client.submit("effect", priority=10)
        rig.await_event("START", task=fresh, timeout=30)
        delays += rig.start_delays([fresh])
    assert max(delays) < MOST_DELAY_SECONDS, delays
    rig.verify(within=2 * THREADS * HIT_SECONDS + 60)
    assert max(crashes(rig, hit)) == 1


def test_the_other_threads_go_on_while_tasks_that_a_crash_hit_run_again(rig: Rig) -> None:
    hit = crash_everything(rig, seconds=HIT_SECONDS)
    # 20 seconds of one thread's time; the other half of the threads do it in less than four.
    ordinary = rig.client.submit("last", count=40, seconds=0.5)
    wait_until(
        lambda: set(ordinary) <= set(rig.effects()), timeout=HIT_SECONDS, interval=0.1, what="ordinary work to end"
    )
    assert not set(hit) <= set(rig.effects())
    rig.verify(within=2 * THREADS * HIT_SECONDS + 60)
    assert crashes(rig, ordinary) == [0] * len(ordinary)


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_poison_task_among_tasks_that_a_crash_hit_dies_alone(rig: Rig, how: str) -> None:
    hit = crash_everything(rig, seconds=1.5)
    (poison,) = rig.client.submit("crash", how=how, priority=10)
    ordinary = rig.client.submit("last", count=40, seconds=0.2)
    rig.verify(within=120)
    assert rig.outcomes(poison) == ["CRASHED"] * 3
    assert [(letter.task, letter.reason) for letter in rig.database.snapshot().letters] == [(poison, "crash_loop")]
    # One for the first crash, and one for the poison's own first crash, when it still runs like any other task.
    assert max(crashes(rig, hit)) <= 2
    assert max(crashes(rig, ordinary)) <= 1


def test_two_poison_tasks_and_their_neighbours_are_told_apart(rig: Rig) -> None:
    rig.start_scheduler()
    rig.start_workers(processes=2, threads=4)
    rig.await_workers(2)
    neighbours = rig.client.submit("last", count=6, seconds=1.0, priority=7)
    rig.await_starts(neighbours)
    poisons = rig.client.submit("crash", count=2, how="kill", priority=6)
    fresh = rig.client.submit("last", count=30, seconds=0.1)
    rig.verify(within=90)
    assert [rig.outcomes(poison) for poison in poisons] == [["CRASHED"] * 3] * 2
    assert max(crashes(rig, [*neighbours, *fresh])) <= 2
