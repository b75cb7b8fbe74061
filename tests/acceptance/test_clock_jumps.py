"""F11: the clock of one process jumps by two minutes, forward or back."""

import json
import time
from datetime import datetime

import pytest

from tests.acceptance.harness.clock import NEEDS, Clock
from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.rig import Rig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Clock.is_available(), reason=NEEDS),
]

FAULT = "F11"
DELAY_SECONDS = 4


def clock_of(process: Process) -> float:
    """Read the time of a process's last log line."""
    lines = [line for line in process.log.read_text().splitlines() if line.startswith("{")]
    return datetime.fromisoformat(json.loads(lines[-1])["timestamp"]).timestamp() if lines else time.time()


@pytest.mark.parametrize("jump", [120, -120], ids=["forward", "back"])
@pytest.mark.parametrize("victim", ["scheduler", "workers", "api"])
def test_leases_and_due_times_are_not_moved_by_a_jump_of(rig: Rig, victim: str, jump: int) -> None:
    clock = Clock(rig.folder)
    env = {name: clock.variables if name == victim else {} for name in ("scheduler", "workers", "api")}
    rig.start_scheduler(env=env["scheduler"])
    rig.start_scheduler()
    rig.start_workers(threads=4, env=env["workers"])
    rig.start_workers(threads=4)
    rig.await_workers(2)
    api = rig.start_api(env=env["api"])
    running = rig.client.submit("last", count=4, seconds=5)
    rig.await_starts(running)
    later = [{"actor": "effect", "delay_seconds": DELAY_SECONDS}] * 5
    rig.client.submit_all(later)
    began = time.monotonic()
    clock.jump(jump)
    rig.client.submit_all(later)
    assert api.submit("fail", count=5, times=1).status == 201
    assert api.submit("effect", count=5).status == 201
    rig.client.submit("effect", count=5)
    rig.settle(40)
    assert time.monotonic() - began < 30, "a process waited for the wrong clock"
    assert all(row.status == "ALIVE" for row in rig.database.workers()), "a lease was lost"
    rig.verify(within=10)
    process = next(one for one in rig.processes if one.name == f"{victim}-1")
    assert abs(clock_of(process) - time.time() - jump) < 30, "the clock did not jump"
    assert set(rig.effects().values()) == {1}
    assert {row.crashes for row in rig.database.snapshot().tasks} == {0}
