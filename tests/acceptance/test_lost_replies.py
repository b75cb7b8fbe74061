"""F7: replies of Redis and PostgreSQL that are lost, come late, or never come on a connection that looks alive."""

from collections.abc import Iterator

import pytest

from tests.acceptance.harness.proxy import Proxy
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FAULT = "F7"
TASKS = 40


@pytest.fixture
def redis_proxy(rig: Rig) -> Iterator[Proxy]:
    proxy = Proxy(rig.redis.url)
    yield proxy
    proxy.close()


@pytest.fixture
def database_proxy(rig: Rig) -> Iterator[Proxy]:
    proxy = Proxy(rig.database.url)
    yield proxy
    proxy.close()


def assert_each_ran_once(rig: Rig, tasks: list[str]) -> None:
    assert rig.effects() == dict.fromkeys(tasks, 1)
    assert {row.failures + row.crashes for row in rig.database.snapshot().tasks} == {0}


@pytest.mark.parametrize(
    ("process", "command"),
    [("workers", b"fetch"), ("workers", b"SREM"), ("scheduler", b"HSET"), ("scheduler", b"LLEN")],
    ids=["a worker takes", "a worker acknowledges", "the dispatcher publishes", "the dispatcher counts"],
)
def test_redis_executed_the_command_and_the_reply_was_lost_when(
    rig: Rig, redis_proxy: Proxy, process: str, command: bytes
) -> None:
    by_proxy = {"BROKER_URL": redis_proxy.url}
    rig.start_scheduler(env=by_proxy if process == "scheduler" else None)
    rig.start_workers(threads=2, env=by_proxy if process == "workers" else None)
    rig.await_workers()
    redis_proxy.lose_replies(command, count=5)
    tasks = rig.client.submit("last", count=TASKS, seconds=0.05)
    tasks += rig.client.submit("last", count=TASKS, seconds=0.05, priority=9)
    wait_until(lambda: redis_proxy.lost >= 5, timeout=60, what=lambda: f"5 lost replies, not {redis_proxy.lost}")
    rig.verify(within=30)
    assert_each_ran_once(rig, tasks)


@pytest.mark.parametrize("seconds", [0.2, 6], ids=["in time", "later than anybody waits"])
def test_redis_answers_late(rig: Rig, redis_proxy: Proxy, seconds: float) -> None:
    # Longer than the rig's short grace, in which a hint on its way to a worker would count as lost.
    rig.start_scheduler(env={"BROKER_URL": redis_proxy.url, "HINT_GRACE_SECONDS": "10"})
    rig.start_workers(threads=2, env={"BROKER_URL": redis_proxy.url})
    rig.await_workers()
    tasks = rig.client.submit("last", count=TASKS, seconds=0.05)
    rig.await_effects(2)
    with redis_proxy.delaying(seconds):
        tasks += rig.client.submit("last", count=5, seconds=0.05)
        if seconds < 5:
            rig.settle(60)
        else:
            log = rig.processes[0].log
            wait_until(lambda: "Redis does not answer" in log.read_text(), timeout=30, what="a time-out")
    rig.verify(within=30)
    assert_each_ran_once(rig, tasks)


def test_redis_dropped_the_connections_silently(rig: Rig, redis_proxy: Proxy) -> None:
    rig.start_scheduler(env={"BROKER_URL": redis_proxy.url})
    rig.start_workers(processes=2, threads=2, env={"BROKER_URL": redis_proxy.url})
    rig.await_workers(2)
    tasks = rig.client.submit("last", count=TASKS, seconds=0.05)
    for effects in (5, 15, 30):
        rig.await_effects(effects, timeout=40)
        assert redis_proxy.open_halfway() >= 1
    rig.verify(within=40)
    assert_each_ran_once(rig, tasks)


@pytest.mark.parametrize(
    ("process", "statement"),
    [
        ("workers", b"EXECUTE callboard_complete"),
        ("workers", b"heartbeat_at"),
        ("workers", b"EXECUTE callboard_claim"),
        ("scheduler", b"EXECUTE callboard_dispatch"),
        ("scheduler", b"callboard_lease"),
        ("scheduler", b"LISTEN"),
    ],
    ids=["outcomes", "a heartbeat", "a claim", "a dispatch", "the lease", "listening"],
)
def test_postgresql_executed_the_statement_and_the_reply_was_lost(
    rig: Rig, database_proxy: Proxy, process: str, statement: bytes
) -> None:
    by_proxy = {"DATABASE_URL": database_proxy.url}
    if statement == b"LISTEN":
        database_proxy.lose_replies(statement)
    rig.start_scheduler(env=by_proxy if process == "scheduler" else None)
    rig.start_workers(threads=2, env=by_proxy if process == "workers" else None)
    rig.await_workers()
    tasks = rig.client.submit("last", count=5, seconds=0.05)
    rig.await_effects(5, timeout=30)
    if statement != b"LISTEN":
        database_proxy.lose_replies(statement, count=2)
    tasks += rig.client.submit("last", count=TASKS, seconds=0.05)
    wait_until(lambda: database_proxy.loses == 0 and database_proxy.lost, timeout=60, what="a reply to be lost")
    rig.verify(within=30)
    assert_each_ran_once(rig, tasks)


@pytest.mark.parametrize("process", ["workers", "scheduler"])
def test_postgresql_never_answers_again_on_any_existing_connection(
    rig: Rig, database_proxy: Proxy, process: str
) -> None:
    by_proxy = {"DATABASE_URL": database_proxy.url}
    rig.start_scheduler(env=by_proxy if process == "scheduler" else None)
    workers = rig.start_workers(threads=2, env=by_proxy if process == "workers" else None)
    rig.await_workers()
    rig.client.submit("last", count=TASKS, seconds=0.05)
    rig.await_effects(5, timeout=30)
    assert database_proxy.open_halfway() >= 3
    rig.client.submit("last", count=TASKS, seconds=0.05)
    rig.verify(within=80)
    assert len(rig.effects()) == 2 * TASKS
    assert {row.failures + row.crashes for row in rig.database.snapshot().tasks} == {0}
    silent = workers if process == "workers" else rig.processes[0]
    assert "the database was silent for too long" in silent.log.read_text()


def test_a_submission_whose_reply_was_lost_may_be_repeated_under_its_key(rig: Rig, database_proxy: Proxy) -> None:
    rig.start_scheduler()
    rig.start_workers(threads=2)
    api = rig.start_api(env={"DATABASE_URL": database_proxy.url})
    database_proxy.lose_replies(b"EXECUTE callboard_submit")
    reply = api.submit("effect", count=3)
    assert (reply.status, reply.body["code"]) == (503, "database_unavailable")
    assert "Retry-After" in reply.headers
    for key, statement in {"one": b"EXECUTE callboard_submit", "two": b"COMMIT"}.items():
        lost = database_proxy.lost
        database_proxy.lose_replies(statement)
        reply = api.submit("effect", count=3, key=key, tries=2)
        assert database_proxy.lost == lost + 1
        # An uncommitted statement was rolled back; a commit whose reply was lost was not.
        assert reply.status == (201 if key == "one" else 200), reply
    rig.verify(within=30)
    assert len(rig.effects()) == 9
