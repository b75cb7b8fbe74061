"""The supervisor, with fake processes: keeps them alive, reports how they ended, and ends in order."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from tasks.broker.notifier import Event
from tasks.lifecycle import workers
from tasks.models import new_id
from tasks.worker import supervisor as module
from tasks.worker.flight_recorder import Ending, FlightRecorder
from tasks.worker.supervisor import HEALTHY_AFTER_SECONDS, LONGEST_DELAY_SECONDS, REPORT_PAUSE_SECONDS, Supervisor

NO_MEMORY = OSError(errno.ENOMEM, "Cannot allocate memory")


class Process:
    """A child that ends when the test ends it, or at a signal that it obeys."""

    heeds: tuple[int, ...] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, command: list[str], **_: Any) -> None:
        self.command, self.pid = command, 1
        self.returncode: int | None = None
        self.signals: list[int] = []

    @property
    def worker_id(self) -> str:
        return self.command[self.command.index("--worker-id") + 1]

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> None:
        pass

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number in self.heeds:
            self.returncode = 0 if number == signal.SIGTERM else -number


class Stage:
    """A supervisor with a fake clock, fake processes and a fake database."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.processes: list[Process] = []
        #: What the next starts and reports raise.
        self.failures: list[OSError] = []
        self.database_errors: list[Exception] = []
        self.reports: list[Any] = []
        self.events: list[Event] = []
        #: Workers that were declared gone.
        self.gone: set[Any] = set()
        self.supervisor: Any = None

    def start(self, command: list[str], **options: Any) -> Process:
        if self.failures:
            raise self.failures.pop(0)
        self.processes.append(Process(command, **options))
        return self.processes[-1]

    def report_end(self, worker_id: Any, *, kind: str, detail: str, records: Any) -> bool:
        if self.database_errors:
            raise self.database_errors.pop(0)
        self.reports.append(SimpleNamespace(worker_id=str(worker_id), kind=kind, detail=detail, records=records))
        return True

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def round(self) -> None:
        """Run one round of the supervisor's loop."""
        self.supervisor._end_hung()
        self.supervisor._reap()
        self.supervisor._start_missing()
        self.supervisor._replace_outdated()
        self.supervisor._report()
        self.supervisor._look_for_gone()

    def gone_among(self, worker_ids: Any) -> set[Any]:
        return {id for id in worker_ids if id in self.gone}

    @property
    def alive(self) -> int:
        return sum(process.returncode is None for process in self.processes)

    def end_last(self, code: int = 1, *, after: float = 0.5) -> None:
        """End the youngest process some time after its start."""
        self.now += after
        self.processes[-1].returncode = code

    def delay(self) -> float:
        """Measure how long it takes until a missing process is started."""
        began = self.now
        count = len(self.processes)
        while len(self.processes) == count:
            self.round()
            self.now += 0.05
        return self.now - 0.05 - began


@pytest.fixture
def stage(monkeypatch) -> Iterator[Stage]:
    made = Stage()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep))
    monkeypatch.setattr(subprocess, "Popen", made.start)
    monkeypatch.setattr(workers, "report_end", made.report_end)
    monkeypatch.setattr(workers, "gone_among", made.gone_among)
    monkeypatch.setattr(module, "notifier", made)
    # The class has bound the real clock for ``started_at``.
    monkeypatch.setattr(module, "Child", lambda *given: SimpleNamespace(**_child(*given), started_at=made.now))
    made.supervisor = Supervisor(processes=2, threads=1, queues=["default"], grace_seconds=5)
    yield made
    for child in made.supervisor._children:
        child.recorder.close()
    for end in (made.supervisor._read_end, made.supervisor._write_end):
        os.close(end)


def _child(worker_id: Any, process: Any, recorder: Any) -> dict[str, Any]:
    hang_detector = SimpleNamespace(is_held=lambda: False, is_silent=lambda: False, is_working=False, silent_for=0.0)
    notes = {"killed": None, "gone_since": None, "is_asked_to_retire": False}
    return {"worker_id": worker_id, "process": process, "recorder": recorder, "hang_detector": hang_detector, **notes}


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


# --- Starting again ---


def test_the_wanted_number_of_processes_is_started_each_with_its_own_id(stage) -> None:
    stage.round()
    stage.round()
    assert stage.alive == 2
    assert len({process.worker_id for process in stage.processes}) == 2
    assert stage.processes[0].command[-2:] == ["--queues", "default"]


def test_a_process_that_ended_is_replaced_at_once(stage) -> None:
    stage.round()
    stage.end_last(after=HEALTHY_AFTER_SECONDS + 1)
    assert stage.delay() == 0
    assert stage.alive == 2


def test_processes_that_end_early_repeatedly_are_started_with_a_growing_delay(stage) -> None:
    stage.round()
    delays = []
    for _ in range(9):
        stage.end_last()
        delays.append(round(stage.delay(), 1))
    assert delays[:5] == [0, 1, 2, 4, 8]
    assert max(delays) == pytest.approx(LONGEST_DELAY_SECONDS, abs=0.1)


def test_a_process_that_lived_long_enough_ends_the_delay(stage) -> None:
    stage.round()
    for _ in range(5):
        stage.end_last()
        stage.delay()
    stage.end_last(after=HEALTHY_AFTER_SECONDS + 1)
    assert stage.delay() == 0
    stage.end_last()
    assert stage.delay() == 0


def test_a_machine_without_memory_for_a_process_does_not_end_the_supervisor_of_the_others(stage) -> None:
    stage.round()
    stage.end_last()
    stage.failures += [NO_MEMORY] * 3
    assert stage.delay() > 1
    assert stage.alive == 2
    assert stage.failures == []
    assert stage.processes[0].signals == []


def test_a_disk_without_room_for_a_flight_recorder_does_not_end_the_supervisor(stage, monkeypatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(FlightRecorder, "create", full)
        stage.round()
    assert stage.alive == 0
    stage.delay()
    stage.round()
    assert stage.alive == 2


def test_failed_starts_leave_nothing_open(stage) -> None:
    before = open_descriptors()
    stage.failures += [NO_MEMORY] * 20
    while stage.failures:
        stage.round()
        stage.now += 60
    # Descriptors of an earlier test may be closed meanwhile.
    assert open_descriptors() <= before


# --- Reporting how they ended ---


@pytest.mark.parametrize(
    ("code", "ending", "kind", "says"),
    [
        (1, Ending.NONE, "crashed", "exit code 1"),
        (-signal.SIGSEGV, Ending.NONE, "crashed", "killed by SIGSEGV"),
        (-signal.SIGKILL, Ending.NONE, "crashed", "killed by SIGKILL"),
        (-250, Ending.NONE, "crashed", "killed by signal 250"),
        (75, Ending.LEASE_LOST, "faulted", "lost its lease"),
        (70, Ending.UNHEALTHY, "faulted", "unhealthy"),
        (76, Ending.UNFINISHED, "stopped", "had to end"),
        # What an actor exits with: the process itself said nothing of its end.
        (0, Ending.NONE, "crashed", "exit code 0"),
        (70, Ending.NONE, "crashed", "exit code 70"),
        (75, Ending.NONE, "crashed", "exit code 75"),
        (76, Ending.NONE, "crashed", "exit code 76"),
        (77, Ending.NONE, "crashed", "exit code 77"),
    ],
)
def test_an_end_is_reported_with_its_kind_and_what_ran(stage, code: int, ending: Ending, kind: str, says: str) -> None:
    stage.round()
    key = (new_id(), 3)
    recorder = stage.supervisor._children[-1].recorder
    recorder.start(key, datetime.now(UTC))
    recorder.end_process(ending)
    stage.end_last(code)
    stage.round()
    (report,) = stage.reports
    assert report.worker_id == stage.processes[1].worker_id
    assert report.kind == kind
    assert says in report.detail
    assert [record.key for record in report.records] == [f"{key[0]}:{key[1]}"]
    # So that the sweeper does not wait for its next round.
    assert stage.events == [Event.WORKER_ENDED]


@pytest.mark.parametrize(("sign", "kind"), [("is_held", "crashed"), ("is_silent", "faulted")])
def test_a_process_that_hangs_is_killed_and_replaced(stage, sign: str, kind: str) -> None:
    stage.round()
    setattr(stage.supervisor._children[0].hang_detector, sign, lambda: True)
    stage.round()
    assert stage.processes[0].signals == [signal.SIGKILL]
    assert [report.kind for report in stage.reports] == [kind]
    assert stage.alive == 2


def test_a_process_that_was_declared_gone_and_goes_on_is_killed_and_replaced(stage) -> None:
    stage.round()
    stage.gone.add(stage.supervisor._children[0].worker_id)
    stage.now += module.GONE_LOOK_SECONDS
    stage.round()
    assert stage.processes[0].signals == [], "it has a moment to end by itself"
    stage.now += module.GONE_GRACE_SECONDS + 0.1
    stage.round()
    assert stage.processes[0].signals == [signal.SIGKILL]
    assert [report.kind for report in stage.reports] == ["faulted"]
    assert stage.alive == 2


def test_a_registry_that_cannot_be_asked_ends_no_process(stage, monkeypatch) -> None:
    def away(_: Any) -> set[Any]:
        raise OperationalError("away")

    stage.round()
    monkeypatch.setattr(workers, "gone_among", away)
    for _ in range(10):
        stage.now += module.GONE_LOOK_SECONDS
        stage.round()
    assert [process.signals for process in stage.processes] == [[], []]


# --- Replacing them all ---


def work(stage: Stage) -> None:
    for child in stage.supervisor._children:
        child.recorder.tick()


def retire(stage: Stage, place: int) -> None:
    """Do what a process does some time after its signal."""
    child = stage.supervisor._children[place]
    assert child.process.signals == [signal.SIGHUP]
    child.recorder.retire()


def replace_second(stage: Stage) -> None:
    """Replace the second of two processes, whose successor has been started."""
    work(stage)
    stage.round()
    retire(stage, 1)
    stage.round()
    work(stage)
    stage.round()
    assert [process.signals for process in stage.processes] == [[signal.SIGHUP]] * 2 + [[]] * 2


def test_a_reload_replaces_the_processes_one_after_another(stage) -> None:
    stage.round()
    work(stage)
    stage.supervisor._on_reload(signal.SIGHUP, None)
    stage.round()
    stage.round()
    first, second, _ = stage.processes
    assert [process.signals for process in stage.processes] == [[], [], []], "the first successor does not work yet"
    work(stage)
    stage.round()
    stage.round()
    assert (first.signals, second.signals) == ([signal.SIGHUP], [])
    assert len(stage.processes) == 3, "the first has not heard its signal yet"
    retire(stage, 0)
    stage.round()
    stage.round()
    assert second.signals == [], "the second successor does not work yet"
    assert len(stage.processes) == 4
    replace_second(stage)


def test_worn_processes_are_replaced_one_after_another_as_well(stage) -> None:
    stage.round()
    work(stage)
    for child in stage.supervisor._children:
        child.recorder.ask_to_retire()
    stage.round()
    stage.round()
    assert [process.signals for process in stage.processes] == [[], [], []]
    work(stage)
    stage.round()
    retire(stage, 0)
    stage.round()
    stage.round()
    replace_second(stage)


def test_a_worn_process_goes_on_while_no_successor_can_start(stage) -> None:
    stage.round()
    work(stage)
    stage.supervisor._children[0].recorder.ask_to_retire()
    for _ in range(5):
        stage.round()
        stage.end_last()
    assert stage.processes[0].signals == []
    assert stage.alive >= 2


def test_a_process_that_dies_before_its_turn_needs_no_other_successor(stage) -> None:
    stage.round()
    work(stage)
    stage.supervisor._children[1].recorder.ask_to_retire()
    stage.round()
    stage.round()
    stage.processes[1].returncode = 1
    work(stage)
    stage.round()
    stage.round()
    assert (stage.alive, len(stage.processes)) == (2, 3)


def test_an_end_is_reported_once_when_the_database_is_back(stage) -> None:
    stage.round()
    ended = stage.processes[:]
    stage.database_errors += [OperationalError("away")] * 2
    for process in ended:
        process.returncode = 1
    for _ in range(10):
        stage.round()
        stage.now += REPORT_PAUSE_SECONDS
    assert [report.worker_id for report in stage.reports] == [process.worker_id for process in ended]
    assert stage.database_errors == []


def test_reports_are_retried_with_a_pause_while_the_database_is_away(stage) -> None:
    stage.round()
    stage.database_errors += [OperationalError("away")] * 10
    stage.end_last()
    for _ in range(10):
        stage.round()
        stage.now += REPORT_PAUSE_SECONDS / 10
    assert len(stage.database_errors) == 9


def test_what_was_reported_before_the_database_went_away_is_not_reported_again(stage, monkeypatch) -> None:
    stage.round()
    for process in stage.processes:
        process.returncode = 1
    stage.supervisor._reap()
    first, second = stage.supervisor._ends

    def second_fails(worker_id: Any, **fields: Any) -> bool:
        if worker_id == second.worker_id and not failed:
            failed.append(True)
            raise OperationalError("away")
        return bool(stage.report_end(worker_id, **fields))

    failed: list[bool] = []
    monkeypatch.setattr(workers, "report_end", second_fails)
    stage.supervisor._report()
    stage.now += REPORT_PAUSE_SECONDS
    stage.supervisor._report()
    assert [report.worker_id for report in stage.reports] == [str(first.worker_id), str(second.worker_id)]


# --- The end ---


def test_a_stop_asks_all_to_end_and_says_that_they_did(stage) -> None:
    stage.round()
    for child in stage.supervisor._children:
        child.recorder.end_process(Ending.IN_ORDER)
    stage.supervisor._on_stop(signal.SIGTERM, None)
    assert stage.supervisor._stop() == 0
    assert [process.signals for process in stage.processes] == [[signal.SIGTERM]] * 2
    assert len(stage.reports) == 2
    assert {report.kind for report in stage.reports} == {"stopped"}


def test_a_second_signal_does_not_wait(stage, monkeypatch) -> None:
    monkeypatch.setattr(Process, "heeds", (signal.SIGKILL,))
    stage.round()
    stage.supervisor._stops = 2
    began = stage.now
    assert stage.supervisor._stop() == 1
    assert [process.signals for process in stage.processes] == [[signal.SIGTERM, signal.SIGKILL]] * 2
    assert stage.now - began < 5
    # The operator asked for it, so no task is to blame.
    assert {report.kind for report in stage.reports} == {"stopped"}


def test_a_process_that_has_not_ended_after_the_grace_period_and_a_while_is_killed(stage, monkeypatch) -> None:
    monkeypatch.setattr(Process, "heeds", (signal.SIGKILL,))
    stage.round()
    stage.supervisor._stops = 1
    began = stage.now
    assert stage.supervisor._stop() == 1
    assert stage.now - began >= 5 + module.LAST_SECONDS
    assert stage.alive == 0


def test_the_last_ends_are_reported_again_after_the_database_was_away(stage) -> None:
    stage.round()
    stage.database_errors += [OperationalError("away")] * 2
    stage.end_last()
    stage.round()
    stage.supervisor._stops = 1
    stage.supervisor._stop()
    assert len(stage.reports) == len(stage.processes) == 3


def test_a_database_that_stays_away_does_not_keep_the_supervisor_from_ending(stage) -> None:
    stage.round()
    stage.database_errors += [OperationalError("away")] * 100
    stage.supervisor._stops = 1
    assert stage.supervisor._stop() == 0


# --- Health ---


def test_health_names_a_process_that_gives_no_sign_of_life(stage, settings) -> None:
    settings.WORKER_LEASE_SECONDS = 15
    stage.round()
    first, second = (child.hang_detector for child in stage.supervisor._children)
    assert (stage.supervisor.faults(), stage.supervisor.is_working) == ([], False)
    first.is_working = True
    assert (stage.supervisor.is_working, stage.supervisor.is_complete) == (True, False)
    second.is_working = True
    assert stage.supervisor.is_complete
    second.silent_for = 9.0
    assert stage.supervisor.faults() == ["worker process 1 has given no sign of life for 9 s"]


def test_health_names_a_supervisor_that_stands_still(stage) -> None:
    stage.round()
    assert stage.supervisor.faults() == []
    stage.now += module.ROUND_SECONDS + 1
    assert stage.supervisor.faults() == ["the supervisor has stood still for 16 s"]
