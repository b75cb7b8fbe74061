"""Fixtures for the parts of a worker."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.worker import consumer, open_transactions
from tasks.worker.heartbeat import Heartbeat
from tasks.worker.interrupter import Interrupter
from tests.worker.manual import ManualWorker
from tests.worker.parts import Parts


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def heartbeat(parts: Parts) -> Heartbeat:
    return Heartbeat(parts.inflight, parts.interrupter, parts.completer, parts.drain)


@pytest.fixture
def lone(idle_engine: Any) -> Iterator[Any]:
    """Start a worker without a scheduler, whose heartbeat is in the test's hands."""
    idle_engine.start_worker(threads=2)
    idle_engine.runtime.heartbeat.stop()
    yield idle_engine
    idle_engine.runtime.heartbeat._trusted_until = float("inf")


@pytest.fixture
def manual(idle_engine, monkeypatch) -> ManualWorker:
    monkeypatch.setattr(consumer, "PAUSE_AFTER_ERROR_SECONDS", 0.02)
    return ManualWorker(idle_engine.broker)


@pytest.fixture
def interrupter() -> Iterator[Interrupter]:
    started = Interrupter()
    started.start()
    yield started
    started.stop()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the log lines about transactions that were left open."""
    said: list[dict[str, Any]] = []

    def say(event: str, **more: Any) -> None:
        said.append({"event": event, **more})

    monkeypatch.setattr(open_transactions, "log", SimpleNamespace(warning=say, exception=say))
    return said
