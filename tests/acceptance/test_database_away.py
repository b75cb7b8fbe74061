"""F8: PostgreSQL restarts, ends sessions, has no connection left, or a locked table."""

import time

import pytest

from tests.acceptance.harness.api import Api
from tests.acceptance.harness.faults import end_sessions, locked, without_free_connections
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.waiting import wait_until

FAULT = "F8"
TASKS, SECONDS = 40, 0.05


def start(rig: Rig) -> Api:
    rig.start_scheduler()
    rig.start_workers(threads=2)
    rig.await_workers()
    return rig.start_api()


def assert_is_told_to_come_back(api: Api) -> None:
    reply = api.submit("effect")
    assert (reply.status, reply.body["code"]) == (503, "database_unavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert api.answers, "the api must not be restarted because the database is away"


def assert_nothing_failed(rig: Rig) -> None:
    rows = rig.database.snapshot().tasks
    assert {(row.status, row.failures, row.crashes) for row in rows} == {("SUCCEEDED", 0, 0)}


def test_postgresql_is_restarted_at_once_in_the_middle_of_a_backlog(rig: Rig, databases: Databases) -> None:
    api = start(rig)
    rig.client.submit("last", count=TASKS, seconds=SECONDS)
    rig.await_effects(5)
    databases.server.stop(immediate=True)
    try:
        assert_is_told_to_come_back(api)
    finally:
        databases.server.start()
    wait_until(lambda: api.submit("last", count=5, seconds=SECONDS).status == 201, what="the api to come back")
    rig.verify(within=30)
    assert_nothing_failed(rig)
    assert set(rig.effects().values()) == {1}, "the outage was shorter than a lease: outcomes waited for it"


@pytest.mark.slow
def test_every_session_is_ended_again_and_again(rig: Rig) -> None:
    api = start(rig)
    rig.client.submit("last", count=TASKS, seconds=SECONDS)
    ended = []
    for step in range(3):
        rig.await_effects(5 + 10 * step, timeout=30)
        ended.append(end_sessions(rig.database))
        # The api's own session was ended too; it checks a session before it uses it.
        assert api.submit("last", seconds=SECONDS).status == 201
    assert min(ended) >= 6, "scheduler, worker and api have several each"
    rig.verify(within=30)
    assert_nothing_failed(rig)
    assert set(rig.effects().values()) == {1}


@pytest.mark.slow
def test_there_is_no_connection_left_for_longer_than_a_lease(rig: Rig) -> None:
    api = start(rig)
    rig.client.submit("last", count=TASKS, seconds=SECONDS)
    rig.await_effects(5)
    with without_free_connections(rig.database):
        began = time.monotonic()
        assert_is_told_to_come_back(api)
        wait_until(lambda: time.monotonic() - began > 3, what="all leases to be over")
        assert_is_told_to_come_back(api)
    wait_until(lambda: api.submit("effect", count=5).status == 201, what="the api to come back")
    rig.verify(within=30)
    assert_nothing_failed(rig)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_task_table_is_locked_for_20_seconds(rig: Rig) -> None:
    api = start(rig)
    rig.client.submit("last", count=TASKS, seconds=SECONDS)
    rig.await_effects(5)
    with locked(rig.database, "callboard_task"):
        began = time.monotonic()
        assert api.answers
        wait_until(lambda: time.monotonic() - began > 20, timeout=30, what="the lock to last")
        assert len(rig.effects()) < TASKS, "work went on: there was no lock"
    assert api.submit("effect", count=5).status == 201
    rig.verify(within=30)
    assert_nothing_failed(rig)
