"""Metrics for Prometheus: who may read them, what is counted, and that no process's counts get lost."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import DatabaseError
from django.utils.timezone import now

from tasks.circuit_breaker import CircuitBreaker
from tasks.errors import BrokerUnavailable
from tasks.lifecycle import Moved
from tasks.models import Queue
from tasks.states import Status
from tasks.telemetry import database_gauges, labels, metrics, shared_files
from tests import factories
from tests.callers import assert_problem

#: Counts ``sys.argv[1]`` tasks of an actor in a process of its own, which then ends.
COUNTING = """
import sys, django
django.setup()
from tasks.telemetry import metrics
metrics.submitted.labels(sys.argv[2], "default").inc(int(sys.argv[1]))
metrics.execution.labels(sys.argv[2]).observe(0.2)
metrics.worker_threads.set(4)
"""


@pytest.fixture(autouse=True)
def _fresh_gauges(monkeypatch):
    monkeypatch.setattr(metrics.gauges, "_asked_at", float("-inf"))


@pytest.fixture
def of_its_own(settings, tmp_path):
    """Give a folder for the counters of this test alone."""
    settings.METRICS_DIR = str(tmp_path)
    return tmp_path


def figures() -> dict[str, float]:
    found = figures_of(metrics.render().decode())
    found.pop("callboard_gauges_age_seconds", None)
    return found


def figures_of(page: str) -> dict[str, float]:
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def count_elsewhere(folder: Path, count: int, actor: str = "elsewhere") -> None:
    subprocess.run(
        [sys.executable, "-c", COUNTING, str(count), actor],
        check=True,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "scheduler_site.settings",
            "METRICS_DIR": str(folder),
        },
        cwd=settings.BASE_DIR,
    )


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
def test_metrics_are_read_with_a_token_of_staff(staff, worker, path):
    response = staff.get(path)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert "active_workers 1.0" in response.content.decode()


def test_a_tasks_life_is_counted(worker, django_capture_on_commit_callbacks):
    before = figures()
    with django_capture_on_commit_callbacks(execute=True):
        for status in (Status.SUCCEEDED, Status.DEAD):
            factories.make_task(status, worker=worker)
    after = figures()

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown('jobs_submitted_total{actor="act",queue="default"}') == 2
    assert grown('jobs_completed_total{actor="act",queue="default",status="SUCCEEDED"}') == 1
    assert grown('jobs_completed_total{actor="act",queue="default",status="DEAD"}') == 1
    assert grown('job_execution_seconds_count{actor="act"}') == 2
    assert grown('callboard_moves_total{verb="claim"}') == 2
    assert grown('job_queue_latency_seconds_count{queue="default"}') == 2
    assert grown('job_retries_total{actor="act",queue="default"}') == 0


def test_retries_are_counted(worker, django_capture_on_commit_callbacks):
    before = figures()
    with django_capture_on_commit_callbacks(execute=True):
        factories.make_task(Status.RETRYING, worker=worker)
    name = 'job_retries_total{actor="act",queue="default"}'
    assert figures()[name] == before.get(name, 0) + 1


def test_an_actor_that_never_failed_has_counts_of_0_so_that_its_first_failures_are_an_increase():
    metrics.begin_failures_at_zero()
    found = figures_of(metrics.render_counters().decode())
    for name in ("demo_hang", "act"):
        for series in ("callboard_attempts_total", "jobs_completed_total"):
            queue = ',queue="default"' if series.startswith("jobs") else ""
            assert f'{series}{{actor="{name}"{queue},status="DEAD"}}' in found
        assert f'callboard_attempts_total{{actor="{name}",status="RETRYING"}}' in found


def test_latency_counts_from_when_a_task_was_due(worker, django_capture_on_commit_callbacks):
    before = figures()
    task = factories.submit()
    factories.make_due(task)
    with django_capture_on_commit_callbacks(execute=True):
        factories.claim(factories.dispatch(task), worker=worker)
    name = 'job_queue_latency_seconds_sum{queue="default"}'
    assert figures()[name] - before.get(name, 0) > 86_400


def test_names_that_no_code_declares_share_a_label(db):
    hostile = 'x"} 1\n# {'
    before = figures()
    moves = [Moved(uuid4(), "PENDING", f"{hostile}{number}", f"{hostile}{number}", "") for number in range(100)]
    metrics._count(verb="submit", moves=moves)
    after = figures()
    name = 'jobs_submitted_total{actor="other",queue="other"}'
    assert after[name] - before.get(name, 0) == 100
    assert after.keys() - before.keys() <= {name, 'callboard_moves_total{verb="submit"}'}


def test_ten_thousand_queues_have_a_bounded_number_of_series(worker):
    Queue.objects.bulk_create(Queue(name=f"q{number:05}", paused_at=now()) for number in range(10_000))
    seen = figures()
    paused = [name for name in seen if name.startswith("callboard_queue_paused{")]
    assert len(paused) == labels.MOST_NAMES


def test_of_many_names_the_same_have_labels_in_every_process():
    declared = labels.Declared(lambda: (f"n{number:05}" for number in reversed(range(10_000))), version=lambda: 1)
    assert {declared(f"n{number:05}") for number in range(10_000)} == {
        *(f"n{number:05}" for number in range(labels.MOST_NAMES)),
        "other",
    }


def test_an_empty_queue_is_0_and_not_absent(worker):
    seen = figures()
    assert seen['queue_size{queue="default",status="PENDING"}'] == 0
    assert seen['queue_oldest_age_seconds{band="low",queue="default"}'] == 0
    assert seen['callboard_queue_paused{queue="default"}'] == 0
    assert seen['dead_letters{actor="act"}'] == 0


def test_due_tasks_of_a_paused_queue_do_wait_for_nobody(db):
    factories.make_due(factories.submit())
    Queue.objects.filter(name="default").update(paused_at=now())
    seen = figures()
    assert seen['callboard_unserved_tasks{band="medium",queue="default"}'] == 0
    assert seen['callboard_queue_paused{queue="default"}'] == 1


def test_due_tasks_that_no_live_worker_can_run_are_a_gauge(db):
    factories.make_due(factories.submit())
    assert figures()['callboard_unserved_tasks{band="medium",queue="default"}'] == 1


def test_a_task_that_a_live_worker_can_run_is_not_unserved(worker):
    factories.make_due(factories.submit())
    assert figures()['callboard_unserved_tasks{band="medium",queue="default"}'] == 0


def test_a_process_that_has_ended_has_no_gauges(db, of_its_own, monkeypatch):
    count_elsewhere(of_its_own, 1)
    counter = next(of_its_own.glob("counter_*.db"))
    assert list(of_its_own.glob("gauge_livesum_*.db"))
    assert "worker_threads" not in figures()
    monkeypatch.setattr(shared_files, "FOLD_FROM", 1)
    shared_files.fold_ended()
    assert not counter.exists()
    assert not list(of_its_own.glob("gauge_*"))


def test_waiting_tasks_are_a_gauge(worker):
    factories.make_due(factories.submit())
    factories.make_task(Status.RUNNING, worker=worker)
    factories.make_task(Status.DEAD, worker=worker)
    seen = figures()
    assert seen['queue_size{queue="default",status="PENDING"}'] == 1
    assert seen['queue_size{queue="default",status="RUNNING"}'] == 1
    assert seen['queue_oldest_age_seconds{band="medium",queue="default"}'] > 86_400
    assert seen['dead_letters{actor="act"}'] == 1
    assert (seen["active_workers"], seen["callboard_registered_threads"]) == (1, 4)


def test_every_process_counts(db, of_its_own):
    for count in (1, 2, 4):
        count_elsewhere(of_its_own, count)
    assert figures()['jobs_submitted_total{actor="elsewhere",queue="default"}'] == 7


def test_files_of_ended_processes_become_one_and_the_sums_stay(db, of_its_own, monkeypatch):
    for actor in ("one", "two", "two"):
        count_elsewhere(of_its_own, 2, actor)
    before = figures()
    monkeypatch.setattr(shared_files, "FOLD_FROM", 12)
    assert shared_files.fold_ended() == 12
    assert sorted(path.name for path in of_its_own.glob("*.db")) == ["counter_folded.db", "histogram_folded.db"]
    assert figures() == before
    count_elsewhere(of_its_own, 3, "two")
    monkeypatch.setattr(shared_files, "FOLD_FROM", 1)
    assert shared_files.fold_ended() == 4
    after = figures()
    assert after['jobs_submitted_total{actor="two",queue="default"}'] == 7
    assert after['job_execution_seconds_bucket{actor="two",le="0.25"}'] == 3


def test_files_of_the_living_are_left_alone(db, of_its_own, monkeypatch):
    count_elsewhere(of_its_own, 1)
    (of_its_own / "counter_1.db").write_bytes(next(of_its_own.glob("counter_*.db")).read_bytes())
    monkeypatch.setattr(shared_files, "FOLD_FROM", 1)
    assert shared_files.fold_ended() == 4
    assert (of_its_own / "counter_1.db").exists()


def test_a_few_files_are_not_worth_it(db, of_its_own):
    count_elsewhere(of_its_own, 1)
    assert shared_files.fold_ended() == 0


def test_metrics_survive_a_database_that_is_away(db, monkeypatch):
    def fail():
        raise DatabaseError("away")

    monkeypatch.setattr(database_gauges, "_read_gauges", fail)
    assert metrics.render() is not None


@pytest.mark.parametrize(
    ("path", "method", "labels"),
    [
        ("/api/v1/tasks", "GET", 'method="GET",status="200",view="api-tasks"'),
        ("/api/v1/tasks/00000000-0000-7000-8000-000000000000", "GET", 'method="GET",status="404",view="api-task"'),
        ("/made-up/by/somebody", "GET", 'method="GET",status="404",view="none"'),
        ("/made-up/by/somebody", "FROBNICATE", 'method="other",status="404",view="none"'),
        ("/admin/", "GET", 'method="GET",status="302",view="admin:index"'),
    ],
)
def test_requests_are_timed_by_view_and_not_by_path(staff, path, method, labels):
    before = figures()
    staff.generic(method, path)
    name = f"http_request_duration_seconds_count{{{labels}}}"
    assert figures()[name] == before.get(name, 0) + 1


def test_errors_of_servers_are_counted(db):
    before = figures()
    metrics.count_error(DatabaseError(), part="completer")
    metrics.count_error(BrokerUnavailable("away"), part="dispatcher")
    after = figures()
    for labels_ in ('part="completer",server="database"', 'part="dispatcher",server="broker"'):
        name = f"callboard_server_errors_total{{{labels_}}}"
        assert after[name] == before.get(name, 0) + 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.0.0.53", "::ffff:127.0.0.1", "192.0.2.1", ""])
def test_wherever_a_scrape_comes_from_it_needs_a_permission(nobody, alice, staff, address):
    """A proxy on this machine that adds no header once made everybody local."""
    assert_problem(nobody.get("/metrics", REMOTE_ADDR=address), 401, code="not_authenticated")
    assert_problem(alice.get("/metrics", REMOTE_ADDR=address), 403, code="not_allowed")
    assert staff.get("/metrics", REMOTE_ADDR=address).status_code == 200


def test_metrics_are_not_posted(staff):
    assert_problem(staff.post("/metrics"), 405)


def test_a_server_that_is_not_asked_is_a_gauge(db):
    breaker = CircuitBreaker("a test's", lambda: None)
    assert figures()['callboard_circuit_open{server="a test\'s"}'] == 0
    breaker._was_tripped = True
    assert figures()['callboard_circuit_open{server="a test\'s"}'] == 1
    assert 'callboard_circuit_open{server="database"}' in figures()
