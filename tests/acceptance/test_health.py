"""Health checks of real processes: red while something in them does not turn, green otherwise."""

import json
from functools import partial
from typing import Any
from urllib.request import urlopen

import pytest

from scheduler_site.embedded.processes import free_port
from tests.acceptance.harness.processes import pause, resume
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

#: Long enough that a check sees a silent worker process before the supervisor replaces it.
SLOW_LEASE = {"WORKER_LEASE_SECONDS": "6", "HEARTBEAT_INTERVAL_SECONDS": "1"}


@pytest.fixture
def env(rig: Rig) -> dict[str, str]:
    # No task runs here, so there is no verdict on any.
    rig.was_verified = True
    return {"HEALTH_DIR": str(rig.folder / "health")}


def health(rig: Rig, env: dict[str, str], *words: str) -> tuple[int, str]:
    """Run the check of a container."""
    answer = rig.run("-m", "tasks.healthcheck", *words, env=env)
    return answer.returncode, answer.stdout.strip() + answer.stderr.strip()


def is_well(rig: Rig, env: dict[str, str], *words: str) -> bool:
    return health(rig, env, *words)[0] == 0


def test_every_process_becomes_well_and_ready(rig: Rig, env: dict[str, str]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    rig.start_scheduler(env={**env, "HEALTH_ADDRESS": f"127.0.0.1:{port}"})
    rig.start_workers(processes=2, env=env)
    rig.start_api(env=env)
    for process in ("scheduler", "workers", "api"):
        for page in ("", "--started", "--ready"):
            words = [process, page] if page else [process]
            wait_until(partial(is_well, rig, env, *words), timeout=40, interval=0.2, what=f"{process} {page}")
    facts: Any = json.loads(rig.run("manage.py", "callboard", "healthcheck", "--ready", "--json", env=env).stdout)
    assert {one["process"] for one in facts} == {"api", "scheduler", "workers"}
    ready = next(one for one in facts if one["process"] == "workers")
    assert set(ready["components"]) == {"database", "migrations", "broker", "scheduler", "processes"}
    for path in ("/healthz", "/startupz", "/readyz"):
        with urlopen(url + path, timeout=5) as answer:
            assert answer.status == 200
    rig.stop()
    assert health(rig, env, "workers") == (1, f"workers is not running: nothing answers in {env['HEALTH_DIR']}")


def test_a_stopped_worker_process_makes_its_container_red_until_it_is_replaced(rig: Rig, env: dict[str, str]) -> None:
    rig.start_scheduler(env=env)
    workers = rig.start_workers(processes=2, env={**env, **SLOW_LEASE})
    wait_until(lambda: is_well(rig, env, "workers", "--started"), timeout=40, interval=0.2)
    stopped = workers.children()[0]
    pause(stopped)
    silent = f"worker process {stopped} has given no sign of life"
    wait_until(lambda: silent in health(rig, env, "workers")[1], timeout=10, interval=0.1, what="a red check")
    wait_until(lambda: is_well(rig, env, "workers", "--started"), timeout=40, interval=0.2, what="a new process")
    assert stopped not in workers.children()


@pytest.mark.parametrize("kind", ["scheduler", "workers"])
def test_a_stopped_process_gives_no_answer(rig: Rig, env: dict[str, str], kind: str) -> None:
    process = rig.start_scheduler(env=env) if kind == "scheduler" else rig.start_workers(env=env)
    wait_until(lambda: is_well(rig, env, kind, "--started"), timeout=40, interval=0.2)
    pause(process.pid)
    assert health(rig, env, kind, "--seconds", "1") == (1, f"{kind} (pid {process.pid}) gives no answer")
    resume(process.pid)
    wait_until(lambda: is_well(rig, env, kind), timeout=20, interval=0.2)


def test_a_broker_that_is_away_costs_readiness_and_not_life(rig: Rig, env: dict[str, str]) -> None:
    rig.start_workers(env=env)
    rig.start_scheduler(env=env)
    wait_until(lambda: is_well(rig, env, "scheduler", "--ready"), timeout=40, interval=0.2)
    rig.redis.stop(immediate=True)
    wait_until(lambda: "broker is down" in health(rig, env, "scheduler", "--ready")[1], timeout=20, interval=0.2)
    for _ in range(5):
        assert is_well(rig, env, "scheduler")
        assert is_well(rig, env, "workers")
