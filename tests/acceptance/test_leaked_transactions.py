"""F23: sessions that actors leave in a bad state, and sessions that are cut under asynchronous actors."""

import json

import pytest

from tests.acceptance.harness.faults import end_sessions
from tests.acceptance.harness.rig import Rig
from tests.tiers import slow_except

FAULT = "F23"
QUESTIONS = 12


def start(rig: Rig, *, threads: int = 1) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=threads)
    rig.await_workers()


def assert_at_first_try(rig: Rig, tasks: list[str]) -> None:
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    assert {(rows[task].status, rows[task].error) for task in tasks} == {("SUCCEEDED", "")}
    runs = rig.runs()
    assert {runs[task] for task in tasks} == {1}


def warnings_about(rig: Rig, task: str) -> list[str]:
    lines = [json.loads(line) for line in rig.processes[1].log.read_text().splitlines() if task in line]
    return [line["event"] for line in lines if line["level"] == "warning"]


@pytest.mark.parametrize(
    "how",
    slow_except("suspended", of=("open", "suspended", "cycle", "nested", "broken")),
)
def test_a_transaction_that_an_actor_leaves_open_harms_no_later_task(rig: Rig, how: str) -> None:
    start(rig)
    (leaking,) = rig.client.submit("leak", how=how)
    rig.await_event("END", task=leaking)
    later = rig.client.submit("ask", count=QUESTIONS // 2)
    rig.await_effects(1 + len(later))
    later += rig.client.submit("collect", count=1) + rig.client.submit("ask", count=QUESTIONS // 2)
    rig.verify(within=15)
    assert_at_first_try(rig, [leaking, *later])
    assert warnings_about(rig, leaking), "the log does not name the task that leaks"


@pytest.mark.slow
def test_an_actor_that_turns_autocommit_off_harms_no_later_task(rig: Rig) -> None:
    start(rig)
    (leaking,) = rig.client.submit("leak", how="autocommit")
    rig.await_event("END", task=leaking)
    later = rig.client.submit("ask", count=QUESTIONS)
    rig.verify(within=15)
    assert_at_first_try(rig, [leaking, *later])
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%%'"
    assert rig.database.query(idle, []) == [(0,)]


@pytest.mark.slow
def test_many_leaks_on_many_threads_harm_no_later_task(rig: Rig) -> None:
    start(rig, threads=4)
    tasks = []
    for _ in range(3):
        for how in ("open", "suspended", "cycle", "nested", "broken", "autocommit"):
            tasks += rig.client.submit("leak", count=2, how=how)
            tasks += rig.client.submit("ask", count=4)
            tasks += rig.client.submit("collect")
    rig.verify(within=40)
    assert_at_first_try(rig, tasks)


@pytest.mark.slow
@pytest.mark.parametrize("actor", ["ask", "ask_async"])
def test_actors_ask_the_database_again_after_their_sessions_were_cut(rig: Rig, actor: str) -> None:
    start(rig, threads=2)
    first = rig.client.submit(actor, count=4)
    rig.settle(10)
    end_sessions(rig.database)
    later = rig.client.submit(actor, count=QUESTIONS)
    rig.verify(within=20)
    assert_at_first_try(rig, first)
    rows = {row.id: row for row in rig.database.snapshot().tasks}
    # A task that queries at that very moment may fail and be retried.
    assert {rows[task].status for task in later} == {"SUCCEEDED"}
    assert sum(rows[task].failures for task in later) <= 2
