"""F15: RabbitMQ is killed, forgets everything, is frozen, short of memory, or closes connections."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from scheduler_site.embedded.accounts import temporary_folder
from tests.acceptance.conftest import make_rig
from tests.acceptance.harness.faults import frozen
from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.rabbitmq import RabbitServer, require_rabbitmq
from tests.waiting import wait_until

FAULT = "F15"

# Starting a node, and restarting it, takes seconds, on a busy machine half a minute.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitServer]:
    require_rabbitmq()
    server = RabbitServer(temporary_folder())
    server.start()
    yield server
    server.stop(immediate=True)
    shutil.rmtree(server.folder, ignore_errors=True)


class Borrowed:
    """The node as one test's broker, which the end of the test does not stop."""

    def __init__(self, node: RabbitServer) -> None:
        self.node, self.url = node, node.url

    def stop(self, *, immediate: bool = False) -> None:
        """Delete the test's queues."""
        # So that the next test's hints are its own.
        for line in self.node.control("-q", "list_queues", "name", "--no-table-headers").splitlines():
            self.node.control("delete_queue", line.strip())


@pytest.fixture
def rig(databases: Databases, node: RabbitServer, tmp_path: Any, request: Any) -> Iterator[Rig]:
    yield from make_rig(databases, Borrowed(node), tmp_path, request)


def start(rig: Rig, **env: str) -> Process:
    scheduler = rig.start_scheduler(env=env)
    rig.start_workers(threads=2, env=env)
    rig.await_workers()
    return scheduler


def test_it_is_killed_and_comes_back_empty(rig: Rig, node: RabbitServer) -> None:
    start(rig)
    rig.client.submit("last", count=40, seconds=0.05)
    rig.await_effects(5)
    node.stop(immediate=True)
    node.forget()
    node.start()
    rig.client.submit("last", count=10, seconds=0.05)
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}


def test_it_is_away_for_seconds_and_submission_goes_on(rig: Rig, node: RabbitServer) -> None:
    scheduler = start(rig)
    before = rig.client.submit("effect", count=3)
    rig.await_effects(3)
    node.stop(immediate=True)
    during = [id for _ in range(5) for id in rig.client.submit("effect", count=2)]
    wait_until(lambda: "RabbitMQ does not answer" in scheduler.log.read_text(), what="the scheduler to notice")
    node.start()
    rig.verify(within=30)
    assert rig.effects() == dict.fromkeys([*before, *during], 1)


def test_it_is_frozen_for_longer_than_a_call_may_take(rig: Rig, node: RabbitServer) -> None:
    scheduler = start(rig)
    rig.client.submit("last", count=40, seconds=0.05)
    rig.await_effects(5)
    with frozen(node):
        rig.client.submit("effect", count=5)
        wait_until(lambda: "no reply in" in scheduler.log.read_text(), timeout=20, what="a call to time out")
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}


def test_it_has_a_memory_alarm(rig: Rig, node: RabbitServer) -> None:
    scheduler = start(rig)
    rig.client.submit("last", count=10, seconds=0.05)
    rig.await_effects(2)
    node.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        # The first hints after an alarm still go into the socket; the next are refused, and their tasks wait as rows.
        submitted = iter(range(200))
        wait_until(
            lambda: (
                rig.client.submit("effect", count=2)
                and next(submitted) is not None
                and "short of memory" in scheduler.log.read_text()
            ),
            timeout=60,
            interval=0.2,
            what="the scheduler to notice",
        )
    finally:
        node.control("set_vm_memory_high_watermark", "0.6")
    rig.verify(within=40)
    assert set(rig.effects().values()) == {1}


def test_it_closes_connections_in_the_middle_of_a_backlog(rig: Rig, node: RabbitServer) -> None:
    start(rig)
    rig.client.submit("last", count=80, seconds=0.05)
    for step in (5, 15, 25):
        rig.await_effects(step)
        node.control("close_all_connections", "a test")
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}


def test_its_consumer_timeout_does_not_touch_a_long_task(rig: Rig, node: RabbitServer) -> None:
    node.control("eval", "application:set_env(rabbit, consumer_timeout, 1000).")
    node.control("eval", "application:set_env(rabbit, channel_tick_interval, 500).")
    try:
        scheduler = start(rig)
        (task,) = rig.client.submit("last", seconds=5)
        rig.verify(within=20)
    finally:
        node.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
    assert rig.runs() == {task: 1}
    assert "does not answer" not in scheduler.log.read_text()


def test_all_hints_are_flushed_in_the_middle_of_a_backlog(rig: Rig) -> None:
    start(rig)
    rig.client.submit("last", count=60, seconds=0.05)
    for step in (3, 20, 40):
        rig.await_effects(step)
        rig.hints.flush()
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}


def test_rundramatiq_runs_tasks_of_quorum_queues(rig: Rig) -> None:
    env = {"RABBITMQ_QUEUE_TYPE": "quorum"}
    rig.start_scheduler(env=env)
    rig.start_stock_workers(env=env)
    rig.await_workers()
    rig.client.submit("effect", count=20)
    rig.verify(within=30)
    assert set(rig.effects().values()) == {1}
