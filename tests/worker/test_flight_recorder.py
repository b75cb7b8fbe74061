"""The flight recorder: what a process was running, read from outside."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings

from tasks.models import new_id
from tasks.worker import flight_recorder
from tasks.worker.flight_recorder import FlightRecorder

NOW = datetime(2030, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture
def flight() -> Any:
    made = FlightRecorder.create(threads=2)
    yield made
    made.close()


def states(flight: FlightRecorder) -> dict[str, str]:
    kinds = {(False, False): "running", (True, False): "stuck", (False, True): "ended"}
    return {one.key: kinds[one.is_stuck, one.has_ended] for one in flight.read()}


def test_a_new_recorder_is_empty(flight) -> None:
    assert flight.read() == []


def test_a_life_is_running_then_ended_then_forgotten(flight) -> None:
    id = new_id()
    flight.start((id, 3), NOW)
    assert [(one.key, one.since) for one in flight.read()] == [(f"{id}:3", NOW)]
    assert states(flight) == {f"{id}:3": "running"}
    flight.end((id, 3))
    assert states(flight) == {f"{id}:3": "ended"}
    flight.forget((id, 3))
    assert flight.read() == []


def test_a_task_that_resists_is_marked_stuck(flight) -> None:
    id = new_id()
    flight.start((id, 1), NOW)
    flight.mark_stuck((id, 1))
    assert states(flight) == {f"{id}:1": "stuck"}


def test_a_task_that_never_started_can_be_ended_and_forgotten(flight) -> None:
    flight.end((new_id(), 1))
    flight.mark_stuck((new_id(), 1))
    flight.forget((new_id(), 1))
    assert flight.read() == []


def test_records_are_used_again(flight, monkeypatch) -> None:
    for number in range(3 * flight._size):
        key = (new_id(), number)
        flight.start(key, NOW + timedelta(seconds=number))
        flight.forget(key)
    assert flight.read() == []
    assert len(flight._free) == flight._size


def test_there_is_room_for_all_that_may_run_and_wait_to_be_written(flight) -> None:
    from tasks.worker.completer import MOST_WAITING
    from tasks.worker.slots import MOST_LOOKAHEAD

    assert flight_recorder._RECORDS_FOR_ENDED >= MOST_WAITING + MOST_LOOKAHEAD
    for number in range(flight._size):
        flight.start((new_id(), number), NOW)
    assert len(flight.read()) == flight._size


def test_a_torn_record_does_not_count(flight) -> None:
    # Everything except the state byte, which is written last.
    id = new_id()
    flight.start((id, 1), NOW)
    flight._memory[flight._records[id, 1] * 32] = 0
    assert flight.read() == []


def test_it_outlives_a_process_that_is_killed() -> None:
    flight, id = FlightRecorder.create(threads=2), new_id()
    child = (
        "import os, signal\n"
        "from datetime import UTC, datetime\n"
        "from uuid import UUID\n"
        "from tasks.worker.flight_recorder import FlightRecorder\n"
        f"flight = FlightRecorder({flight.descriptor}, threads=2)\n"
        f"flight.start((UUID('{id}'), 2), datetime(2030, 1, 1, tzinfo=UTC))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", child], pass_fds=(flight.descriptor,), cwd=settings.BASE_DIR, timeout=30
    )
    assert ended.returncode == -signal.SIGKILL
    assert states(flight) == {f"{id}:2": "running"}
    flight.close()


def test_a_full_disk_is_found_out_when_the_recorder_is_made(monkeypatch) -> None:
    # Otherwise SIGBUS would kill the process when it records its first task.
    asked: list[tuple[int, int]] = []

    def allocate(descriptor: int, offset: int, length: int) -> None:
        asked.append((offset, length))
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with pytest.raises(OSError, match="No space left"):
        FlightRecorder.create(threads=2)
    assert asked == [(0, (2 + flight_recorder._RECORDS_FOR_ENDED) * 32 + 3)]


def test_a_process_asks_to_retire_and_records_that_it_does(flight) -> None:
    assert (flight.asks_to_retire, flight.is_retiring) == (False, False)
    flight.ask_to_retire()
    assert (flight.asks_to_retire, flight.is_retiring) == (True, False)
    flight.start((new_id(), 1), NOW)
    flight.retire()
    flight.ask_to_retire()
    assert (flight.asks_to_retire, flight.is_retiring) == (False, True)
    assert len(flight.read()) == 1
