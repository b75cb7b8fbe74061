"""A scheduler's loop: rounds, wake-ups, and a rest after errors."""

import threading
from types import SimpleNamespace

import pytest
from django.db import OperationalError

from tasks.errors import BrokerUnavailable
from tasks.scheduler import loop as loop_module
from tasks.scheduler.loop import PAUSE_AFTER_ERROR_SECONDS, Loop
from tests.waiting import wait_until


class Noted(threading.Event):
    """An event whose waits return at once; it notes for how long they would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return self.is_set()


class Rounds(Loop):
    """Does one of the given things in each round, and ends after the last."""

    name = "rounds"

    def __init__(self, *rounds: float | Exception) -> None:
        super().__init__()
        self.rounds = list(rounds)
        self.idle, self.rest = Noted(), Noted()
        self._wake, self._stopped = self.idle, self.rest

    def step(self) -> float:
        outcome = self.rounds.pop(0)
        if not self.rounds:
            self._stopped.set()
        self.wake()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def _no_sessions(monkeypatch):
    monkeypatch.setattr("tasks.scheduler.loop.sessions.use_direct_session", lambda **_: None)
    monkeypatch.setattr("tasks.scheduler.loop.connections.close_all", lambda: None)


def test_a_round_says_how_long_the_next_one_may_wait() -> None:
    loop = Rounds(0.5, 2, 0)
    loop._run()
    assert loop.idle.waits == [0.5, 2, 0]
    assert not loop.idle.is_set()


@pytest.mark.parametrize("error", [BrokerUnavailable(), OperationalError("away"), ValueError("a bug")])
def test_after_an_error_it_rests_despite_wake_ups(error) -> None:
    loop = Rounds(error, error, 1)
    loop._run()
    assert loop.rest.waits == [PAUSE_AFTER_ERROR_SECONDS] * 2
    assert loop.idle.waits == [1]


@pytest.mark.parametrize(
    ("took", "moved", "breath"),
    [(0.001, 0, 0.002), (0.001, 2, 0.002), (0.001, 4, 0.004), (0.001, 500, 0.006), (3.0, 1, 0.015)],
)
def test_it_breathes_longer_after_more_and_never_long(monkeypatch, took: float, moved: int, breath: float) -> None:
    loop = Rounds(0.5, 0.5)
    loop.moved = moved
    moments = iter([100.0, 100.0 + took, 199.0, 200.0, 200.0 + took, 299.0])
    # Not the clock of the whole process: other threads read it too.
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    loop._run()
    assert loop.rest.waits == pytest.approx([breath] * 2)
    assert loop.idle.waits == [0.5, 0.5]


def test_a_wake_up_ends_a_wait_and_a_stop_ends_a_rest(monkeypatch) -> None:
    class Waiting(Loop):
        name = "waiting"
        count = 0

        def step(self) -> float:
            self.count += 1
            if self.count == 3:
                raise BrokerUnavailable
            return 60

    loop = Waiting()
    monkeypatch.setattr(loop_module, "PAUSE_AFTER_ERROR_SECONDS", 60)
    loop.start()
    for count in (1, 2, 3):
        wait_until(lambda count=count: loop.count == count)  # type: ignore[misc]
        loop.wake()
    loop.stop()
    assert not loop.is_alive
    assert loop.count == 3


# --- Health ---


def test_a_loop_whose_rounds_fail_turns(monkeypatch) -> None:
    loop = Rounds(OperationalError("away"), OperationalError("away"), 0)
    loop.start()
    loop._thread.join(5)
    assert loop.fault == "the thread of the rounds is dead"
    monkeypatch.setattr(Loop, "is_alive", True)
    assert loop.fault is None


def test_a_loop_that_hangs_in_a_round_stands_still(settings, monkeypatch) -> None:
    settings.LEADER_LEASE_SECONDS = 0.2
    monkeypatch.setattr(loop_module, "LATE_SECONDS", 0.1)
    hold, began = threading.Event(), threading.Event()

    class Hung(Rounds):
        def step(self) -> float:
            began.set()
            hold.wait(10)
            self._stopped.set()
            return 0

    loop = Hung()
    loop.start()
    assert began.wait(5)
    assert loop.fault is None
    wait_until(lambda: loop.fault == "the rounds stands still", timeout=5)
    hold.set()
    loop._thread.join(5)
