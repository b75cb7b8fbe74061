"""The time that a request may use the database, on every path: what is locked, silent or read-only is a 503."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import OperationalError, connection, connections
from django.test import Client

from tasks.circuit_breaker import CircuitBreaker
from tasks.db import call_timeout, server
from tasks.models import ApiToken, Task, new_id
from tests import factories
from tests.admin.pages import MODELS, browser_of, list_of, page_of
from tests.callers import TASKS, Caller, assert_problem

SECONDS = 0.3
#: For what should work, on a machine that is busy.
PLENTY_SECONDS = 30


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, settings, fresh_breakers) -> None:
    monkeypatch.setattr(call_timeout, "LOOK_SECONDS", 0.02)
    settings.REQUEST_DATABASE_SECONDS = SECONDS


@pytest.fixture
def staff(transactional_db) -> Caller:
    return Caller(User.objects.create_superuser("staff"))


@pytest.fixture
def root(staff) -> Client:
    browser = browser_of(staff.user)
    browser.raise_request_exception = False
    return browser


@contextmanager
def locked(*tables: str) -> Iterator[None]:
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    other = psycopg2.connect(**parameters)
    try:
        with other.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        other.close()


def assert_page(response, *words: str) -> None:
    page = response.content.decode()
    assert response.status_code == 503, page[:500]
    assert response["Content-Type"].startswith("text/html")
    assert response["Retry-After"]
    assert "Error 503" in page
    assert "Traceback" not in page
    assert "default-src 'self'" in response["Content-Security-Policy"]
    assert all(word in page for word in words), page


def test_a_call_that_waits_for_a_lock_is_told_that_it_took_too_long(staff, settings) -> None:
    with locked(Task._meta.db_table):
        for response in (staff.get(TASKS), staff.submit(), staff.get(f"{TASKS}/{new_id()}")):
            problem = assert_problem(response, 503, code="too_slow")
            assert "longer than 0.3 s" in problem["detail"]
            assert "narrow" in problem["detail"]
            assert response["Retry-After"]
    settings.REQUEST_DATABASE_SECONDS = PLENTY_SECONDS
    assert staff.get(TASKS).status_code == 200
    assert staff.submit().status_code == 201


@pytest.mark.parametrize("path", [list_of(Task), f"{list_of(Task)}?q=red", "/admin/"])
def test_a_page_that_takes_too_long_says_so(root, path, settings) -> None:
    with locked(Task._meta.db_table):
        assert_page(root.get(path), "longer than 0.3 s", "narrow")
    settings.REQUEST_DATABASE_SECONDS = PLENTY_SECONDS
    assert root.get(path).status_code == 200


def test_a_page_of_one_task_that_takes_too_long_says_so(root) -> None:
    task = factories.make_task()
    with locked(Task._meta.db_table):
        assert_page(root.get(page_of(task)), "longer than")


@pytest.mark.parametrize("table", ["django_session", "auth_user"])
def test_sessions_and_accounts_are_within_the_budget_too(root, table) -> None:
    with locked(table):
        assert_page(root.get("/admin/"), "longer than")
        assert_page(root.post("/admin/login/", {"username": "staff", "password": "x"}), "longer than")
        assert_problem(root.get(TASKS), 503, code="too_slow")


def test_a_token_is_looked_up_within_the_budget(staff) -> None:
    with locked(ApiToken._meta.db_table):
        assert_problem(staff.get(TASKS), 503, code="too_slow")


def test_a_session_that_is_stored_after_the_view_is_within_the_budget_too(root, monkeypatch) -> None:
    def fail(*_):
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(SessionMiddleware, "process_response", fail)
    assert_page(root.get("/admin/"), "does not answer")
    assert_problem(root.get("/nothing"), 503, code="database_unavailable")


def test_a_defect_stays_a_defect(root, monkeypatch) -> None:
    monkeypatch.setattr(SessionMiddleware, "process_response", lambda *_: 1 // 0)
    assert root.get("/admin/").status_code == 500


@pytest.fixture
def silent(staff, monkeypatch) -> None:
    breaker = CircuitBreaker("silent database", lambda: None)
    monkeypatch.setattr(breaker, "_was_silent", True)
    monkeypatch.setattr(breaker, "suspect", lambda: None)
    monkeypatch.setattr(breaker, "answers", lambda: False)
    monkeypatch.setattr(server, "breaker", breaker)


def test_while_the_database_is_silent_it_is_not_asked(staff, root, silent, django_assert_num_queries) -> None:
    with django_assert_num_queries(0):
        for path in (TASKS, "/api/v1/stats", f"{TASKS}/{new_id()}"):
            assert_problem(staff.get(path), 503, code="database_unavailable")
        assert_problem(staff.submit(), 503, code="database_unavailable")
        for path in ("/admin/", *(list_of(model) for model in MODELS)):
            assert_page(root.get(path), "does not answer")
        assert_page(root.post("/admin/login/", {"username": "staff", "password": "x"}), "does not answer")
        assert_problem(staff.get("/readyz"), 503, code="not_ready")


def test_what_needs_no_database_works_while_it_is_silent(root, silent) -> None:
    nobody = Caller()
    for path in ("/healthz", "/api/schema", "/api/docs", "/static/callboard/admin.css", "/admin/login/"):
        with closing(nobody.get(path)) as response:
            assert response.status_code == 200, path
    assert_problem(nobody.get("/nothing"), 404)
    assert_problem(nobody.get(TASKS), 401)


@contextmanager
def read_only(monkeypatch) -> Iterator[None]:
    connection.close()
    with monkeypatch.context() as patch:
        options = connection.settings_dict["OPTIONS"] | {"options": "-c default_transaction_read_only=on"}
        patch.setitem(connection.settings_dict, "OPTIONS", options)
        yield
    connection.close()


def test_a_database_in_recovery_takes_no_writes_and_says_so(staff, root, monkeypatch) -> None:
    with read_only(monkeypatch):
        assert "takes no writes" in assert_problem(staff.submit(), 503, code="database_unavailable")["detail"]
        assert_page(root.post("/admin/logout/"), "takes no writes")


def test_a_database_that_starts_is_not_there_yet(staff, root, monkeypatch) -> None:
    def fail(*_):
        raise OperationalError("FATAL:  the database system is starting up")

    connection.close()
    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "get_new_connection", fail)
        assert_problem(staff.get(TASKS), 503, code="database_unavailable")
        assert_page(root.get("/admin/"), "does not answer")


def test_a_failed_session_is_closed_with_the_request(staff, monkeypatch) -> None:
    with locked(Task._meta.db_table):
        assert staff.get(TASKS).status_code == 503
    assert connection.connection is None
