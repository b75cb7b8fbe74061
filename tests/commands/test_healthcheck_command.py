"""``callboard healthcheck``."""

import os

import pytest

from tasks.telemetry.health import Health
from tests.commands.cli import callboard, callboard_json, refused


@pytest.fixture
def workers(tmp_path, settings):
    settings.HEALTH_DIR = tmp_path
    health = Health("workers", components=lambda: {"database": "ok"})
    health.serve()
    yield health
    health.stop()


def test_a_process_that_is_well(workers) -> None:
    workers.started(list)
    assert callboard("healthcheck", "workers", "--ready") == f"workers (pid {os.getpid()}) is well\n"
    (facts,) = callboard_json("healthcheck", "--ready")
    assert facts == {
        "status": "ok", "process": "workers", "pid": os.getpid(), "faults": [], "components": {"database": "ok"},
    }  # fmt: skip


def test_a_process_that_is_not(workers) -> None:
    workers.started(lambda: ["the supervisor has stood still for 20 s"])
    message, _ = refused("healthcheck")
    assert message == f"workers (pid {os.getpid()}): the supervisor has stood still for 20 s"


def test_a_process_that_does_not_run(workers) -> None:
    message, printed = refused("healthcheck", "scheduler", "--json")
    assert message.startswith("scheduler is not running")
    assert '"status": "not running"' in printed
