"""F10: the leading scheduler is killed, stands still past its lease, or leads beside another."""

import json
import time
from datetime import datetime
from functools import partial

import pytest

from tests.acceptance.harness.processes import Process, is_paused, resume
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

FAULT = "F10"
STOLEN = 12


def leads(scheduler: Process, times: int = 1) -> bool:
    return scheduler.log.read_text().count('"leading"') >= times


def start_leader(rig: Rig, failpoint: str = "") -> Process:
    leader = rig.start_scheduler(env=rig.arm(failpoint, now=False) if failpoint else None)
    wait_until(lambda: leads(leader), timeout=20, what="the first scheduler to lead")
    return leader


def led_at(scheduler: Process) -> float:
    line = next(line for line in scheduler.log.read_text().splitlines() if '"leading"' in line)
    return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()


def term(rig: Rig) -> int:
    ((number,),) = rig.database.query("SELECT term FROM callboard_term")
    return int(number)


def has_passed(rig: Rig, number: int) -> bool:
    return term(rig) > number


def steal_lease(rig: Rig) -> None:
    """End the lease behind its holder's back; it goes on leading until it renews."""
    rig.database.query("UPDATE callboard_lease SET expires_at = now()")


def give_lease_to_nobody(rig: Rig) -> None:
    """Begin a term that no process knows, as if another machine led."""
    rig.database.query("UPDATE callboard_lease SET holder = gen_random_uuid(), expires_at = now() + interval '1 hour'")
    rig.database.query("UPDATE callboard_term SET term = term + 1")


def test_what_a_leader_that_stood_still_dispatches_in_an_old_term_changes_nothing(rig: Rig) -> None:
    leader = start_leader(rig, "before_dispatch:stop")
    rig.start_workers(threads=2)
    rig.await_workers()
    rig.token.touch()
    tasks = rig.client.submit("effect", count=10)
    wait_until(lambda: is_paused(leader.pid), timeout=20, what="the leader to stand before its dispatch")
    give_lease_to_nobody(rig)
    resume(leader.pid)
    wait_until(lambda: "leadership lost" in leader.log.read_text(), timeout=20, what="the leader to notice")
    assert {(row.status, row.dispatch) for row in rig.database.snapshot().tasks} == {("PENDING", 0)}
    steal_lease(rig)
    rig.verify(within=20)
    assert rig.effects() == dict.fromkeys(tasks, 1)
    assert leads(leader, 2)


@pytest.mark.slow
def test_hints_that_a_leader_publishes_after_another_took_over_start_nothing_twice(rig: Rig) -> None:
    leader = start_leader(rig, "after_dispatch:stop")
    standby = rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.await_workers()
    rig.token.touch()
    tasks = rig.client.submit("effect", count=10)
    wait_until(lambda: is_paused(leader.pid), timeout=20, what="the leader to stand between commit and publish")
    wait_until(lambda: leads(standby), timeout=20, what="the standby to lead")
    rig.await_effects(10, timeout=20)
    assert max(row.dispatch for row in rig.database.snapshot().tasks) >= 2, "the first dispatch was never published"
    resume(leader.pid)
    wait_until(lambda: "leadership lost" in leader.log.read_text(), timeout=20, what="the leader to notice")
    tasks += rig.client.submit("effect", count=10)
    rig.verify(within=20)
    assert rig.effects() == dict.fromkeys(tasks, 1)
    assert term(rig) >= 2


@pytest.mark.slow
def test_two_schedulers_that_lead_at_once_again_and_again_start_nothing_twice(rig: Rig) -> None:
    schedulers = [start_leader(rig), rig.start_scheduler()]
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    tasks: list[str] = []
    # The scheduler that looks first takes the free lease, so this goes on until each has led twice.
    for theft in range(10 * STOLEN):
        if theft >= STOLEN and all(leads(scheduler, 2) for scheduler in schedulers):
            break
        tasks += rig.client.submit("last", count=10, seconds=0.02)
        time.sleep(theft % 7 * 0.05)  # Each theft at another moment of their rounds.
        before = term(rig)
        steal_lease(rig)
        wait_until(partial(has_passed, rig, before), timeout=20, what=f"a new leader after theft {theft}")
    rig.verify(within=30)
    assert rig.effects() == dict.fromkeys(tasks, 1)
    assert all(leads(scheduler, 2) for scheduler in schedulers), "only one of them led"
    assert term(rig) > STOLEN


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_with_the_default_lease_another_leads_within_its_10_seconds_and_one_more(rig: Rig) -> None:
    clocks = {"LEADER_LEASE_SECONDS": "10"}
    leader = rig.start_scheduler(env=clocks)
    wait_until(lambda: leads(leader), timeout=20, what="the first scheduler to lead")
    rig.start_workers(threads=2)
    standby = rig.start_scheduler(env=clocks)
    rig.client.submit("effect", count=10)
    rig.await_effects(10)
    killed_at = time.time()
    leader.kill()
    rig.client.submit("effect", count=10)
    wait_until(lambda: leads(standby), timeout=30, what="the other to lead")
    assert led_at(standby) - killed_at <= 11
    rig.verify(within=20)
