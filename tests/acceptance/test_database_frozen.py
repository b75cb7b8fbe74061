"""F9: PostgreSQL stands still for longer than all leases, with all connections open."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.harness.faults import frozen
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FAULT = "F9"
#: Twice the worker's lease of the rig.
SECONDS = 4.0


def test_workers_interrupt_what_they_may_have_lost_and_all_processes_recover(rig: Rig, databases: Databases) -> None:
    schedulers = [rig.start_scheduler(), rig.start_scheduler()]
    rig.start_workers(processes=2, threads=2)
    rig.await_workers(2)
    api = rig.start_api()
    running = rig.client.submit("await_cue", count=3, priority=10, cue=rig.cue())
    rig.await_starts(running)
    waiting = rig.client.submit("last", count=20, seconds=0.05)
    with ThreadPoolExecutor() as pool:
        with frozen(databases.server):
            began = time.monotonic()
            reply = pool.submit(api.submit, "effect", count=5)
            wait_until(
                lambda: all(rig.ledger.of(task, "END") for task in running),
                timeout=30,
                what="workers to interrupt what is no longer theirs",
            )
            wait_until(lambda: time.monotonic() - began > SECONDS, timeout=10, what="all leases to be over")
            assert not reply.done(), "the api had an answer: the database was not frozen"
        assert reply.result().status in {201, 503}
    assert {entry.note for task in running for entry in rig.ledger.of(task, "END")} == {"Shutdown"}
    rig.give_cue()
    rig.verify(within=40)
    effects = rig.effects()
    assert {effects[task] for task in running} == {1}
    # The free thread may have ended a task whose outcome could not be written before the lease was over.
    assert sum(effects[task] for task in waiting) <= len(waiting) + 1
    rows = rig.database.snapshot().tasks
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}
    began_to_lead = sum(scheduler.log.read_text().count('"leading"') for scheduler in schedulers)
    ((term,),) = rig.database.query("SELECT term FROM callboard_term")
    assert began_to_lead == term >= 2, "one leader at a time, another term after the fault"


def test_a_request_is_answered_before_the_database_thaws(rig: Rig, databases: Databases) -> None:
    api = rig.start_api(env={"REQUEST_DATABASE_SECONDS": "1"})
    assert api.submit("effect").status == 201
    with frozen(databases.server):
        reply = api.submit("effect")
    assert (reply.status, reply.body["code"]) == (503, "database_unavailable")
    assert "Retry-After" in reply.headers
    assert api.submit("effect", tries=5).status == 201
    rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.verify(within=30)
