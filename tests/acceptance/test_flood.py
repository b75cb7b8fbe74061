"""F18: 50,000 tasks are due at once."""

from functools import partial

import psutil
import pytest

from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FAULT = "F18"
FLOOD, PORTION = 50_000, 1_000
LEAST_HIGH, MOST_HIGH = 4, 20
#: Most hints of one band in the broker: the dispatcher's largest window, and one publish on its way.
MOST_IN_THE_BROKER = 2 * 1_024
MOST_MEMORY_BYTES = 400_000_000


def flood(rig: Rig, priority: int = 3) -> None:
    for _ in range(FLOOD // PORTION):
        assert len(rig.client.submit("effect", count=PORTION, priority=priority)) == PORTION


def largest(process: Process) -> int:
    members = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    return max(member.memory_info().rss for member in members)


def has_run(rig: Rig, task: str) -> bool:
    return rig.database.query("SELECT 1 FROM callboard_task WHERE id = %s AND status = 'SUCCEEDED'", [task]) != []


def done(rig: Rig) -> int:
    ((count,),) = rig.database.query("SELECT count(*) FROM callboard_task WHERE status = 'SUCCEEDED'")
    return int(count)


def test_a_high_task_in_the_flood_runs_at_once_and_the_broker_holds_a_window_of_it(rig: Rig) -> None:
    flood(rig)
    scheduler = rig.start_scheduler()
    workers = rig.start_workers(processes=2, threads=4)
    wait_until(lambda: done(rig) > 100, timeout=60, what="the flood to be worked off")
    seen: list[int] = []
    overtaken: list[int] = []
    while len(seen) < MOST_HIGH and done(rig) < FLOOD * 0.9:
        (high,) = rig.client.submit("effect", priority=10)
        before = done(rig)
        wait_until(partial(has_run, rig, high), timeout=30, what="a high task")
        overtaken.append(done(rig) - before)
        seen.append(sum(rig.hints.waiting().values()))
    assert len(seen) >= LEAST_HIGH, "the flood was over too soon"
    assert max(seen) <= MOST_IN_THE_BROKER
    # Only tasks that had been dispatched before it go first, and none that wait in the database.
    assert sorted(overtaken)[len(overtaken) // 2] < 2 * MOST_IN_THE_BROKER
    assert max(largest(scheduler), largest(workers)) < MOST_MEMORY_BYTES
    rig.verify(within=400)
    rows = rig.database.snapshot().tasks
    assert len(rows) == FLOOD + len(seen)
    assert {row.status for row in rows} == {"SUCCEEDED"}
    # A claim counts in the row although a busy process puts it back; an attempt is a run.
    assert {*rig.runs().values()} == {1}


def test_hints_that_wait_for_slow_workers_do_not_multiply(rig: Rig) -> None:
    """Let hints wait far longer than the grace after which they may count as lost."""
    rig.start_scheduler()
    rig.start_workers(processes=1, threads=2)
    rig.await_workers()
    slow = rig.client.submit("await_cue", count=2, priority=9, cue=rig.cue())
    rig.await_starts(slow)
    tasks = [id for _ in range(2) for id in rig.client.submit("effect", count=PORTION)]
    wait_until(lambda: rig.hints.waiting().get("default.medium"), what="hints")
    held = []
    oldest = "SELECT extract(epoch FROM now() - min(queued_at)) FROM callboard_task WHERE status = 'QUEUED'"
    while (rig.database.query(oldest)[0][0] or 0) < 6:
        held.append(rig.hints.waiting()["default.medium"])
    assert max(held) <= MOST_IN_THE_BROKER
    assert max(held) == min(held), "nothing was taken and nothing handed out again"
    rig.give_cue()
    rig.verify(within=90)
    assert rig.effects() == dict.fromkeys([*slow, *tasks], 1)
    assert {row.dispatch for row in rig.database.snapshot().tasks} == {1}
