"""Compose's stack under a real Prometheus: every process is scraped, the sums are right, every query has an answer."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from django.conf import settings

from examples.grpc_client.client import Client
from scheduler_site.embedded.processes import free_port
from tests.acceptance.test_compose import Stack, running
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DEPLOY = Path(settings.BASE_DIR, "deploy")
SERVICES = ("api", "grpc", "scheduler", "worker_high", "worker_medium", "worker_low")
#: Tasks that succeed, that fail once and for all, and that are tried twice.
GOOD, BAD, RETRIED = 60, 3, 2
#: Two containers for the high band and one for each other, of two processes of two threads.
WORKERS, THREADS = 8, 16
#: What has no series, because nothing of it has happened here.
NOTHING = re.compile(r'callboard_(server_errors|rate_limited)_total|rescue\|requeue|5\.\.|code!="OK"')


class Prometheus(NamedTuple):
    """A server that scrapes a stack."""

    url: str

    def get(self, path: str, **query: str) -> Any:
        """Ask its API."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def results(self, query: str) -> list[Any]:
        """Give all rows of a query."""
        found: list[Any] = self.get("query", query=query)["result"]
        return found

    def value(self, query: str) -> float:
        """Give the one value of a query; minus 1 if there is none."""
        found = self.results(query)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else -1


def require_prometheus() -> None:
    """Skip the test without Prometheus; in CI fail."""
    if shutil.which("prometheus") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("prometheus is missing: apt install prometheus")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Run compose's services, each worker with two processes, and give them something to do."""
    require_prometheus()
    alive = "SELECT count(*) FROM callboard_worker WHERE status = 'ALIVE'"
    with running(
        {"WORKER_PROCESSES": "2", "WORKER_THREADS": "2"}, scale={"worker_medium": 1, "worker_low": 1}
    ) as stack:
        wait_until(lambda: stack.rows(alive) == [(WORKERS,)], timeout=240, interval=0.5)
        yield stack


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with scraping(stack, folder, rules=DEPLOY / "prometheus" / "alerts.yml") as server:
        work(stack)
        yield server


@contextmanager
def scraping(stack: Stack, folder: Path, *, rules: Path) -> Iterator[Prometheus]:
    """Run a server in a folder that scrapes every process of a stack each second; wait until it has."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {
                "job_name": "callboard",
                "static_configs": [
                    {
                        "labels": {"process": name},
                        "targets": [f"127.0.0.1:{one.metrics_port}" for one in stack.replicas(name)],
                    }
                    for name in SERVICES
                ],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        targets = sum(len(stack.replicas(name)) for name in SERVICES)
        wait_until(lambda: _is_up(server, targets), timeout=60, interval=0.5, what=(folder / "log").read_text)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _is_up(server: Prometheus, targets: int) -> bool:
    try:
        urlopen(f"{server.url}/-/ready", timeout=10).close()
    except OSError:
        # It does not listen yet, or reads its files and answers by 503.
        return False
    return server.value('sum(up{job="callboard"})') == targets


def work(stack: Stack) -> None:
    """Submit through both doors, and wait until all has ended."""
    bands = ("high", "medium", "low")
    tasks: list[dict[str, Any]] = [{"actor": "demo_ok", "priority": bands[number % 3]} for number in range(GOOD - 1)]
    tasks += [{"actor": "demo_fail", "max_retries": 0, "priority": "high"}] * BAD
    tasks += [{"actor": "demo_fail", "max_retries": 1, "min_backoff_seconds": 1, "priority": "low"}] * RETRIED
    stack.call("/api/v1/tasks/bulk", {"tasks": tasks})
    Client(f"127.0.0.1:{stack.grpc_port}", token=stack.credentials["API_TOKEN"]).submit("demo_ok", {})
    ended = "SELECT count(*) FROM callboard_task WHERE status IN ('SUCCEEDED', 'DEAD')"
    wait_until(lambda: stack.rows(ended) == [(GOOD + BAD + RETRIED,)], timeout=60, interval=0.3)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum(jobs_submitted_total)", GOOD + BAD + RETRIED),
        ('sum(jobs_submitted_total{process="grpc"})', 1),
        ('sum(jobs_completed_total{status="SUCCEEDED"})', GOOD),
        ('sum(jobs_completed_total{status="DEAD"})', BAD + RETRIED),
        ("sum(job_retries_total)", RETRIED),
        ("sum(callboard_attempts_total)", GOOD + BAD + 2 * RETRIED),
        ("sum(job_execution_seconds_count)", GOOD + BAD + 2 * RETRIED),
        ("sum(job_queue_latency_seconds_count)", GOOD + BAD + 2 * RETRIED),
        ("sum(max by (actor) (dead_letters))", BAD + RETRIED),
        ("sum(worker_threads)", THREADS),
        ("max(callboard_registered_threads)", THREADS),
        ("sum(worker_busy_threads)", 0),
        ("max(active_workers)", WORKERS),
        ("count(callboard_leader_term > 0)", 1),
        ("sum(max by (queue, band) (callboard_unserved_tasks)) or vector(0)", 0),
        ('sum(http_request_duration_seconds_count{view="api-task-bulk",status="201"})', 1),
        ("sum(grpc_request_duration_seconds_count{method=~'.*SubmitTask'})", 1),
        ("count(callboard_build_info)", 8),
    ],
)
def test_the_sums_over_all_processes_are_right(prometheus: Prometheus, query: str, expected: float) -> None:
    wait_until(
        lambda: prometheus.value(query) == expected, timeout=30, interval=0.3, what=lambda: prometheus.value(query)
    )


def _queries() -> list[str]:
    dashboards = [json.loads(file.read_text()) for file in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
    return [target["expr"] for one in dashboards for panel in one["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("query", _queries())
def test_each_query_of_the_dashboards_has_an_answer(prometheus: Prometheus, query: str) -> None:
    if NOTHING.search(query):
        assert prometheus.results(query) == []
    else:
        wait_until(lambda: prometheus.results(query), timeout=30, interval=0.3, what=query)


def test_each_rule_is_evaluated_and_none_fires(prometheus: Prometheus) -> None:
    def rules() -> list[Any]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), timeout=60)
    assert {rule["name"]: rule["lastError"] for rule in rules() if rule["health"] != "ok"} == {}
    # Tasks died on purpose, of which one rule tells.
    assert {rule["name"] for rule in rules() if rule["state"] == "firing"} <= {"CallboardAttemptsFail"}


def test_a_process_that_ends_keeps_its_counts_and_loses_its_gauges(prometheus: Prometheus, stack: Stack) -> None:
    """Run last: a worker process is killed."""
    ended = "sum(jobs_completed_total)"
    ((pid,), *_) = stack.rows("SELECT pid FROM callboard_worker WHERE status = 'ALIVE'")
    os.kill(pid, 9)
    wait_until(lambda: prometheus.value("sum(worker_threads)") == THREADS - 2, timeout=20, interval=0.2)
    assert prometheus.value(ended) == GOOD + BAD + RETRIED
    wait_until(lambda: prometheus.value("sum(worker_threads)") == THREADS, timeout=60, interval=0.2)
    assert prometheus.value(ended) == GOOD + BAD + RETRIED
