"""Callers of the API: Alice and Bob with a token each, a member of staff who may do everything, and nobody."""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.http import HttpResponse
from django.test import Client

from tasks import lifecycle
from tasks.circuit_breaker import CircuitBreaker
from tasks.contract import rate_limit, readiness
from tasks.db import server
from tasks.lifecycle import Author
from tasks.models import ApiToken, Task
from tasks.states import Status
from tests import factories
from tests.admin.pages import browser_of
from tests.api.described import assert_described

TASKS = "/api/v1/tasks"


class Caller(Client):
    """A test client that speaks JSON and sees what a caller would see of a failure."""

    def __init__(self, user: User | None = None, **headers: str) -> None:
        self.user = user
        if user is not None:
            _, secret = ApiToken.issue(user=user, name="test")
            headers.setdefault("authorization", f"Bearer {secret}")
        super().__init__(raise_request_exception=False, headers=headers)

    @property
    def id(self) -> Any:
        """The key of the user."""
        assert self.user is not None
        return self.user.pk

    def generic(self, method: str, path: Any, data: Any = "", *args: Any, **extra: Any) -> Any:
        """Hold whatever is sent and answered against the API's description."""
        response = super().generic(method, path, data, *args, **extra)
        if response.streaming and response["Content-Type"] == "application/json":
            response = _whole(response)
        raw = data.encode() if isinstance(data, str) else data
        assert_described(method, str(path).partition("?")[0].removeprefix("http://testserver"), raw, response)
        return response

    def send(self, path: str, body: Any = None, **extra: Any) -> Any:
        """POST a body as JSON, or none."""
        raw = b"" if body is None else json.dumps(body).encode()
        return self.post(path, raw, content_type="application/json", **extra)

    def submit(self, actor: str = "act", **fields: Any) -> Any:
        """Submit a task."""
        if actor == "act":
            fields.setdefault("payload", {"do": "return"})
        return self.send(TASKS, {"actor": actor, **fields})


def _whole(response: Any) -> Any:
    """Wait for a body that comes later."""
    made = HttpResponse(b"".join(response.streaming_content), status=response.status_code, headers=response.headers)
    made.json = lambda: json.loads(made.content)  # type: ignore[attr-defined]
    return made


def assert_problem(response: Any, status: int, *, code: str = "", field: str = "") -> dict[str, Any]:
    """Check that an answer has the one form of errors, and return it."""
    assert response.status_code == status, response.content[:500]
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "trace_id", "errors"} <= set(body)
    assert body["status"] == status
    assert body["detail"]
    assert body["trace_id"] == response["X-Trace-Id"]
    assert all(set(error) == {"field", "code", "message"} and error["message"] for error in body["errors"])
    if code:
        assert body["code"] == code
    if field:
        assert any(f"{error['field']}.".startswith(f"{field}.") for error in body["errors"]), body["errors"]
    return body


@pytest.fixture
def alice(db: None) -> Caller:
    return Caller(User.objects.create_user("alice"))


@pytest.fixture
def bob(db: None) -> Caller:
    return Caller(User.objects.create_user("bob"))


@pytest.fixture
def staff(db: None) -> Caller:
    return Caller(User.objects.create_superuser("staff"))


@pytest.fixture
def nobody(db: None) -> Caller:
    return Caller()


@pytest.fixture
def root(db: None) -> Client:
    """Give the browser of somebody who may do everything."""
    return browser_of(User.objects.create_superuser("root"))


@pytest.fixture
def operator(db: None) -> Client:
    """Give the browser of Olga, an operator."""
    return browser_of(_member("olga", "operator"))


@pytest.fixture
def viewer(db: None) -> Client:
    """Give the browser of Vera, a viewer."""
    return browser_of(_member("vera", "viewer"))


@pytest.fixture
def life(worker: Any) -> Task:
    """Give a task with a story: it died, was re-driven, and runs again."""
    task = factories.make_task(Status.DEAD, worker=worker, tags=["red"])
    lifecycle.retry(task.pk, by=Author("root"))
    task.refresh_from_db()
    factories.start(task, worker)
    ApiToken.issue(user=User.objects.create_user("alice"), name="laptop")
    factories.make_schedule()
    factories.make_batch(name="nightly")
    return task


@pytest.fixture
def fresh_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no circuit be open, and no answer of a probe be known, from the tests before."""
    for module, name in ((server, "breaker"), (rate_limit, "breaker"), (readiness, "_broker"), (readiness, "_facts")):
        known = getattr(module, name)
        monkeypatch.setattr(module, name, CircuitBreaker(f"{known.name} of a test", known._probe))


@pytest.fixture
def instead_of_sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[float], None]], None]:
    """Have one module do something while it would sleep; all others, in their threads, go on to sleep."""

    def replace(module: str, work: Callable[[float], None]) -> None:
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=work, monotonic=time.monotonic))

    return replace


def let_see_payloads(user: User) -> User:
    """Give the permission to see the data of other people's tasks; the user comes back without the old cache."""
    kind = ContentType.objects.get_for_model(Task)
    permission, _ = Permission.objects.get_or_create(content_type=kind, codename="view_payload")
    user.user_permissions.add(permission)
    return User.objects.get(pk=user.pk)


def _member(name: str, group: str) -> User:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user
