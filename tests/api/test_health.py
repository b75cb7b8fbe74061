"""Probes: open to everybody, useful to an orchestrator, and silent about anything secret."""

import threading
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor

from tasks import circuit_breaker
from tasks.contract import readiness
from tasks.db import server
from tasks.errors import BrokerUnavailable
from tasks.models import Lease, Worker, new_id
from tasks.scheduler.leadership import LEASE
from tests import factories
from tests.callers import assert_problem

pytestmark = pytest.mark.usefixtures("fresh_breakers")

EVERYTHING = ["/healthz", "/readyz", "/health"]


@pytest.fixture
def no_database(monkeypatch):
    def fail(*args, **kwargs):
        raise OperationalError("could not connect to host db.internal")

    monkeypatch.setattr(server, "connection", SimpleNamespace(cursor=fail, close=lambda: None))


def _broker(monkeypatch, ping):
    broker: Any = dramatiq.get_broker()
    monkeypatch.setattr(broker.source, "ping", ping)


@pytest.mark.parametrize("path", [*EVERYTHING, *(f"{path}/" for path in EVERYTHING)])
def test_probes_are_open(nobody, path):
    response = nobody.get(path)
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert nobody.head(path).status_code == 200


@pytest.mark.parametrize("host", ["10.1.2.3:8000", "[fd00::7]:8000", "ip-10-1-2-3", "no host at all", ""])
@pytest.mark.parametrize("path", [*EVERYTHING, "/metrics", "/healthz/"])
def test_probes_answer_to_every_host(staff, path, host):
    response = staff.get(path, headers={"host": host})
    assert response.status_code == 200
    assert int(response["Content-Length"]) == len(response.content) > 0


@pytest.mark.parametrize("path", ["/api/v1/tasks", "/admin/login/", "/healthz/more", "/", "/nothing"])
def test_nothing_else_answers_to_every_host(nobody, path):
    problem = assert_problem(nobody.get(path, headers={"host": "10.1.2.3:8000"}), 400)
    assert problem["errors"][0]["code"] == "unknown_host"


def test_ready_names_its_components(nobody):
    assert nobody.get("/readyz").json()["components"] == {
        "database": "ok",
        "migrations": "ok",
        "broker": "ok",
        "limiter": "ok",
    }


def test_live_needs_nothing(nobody, no_database, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert nobody.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/health"])
def test_without_database_it_is_not_ready_and_does_not_say_where_that_is(nobody, no_database, path):
    response = nobody.get(path)
    problem = assert_problem(response, 503, code="not_ready")
    assert problem["components"]["database"] == "down"
    assert problem["components"]["migrations"] == "down"
    assert b"db.internal" not in response.content
    assert response["Retry-After"]


def test_with_migrations_missing_it_is_not_ready(nobody, monkeypatch):
    monkeypatch.setattr(readiness, "_migrated", threading.Event())
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: ["one"])
    assert assert_problem(nobody.get("/readyz"), 503)["components"]["migrations"] == "missing"
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: [])
    monkeypatch.setattr(circuit_breaker, "FRESH_SECONDS", 0.0)
    assert nobody.get("/readyz").status_code == 200


def test_without_broker_it_is_ready_because_submission_works(nobody, alice, monkeypatch):
    def fail():
        raise BrokerUnavailable("no route to redis.internal")

    _broker(monkeypatch, fail)
    for path in ("/readyz", "/health"):
        response = nobody.get(path)
        assert response.status_code == 200
        assert response.json()["components"]["broker"] == "down"
        assert b"redis.internal" not in response.content
    assert alice.submit().status_code == 201


def test_a_broker_that_hangs_does_not_hang_the_probe(nobody, monkeypatch):
    release = threading.Event()
    _broker(monkeypatch, release.wait)
    monkeypatch.setattr(circuit_breaker, "PATIENCE_SECONDS", 0.01)
    try:
        assert nobody.get("/readyz").json()["components"]["broker"] == "down"
    finally:
        release.set()


def test_health_tells_whether_anybody_dispatches_and_runs(transactional_db, nobody, monkeypatch):
    monkeypatch.setattr(circuit_breaker, "FRESH_SECONDS", 0.0)
    components = nobody.get("/health").json()["components"]
    assert (components["workers"], components["scheduler"]) == ("none", "none")
    factories.make_worker()
    Lease.objects.create(name=LEASE, holder=new_id(), expires_at=Worker.objects.get().lease_expires_at)
    components = nobody.get("/health").json()["components"]
    assert (components["workers"], components["scheduler"]) == ("ok", "ok")
    factories.let_lease_run_out(Worker.objects.get())
    assert nobody.get("/health").json()["components"]["workers"] == "none"
