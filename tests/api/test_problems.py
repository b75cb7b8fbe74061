"""Every error answer has one form, whoever raised it."""

import json
import logging
import runpy
import socket
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any

import gunicorn.util
import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from django.http.request import UnreadablePostError
from django.test import Client
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidHeader,
    InvalidRequestLine,
    LimitRequestHeaders,
    LimitRequestLine,
)
from gunicorn.workers.base import Worker

from scheduler_site.site_requests import SiteRequestMiddleware
from tasks import lifecycle
from tasks.admin import TaskAdmin
from tasks.api import problems
from tasks.contract import authentication
from tasks.errors import DatabaseUnavailable
from tasks.models import ApiToken, Task
from tests.callers import TASKS, assert_problem


def _raises(error):
    def fail(*args, **kwargs):
        raise error

    return fail


DOWN = [
    OperationalError("server closed the connection\n\tunexpectedly: host=db password=hunter2"),
    InterfaceError("connection already closed"),
    DatabaseUnavailable(),
]


@pytest.mark.parametrize("error", DOWN, ids=lambda error: type(error).__name__)
def test_a_database_that_is_down_is_a_503(alice, monkeypatch, error):
    monkeypatch.setattr(lifecycle, "submit", _raises(error))
    response = alice.submit()
    problem = assert_problem(response, 503, code="database_unavailable")
    assert response["Retry-After"] == "5"
    assert "hunter2" not in problem["detail"]


@pytest.mark.parametrize("error", DOWN, ids=lambda error: type(error).__name__)
def test_a_database_that_is_down_while_the_token_is_looked_up_is_a_503(alice, monkeypatch, error):
    monkeypatch.setattr(authentication, "token_for_secret", _raises(error))
    response = alice.get(TASKS)
    assert_problem(response, 503, code="database_unavailable")
    assert response["Retry-After"] == "5"


def test_what_nobody_foresaw_is_a_500_that_tells_nothing(alice, monkeypatch, caplog):
    monkeypatch.setattr(lifecycle, "submit", _raises(RuntimeError("a secret detail")))
    response = alice.submit()
    problem = assert_problem(response, 500, code="error")
    assert b"secret detail" not in response.content
    assert problem["errors"] == []
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert "a secret detail" in str(record.exc_info)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404("inner words"), 404, "not_found"),
        (PermissionDenied("inner words"), 403, "not_allowed"),
        (SuspiciousOperation("inner words"), 400, "malformed"),
        (UnreadablePostError("inner words"), 400, "malformed"),
        (RequestDataTooBig("inner words"), 413, "too_large"),
    ],
)
def test_djangos_errors_are_translated(alice, monkeypatch, error, status, code):
    monkeypatch.setattr(lifecycle, "submit", _raises(error))
    assert "inner words" not in assert_problem(alice.submit(), status, code=code)["detail"]


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_method_that_is_not_taken_names_those_that_are(alice, method):
    response = getattr(alice, method)(TASKS)
    assert_problem(response, 405, code="method_not_allowed")
    assert {"GET", "POST"} <= set(response["Allow"].split(", "))


def test_probes_refuse_other_methods_in_the_same_form(nobody):
    response = nobody.post("/healthz")
    assert_problem(response, 405, code="method_not_allowed")
    assert response["Allow"] == "GET, HEAD"


def test_an_answer_to_head_has_no_body(alice):
    response = alice.head(f"{TASKS}/nope")
    assert response.status_code == 404
    assert response.content == b""


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*", "nonsense"])
def test_answers_are_json_whatever_is_accepted(alice, accept):
    assert alice.get(TASKS, headers={"accept": accept})["Content-Type"] == "application/json"
    assert alice.get("/api/v1/nope", headers={"accept": accept})["Content-Type"] == "application/problem+json"
    assert_problem(alice.get(f"{TASKS}?format=xml"), 400, field="format")


@pytest.fixture
def browser(db, django_user_model):
    client = Client(raise_request_exception=False)
    client.force_login(django_user_model.objects.create_superuser("root"))
    return client


def test_the_admin_keeps_its_pages(browser):
    response = browser.get("/admin/nope/")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")
    assert "Not found" in response.content.decode()


def test_a_broken_page_of_the_admin_is_a_page(browser, monkeypatch):
    monkeypatch.setattr(TaskAdmin, "get_changelist", _raises(RuntimeError("a secret detail")))
    response = browser.get("/admin/callboard/task/")
    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()
    assert "a secret detail" not in response.content.decode()


def test_the_type_is_a_uri_that_names_the_code(alice):
    problem = assert_problem(alice.get(f"{TASKS}?limit=no"), 400)
    assert problem["type"] == f"urn:callboard:error:{problem['code']}"
    assert not problem["title"].endswith(".")


def test_every_answer_has_the_same_length_as_its_header(alice):
    for path in (TASKS, "/api/v1/nope", "/healthz", f"{TASKS}/nope"):
        response = alice.get(path)
        assert int(response["Content-Length"]) == len(response.content)


def test_an_error_with_text_that_utf8_cannot_carry_is_still_answered():
    error = DatabaseUnavailable("\ud800 \0")
    assert problems.problem(error).status_code == 503


def test_a_refused_request_writes_nothing_but_the_use_of_the_token(alice):
    alice.send(TASKS, {"actor": "no_such"})
    assert not Task.objects.exists()
    assert ApiToken.objects.get().last_used_at is not None


@pytest.fixture
def gunicorn_conf(monkeypatch):
    """Gunicorn's settings, as it reads them; what they change in gunicorn is undone."""
    monkeypatch.setattr(gunicorn.util, "write_error", gunicorn.util.write_error)
    return runpy.run_path(str(settings.BASE_DIR / "gunicorn.conf.py"))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LimitRequestLine(8192, 4094), 414),
        (LimitRequestHeaders("<script>"), 431),
        (InvalidHeader("HOST\r\nX: \xff"), 400),
        (InvalidRequestLine("\u20ac"), 400),
        (ExpectationFailed("nothing"), 417),
    ],
)
def test_what_gunicorn_refuses_has_that_form_too(gunicorn_conf, error, status):
    gunicorn_conf["post_worker_init"](None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Worker.handle_error(SimpleNamespace(log=logging.getLogger("gunicorn")), None, ours, ("192.0.2.1", 1), error)
        answer = HTTPResponse(theirs)
        answer.begin()
        body = json.loads(answer.read())
    assert (answer.status, answer.getheader("Content-Type")) == (status, "application/problem+json")
    assert (body["status"], body["code"]) == (status, "malformed")
    assert len(body["trace_id"]) == 32
    assert body["trace_id"] == answer.getheader("X-Trace-Id")
    assert str(error) in body["detail"]


def test_a_head_has_the_length_of_its_body_and_no_body(rf):
    answer: Any = SiteRequestMiddleware(lambda request: HttpResponse("four"))(rf.head("/healthz"))
    assert (answer["Content-Length"], answer.content) == ("4", b"")
