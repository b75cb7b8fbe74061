"""The hang detector: a process that is silent and busy is held; one that is only silent or only busy is not."""

import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tasks.worker import hang_detector
from tasks.worker.flight_recorder import FlightRecorder
from tasks.worker.hang_detector import HangDetector


class Watched:
    """A process whose clock and work the test sets."""

    def __init__(self, recorder: FlightRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorder, self.now, self.busy = recorder, 1000.0, 5.0
        monkeypatch.setattr(hang_detector, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(hang_detector, "_busy_seconds", lambda pid: self.busy)
        self.detector = HangDetector(os.getpid(), recorder)

    def is_held_after(self, seconds: float, *, busy: float) -> bool:
        self.now += seconds
        self.busy += busy
        return self.detector.is_held()


@pytest.fixture
def watched(monkeypatch, settings) -> Iterator[Watched]:
    settings.WORKER_LEASE_SECONDS, settings.HEARTBEAT_INTERVAL_SECONDS = 15, 5
    recorder = FlightRecorder.create(threads=1)
    yield Watched(recorder, monkeypatch)
    recorder.close()


def test_a_process_that_is_silent_and_busy_is_held_before_its_lease_is_over(watched) -> None:
    watched.recorder.tick()
    assert not watched.is_held_after(1, busy=1)
    assert not watched.is_held_after(7, busy=7)
    assert watched.is_held_after(2, busy=2)


def test_a_process_that_is_silent_and_idle_is_paused_or_starved(watched) -> None:
    watched.recorder.tick()
    assert not watched.is_held_after(1, busy=1)
    assert not watched.is_held_after(600, busy=0.5)


def test_a_process_that_is_busy_and_gives_signs_of_life_is_not_held(watched) -> None:
    for _ in range(600):
        watched.recorder.tick()
        assert not watched.is_held_after(5, busy=5)


def test_a_process_before_its_first_and_after_its_last_sign_of_life_is_not_held(watched) -> None:
    assert not watched.is_held_after(600, busy=600)
    watched.recorder.tick()
    assert not watched.is_held_after(1, busy=1)
    watched.recorder.stop_ticking()
    assert not watched.is_held_after(600, busy=600)
    assert not watched.is_held_after(600, busy=600)


def test_how_busy_a_process_was_is_read_from_the_kernel() -> None:
    before = hang_detector._busy_seconds(os.getpid())
    while hang_detector._busy_seconds(os.getpid()) == before:
        pass
    assert hang_detector._busy_seconds(2**30) == 0.0
