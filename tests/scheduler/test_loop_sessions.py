"""A loop of the scheduler in its thread: goes on after errors, on a session that gives up in time."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from tasks.errors import BrokerUnavailable
from tasks.scheduler import loop as module
from tasks.scheduler.dispatcher import Dispatcher
from tasks.scheduler.loop import Loop
from tasks.scheduler.sweeper import Sweeper
from tests.scheduler.stage import Broker, Leading
from tests.waiting import wait_until

LONG = 1000.0


class Rounds(Loop):
    """Does one of the test's things in each round, and then waits for long."""

    name = "rounds"

    def __init__(self, *rounds: Callable[[], float]) -> None:
        super().__init__()
        self._todo = list(rounds)
        self.count = 0

    def step(self) -> float:
        self.count += 1
        return self._todo.pop(0)() if self._todo else LONG


def fails(error: Exception) -> Callable[[], float]:
    def step() -> float:
        raise error

    return step


def at_once() -> float:
    return 0


@pytest.fixture
def started(transactional_db, monkeypatch) -> Any:
    monkeypatch.setattr(module, "PAUSE_AFTER_ERROR_SECONDS", 0.01)
    running: list[Loop] = []

    def start(loop: Any) -> Any:
        running.append(loop)
        loop.start()
        return loop

    yield start
    for loop in running:
        loop.stop()
        assert not loop.is_alive


@pytest.mark.parametrize(
    "error", [OperationalError("away"), BrokerUnavailable("away"), ZeroDivisionError("what nobody thought of")]
)
def test_a_round_that_fails_is_followed_by_another(started, error: Exception) -> None:
    loop = started(Rounds(fails(error), fails(error)))
    wait_until(lambda: loop.count == 3)
    assert loop.is_alive


def test_a_wake_up_ends_the_wait(started) -> None:
    loop = started(Rounds())
    wait_until(lambda: loop.count == 1)
    loop.wake()
    wait_until(lambda: loop.count == 2)


def test_a_wake_up_during_a_round_is_not_lost(started) -> None:
    is_inside, go_on = threading.Event(), threading.Event()

    def slow() -> float:
        is_inside.set()
        go_on.wait(20)
        return LONG

    loop = started(Rounds(slow))
    assert is_inside.wait(10)
    loop.wake()
    go_on.set()
    wait_until(lambda: loop.count == 2)


def test_it_goes_on_as_soon_as_the_step_says(started) -> None:
    loop = started(Rounds(at_once, at_once))
    wait_until(lambda: loop.count == 3)


def shown(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW {name}")
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize(("is_asynchronous", "commit"), [(False, "on"), (True, "off")])
def test_a_statement_gives_up_before_the_lease_is_over(started, settings, is_asynchronous: bool, commit: str) -> None:
    settings.LEADER_LEASE_SECONDS = 9
    seen: list[tuple[str, ...]] = []

    def look() -> float:
        seen.append((shown("statement_timeout"), shown("synchronous_commit")))
        return LONG

    loop = Rounds(look)
    loop.commits_asynchronously = is_asynchronous
    before = shown("synchronous_commit")
    started(loop)
    wait_until(lambda: seen)
    assert seen == [("3s", commit if is_asynchronous else before)]
    # Only of that thread.
    assert shown("statement_timeout") == "0"


def test_a_session_that_the_server_ended_is_replaced(started) -> None:
    pids: list[int] = []

    def look() -> float:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])
        return LONG

    loop = started(Rounds(look, look, look))
    wait_until(lambda: pids)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", pids)
    loop.wake()
    wait_until(lambda: len(pids) == 2)
    assert pids[0] != pids[1]


def test_only_a_dispatch_may_be_undone_by_a_crash_of_the_database(db) -> None:
    dispatcher: Any = Dispatcher(Leading(), Broker())  # type: ignore[arg-type]
    sweeper: Any = Sweeper(Leading(), Broker())  # type: ignore[arg-type]
    assert (dispatcher.commits_asynchronously, sweeper.commits_asynchronously) == (True, False)
