"""Transactions that a task leaves open, and sessions that async actors lose, harm no other task."""

import pytest

from tests.acceptance.harness.rig import Rig

TASKS = 10


@pytest.fixture
def single(rig: Rig) -> Rig:
    rig.database.query("CREATE TABLE booking (task uuid)")
    rig.start_scheduler()
    rig.start_workers(threads=1)
    rig.await_workers()
    return rig


@pytest.mark.slow
def test_tasks_that_follow_one_that_left_a_transaction_open_are_whole(single: Rig) -> None:
    for _ in range(3):
        leaking = single.client.submit("leave_open")
        following = single.client.submit("book", count=TASKS)
        single.settle(10)
        booked = [task for (task,) in single.database.query("SELECT task::text FROM booking")]
        assert set(following) <= set(booked)
        assert not set(leaking) & set(booked)
        assert {outcome for task in (*leaking, *following) for outcome in single.outcomes(task)} == {"SUCCEEDED"}
    (workers,) = [one for one in single.processes if one.name.startswith("workers")]
    said = [line for line in workers.log.read_text().splitlines() if "left a transaction open" in line]
    assert len(said) == 3
    assert all('"actor": "leave_open"' in line for line in said)
    single.verify(within=10)


_END_ASYNC_SESSIONS = """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND query = 'SELECT 1 AS asked'"""


@pytest.mark.slow
def test_async_tasks_after_a_lost_session_succeed_at_their_first_attempt(single: Rig) -> None:
    tasks = single.client.submit("ask_database")
    for _ in range(3):
        single.settle(10)
        assert single.database.query(_END_ASYNC_SESSIONS) == [(True,)]
        tasks += single.client.submit("ask_database", count=TASKS)
    single.settle(10)
    assert {outcome for task in tasks for outcome in single.outcomes(task)} == {"SUCCEEDED"}
    single.verify(within=10)
