"""Alerts of a real Prometheus that scrapes compose's stack: they fire when it breaks, and clear when it is mended."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.acceptance.test_compose import Stack, running
from tests.acceptance.test_prometheus import DEPLOY, Prometheus, require_prometheus, scraping
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

BROKEN = ("CallboardNoWorkers", "CallboardNoLeader", "CallboardDeadLetters")
#: Of a rule that looks back, so that it clears within the test.
WINDOW_SECONDS = 40
WORKERS = ("worker_high", "worker_medium", "worker_low")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    require_prometheus()
    alive = "SELECT count(*) FROM callboard_worker WHERE status = 'ALIVE'"
    few = {
        "WORKER_PROCESSES": "1",
        "WORKER_THREADS": "2",
        "WORKER_LEASE_SECONDS": "10",
        "HEARTBEAT_INTERVAL_SECONDS": "2",
    }
    with running(few, scale=dict.fromkeys(WORKERS, 1)) as stack:
        wait_until(lambda: stack.rows(alive) == [(len(WORKERS),)], timeout=240, interval=0.5)
        yield stack


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    rules = folder / "alerts.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "callboard", "rules": [*hasty_rules()]}]}))
    with scraping(stack, folder, rules=rules) as server:
        yield server


def hasty_rules() -> Iterator[dict[str, Any]]:
    """Give the rules as they are deployed, but for how long they wait and look back."""
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            if rule["alert"] in BROKEN:
                expr = rule["expr"].replace("[15m]", f"[{WINDOW_SECONDS}s]")
                yield {**rule, "expr": expr} | ({"for": "1s"} if "for" in rule else {})


def firing(prometheus: Prometheus) -> dict[str, str]:
    """Map the alerts that fire to their summaries."""
    alerts = prometheus.get("alerts")["alerts"]
    return {one["labels"]["alertname"]: one["annotations"]["summary"] for one in alerts if one["state"] == "firing"}


def await_firing(prometheus: Prometheus, *names: str) -> dict[str, str]:
    """Wait until these alerts fire, and no other of the three."""
    wait_until(
        lambda: set(firing(prometheus)) == set(names), timeout=120, interval=0.3, what=lambda: firing(prometheus)
    )
    return firing(prometheus)


def stop(stack: Stack, *services: str) -> None:
    for name in services:
        for container in stack.replicas(name):
            container.stop()


def start(stack: Stack, *services: str) -> None:
    for name in services:
        for container in stack.replicas(name):
            container.start()


def test_no_workers(stack: Stack, prometheus: Prometheus) -> None:
    await_firing(prometheus)
    stop(stack, *WORKERS)
    await_firing(prometheus, "CallboardNoWorkers")
    start(stack, *WORKERS)
    await_firing(prometheus)


def test_no_leader(stack: Stack, prometheus: Prometheus) -> None:
    await_firing(prometheus)
    stop(stack, "scheduler")
    await_firing(prometheus, "CallboardNoLeader")
    start(stack, "scheduler")
    await_firing(prometheus)


def test_dead_letters_of_an_actor_that_never_failed_before(stack: Stack, prometheus: Prometheus) -> None:
    await_firing(prometheus)
    tasks = [{"actor": "demo_fail", "max_retries": 0, "priority": "high"}] * 30
    stack.call("/api/v1/tasks/bulk", {"tasks": tasks})
    (summary,) = await_firing(prometheus, "CallboardDeadLetters").values()
    assert "tasks of demo_fail died" in summary
    await_firing(prometheus)
