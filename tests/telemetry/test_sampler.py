"""What processes sample of themselves: gauges of workers and of schedulers, and none of what has ended."""

from typing import Any

import pytest

from tasks.models import Task
from tasks.queries.due import Lane
from tasks.scheduler.dispatcher import DueTasks
from tasks.telemetry import metrics
from tasks.telemetry.sampler import Sampler
from tests.waiting import wait_until


def value(name: str, **labels: str) -> float | None:
    """Read a gauge of this process."""
    for metric in (
        metrics.worker_threads,
        metrics.busy_threads,
        metrics.leader_term,
        metrics.scheduler_lag,
        metrics.window,
    ):
        for family in metric.collect():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
    return None


def test_a_sample_that_fails_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.telemetry.sampler.SAMPLE_SECONDS", 0.001)
    calls: list[str] = []

    def sample() -> None:
        calls.append("sample")
        if len(calls) == 1:
            raise ZeroDivisionError

    sampler = Sampler(sample, clear=lambda: calls.append("clear"))
    sampler.start()
    wait_until(lambda: calls.count("sample") > 1)
    sampler.stop()
    assert calls[-1] == "clear"


def test_a_worker_and_a_leader_say_how_they_are(engine: Any, alice: Any) -> None:
    engine.wait_for(Task.objects.get(pk=alice.submit(payload={"do": "return"}).json()["id"]))
    assert wait_until(lambda: value("worker_threads")) == 4
    assert wait_until(lambda: value("callboard_leader_term"))
    assert wait_until(lambda: value("callboard_window_hints", queue="default", band="medium") is not None)


def test_the_lag_is_that_of_the_first_task_that_a_worker_can_run() -> None:
    served, unserved = Lane("default", 5), Lane("other", 5)
    due = DueTasks({served: []}, {served: 7.0, unserved: 90.0}, {served: 7.0, unserved: 90.0})
    assert due.lag_seconds == 7
    assert DueTasks({}, {served: -3.0}, {served: -3.0}).lag_seconds == 0
