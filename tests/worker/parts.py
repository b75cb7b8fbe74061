"""Fakes of a worker's parts, for tests of the heartbeat and the watchdog."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from dramatiq.middleware import Interrupt

from tasks.models import new_id
from tasks.worker.flight_recorder import Ending

Key = tuple[UUID, int]


class FakeInflight:
    """Holds keys in place of executions."""

    def __init__(self) -> None:
        self.worker_id = new_id()
        self.held: set[Key] = set()

    @property
    def keys(self) -> list[Key]:
        return list(self.held)

    def __contains__(self, key: Key) -> bool:
        return key in self.held

    def get(self, key: Key) -> Key:
        return key


class FakeInterrupter:
    """Collects what it should interrupt."""

    is_alive = True
    running = 0

    def __init__(self) -> None:
        self.interrupted: list[Key] = []
        self.fences: list[type[Interrupt]] = []

    def interrupt(self, execution: Any, reason: type[Interrupt]) -> None:
        self.interrupted.append(execution)

    def interrupt_all(self, reason: type[Interrupt]) -> None:
        self.fences.append(reason)


class FakeDrain:
    """Counts how often the process should retire."""

    def __init__(self) -> None:
        self.has_begun = self.is_due = self.is_ignored = self.is_retiring = False
        self.retirements = 0

    def retire(self) -> None:
        self.retirements += 1
        self.has_begun = True

    def ask_if_worn(self) -> None:
        pass

    def end_if_retired(self) -> None:
        pass


class FakeRecorder:
    """Collects the reasons for which the process ends."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []

    def end_process(self, ending: Ending) -> None:
        self.endings.append(ending)

    def tick(self) -> None:
        pass

    def stop_ticking(self) -> None:
        pass


class Parts:
    """One fake of each part."""

    def __init__(self) -> None:
        self.inflight: Any = FakeInflight()
        self.interrupter: Any = FakeInterrupter()
        self.drain: Any = FakeDrain()
        self.recorder: Any = FakeRecorder()
        self.completer: Any = SimpleNamespace(
            is_alive=True, stalled_for=0, is_writing=False, unwritten=lambda older_than_seconds: []
        )
