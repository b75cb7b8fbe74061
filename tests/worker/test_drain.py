"""The drain: when a process is due for one, and when it ends."""

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.worker import drain as module
from tasks.worker.drain import Drain
from tasks.worker.flight_recorder import NoRecorder


class Stage:
    """A drain, and the process it would end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signals: list[int] = []
        self.stuck: set[object] = set()
        self.inflight: Any = SimpleNamespace(ended=0, executions=[])
        self.recorder: Any = SimpleNamespace(
            is_read=True, retirements=0, retire=self.retire, asks=False, ask_to_retire=self.ask_to_retire
        )
        self.interrupter: Any = SimpleNamespace(is_stuck=lambda execution: execution in self.stuck)
        self.drain = self.make_drain(self.recorder)
        kill = SimpleNamespace(kill=lambda _pid, number: self.signals.append(number), getpid=lambda: 0)
        monkeypatch.setattr(module, "os", kill)

    def make_drain(self, recorder: Any) -> Drain:
        return Drain(self.inflight, self.interrupter, recorder)

    def ask_to_retire(self) -> None:
        self.recorder.asks = True

    def retire(self) -> None:
        self.recorder.retirements += 1


@pytest.fixture
def stage(monkeypatch) -> Stage:
    return Stage(monkeypatch)


def test_a_process_asks_for_a_successor_when_it_has_run_its_share_of_tasks(stage, settings) -> None:
    settings.WORKER_MAX_TASKS, settings.WORKER_MAX_MEMORY_MB = 3, 0
    stage.inflight.ended = 2
    stage.drain.ask_if_worn()
    assert not stage.recorder.asks
    stage.inflight.ended = 3
    stage.drain.ask_if_worn()
    assert stage.recorder.asks
    assert not stage.drain.is_due, "the supervisor tells when"


def test_a_process_asks_for_a_successor_when_it_has_grown_too_large(stage, settings, monkeypatch) -> None:
    settings.WORKER_MAX_TASKS, settings.WORKER_MAX_MEMORY_MB = 0, 100
    for ended, peak, asks in ((1, 99_999_999, False), (0, 100_000_000, False), (1, 100_000_000, True)):
        stage.inflight.ended = ended
        monkeypatch.setattr(module, "peak_bytes", lambda peak=peak: peak)
        stage.drain.ask_if_worn()
        assert stage.recorder.asks == asks


def test_a_process_without_limits_asks_for_nothing(stage, settings) -> None:
    settings.WORKER_MAX_TASKS = settings.WORKER_MAX_MEMORY_MB = 0
    stage.inflight.ended = 10**9
    stage.drain.ask_if_worn()
    assert not stage.recorder.asks


def test_a_process_is_due_on_request_unless_no_supervisor_would_replace_it(stage) -> None:
    alone = stage.make_drain(NoRecorder())
    for drain, is_due in ((stage.drain, True), (alone, False)):
        assert not drain.is_due
        drain.request()
        assert drain.is_due == is_due


def test_a_retiring_process_claims_nothing_more_and_its_supervisor_is_told(stage) -> None:
    assert not stage.drain.has_begun
    stage.drain.retire()
    assert (stage.drain.has_begun, stage.drain.is_retiring, stage.recorder.retirements) == (True, True, 1)
    assert not stage.drain.has_ended_itself


def test_a_retiring_process_ends_once_when_its_last_task_is_done(stage) -> None:
    stage.inflight.executions = [running := object()]
    stage.drain.end_if_retired()
    stage.drain.retire()
    stage.drain.end_if_retired()
    assert stage.signals == [], "a task runs"
    stage.inflight.executions.remove(running)
    stage.drain.end_if_retired()
    stage.drain.end_if_retired()
    assert stage.signals == [signal.SIGTERM]


def test_a_stuck_task_does_not_keep_a_retiring_process_from_its_end(stage) -> None:
    stage.inflight.executions = [object()]
    stage.stuck.update(stage.inflight.executions)
    stage.drain.retire()
    stage.drain.end_if_retired()
    assert stage.signals == [signal.SIGTERM]


def test_a_process_that_holds_nothing_does_not_end_unless_it_retires(stage) -> None:
    stage.drain.begin()
    stage.drain.end_if_retired()
    assert stage.signals == []


def test_a_process_that_ends_itself_for_a_fault_does_not_retire(stage) -> None:
    stage.drain.end_process()
    assert (stage.drain.has_begun, stage.drain.has_ended_itself, stage.drain.is_retiring) == (True, True, False)
    assert stage.signals == [signal.SIGTERM]


def test_a_signal_is_ignored_if_the_process_goes_on_for_a_while(stage, monkeypatch) -> None:
    moment = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: moment))
    assert not stage.drain.is_ignored
    stage.drain.end_process()
    moment += module.SIGNAL_SECONDS
    assert not stage.drain.is_ignored
    moment += 0.1
    assert stage.drain.is_ignored
    stage.drain.heard()
    assert not stage.drain.is_ignored
