"""Who may do what: every route and method of the API, and every page and verb of the admin, for every role.

The expectations stand here in words, so that the table in the code is held against them and not against itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.test import Client
from django.urls import get_resolver, reverse

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.api.tasks import TaskDetail
from tasks.lifecycle import operations
from tasks.lifecycle.operations import Plan
from tasks.models import ApiToken, Attempt, Batch, Journal, Operation, Queue, Schedule, Step, Task, Worker
from tasks.states import AttemptOutcome, OperationVerb, Status, StepKind
from tests import factories
from tests.callers import TASKS, Caller

DLQ = "/api/v1/dlq"
DEFAULT_EDIT = {
    "payload": {"do": "return"},
    "priority": 5,
    "queue": "default",
    "run_at": "2099-01-31T09:00:00Z",
    "max_retries": 3,
    "tags": [],
}

#: Another payload makes other work run.
OTHER_PAYLOAD = {"payload": {"do": "fail"}}
OTHER_EDIT = DEFAULT_EDIT | OTHER_PAYLOAD

BATCHES = "/api/v1/batches"
FAILURES = "/api/v1/failures"
ACTS = "/api/v1/operations"
SCHEDULES = "/api/v1/schedules"
NEW_SCHEDULE = {"name": "new", "actor": "limited", "cron": "0 6 * * *"}

OK = 0  # any status below 400

#: The columns of the table below. Alice owns the task; Bob is another plain user; "new" is staff without permissions.
ROLES = ("nobody", "alice", "bob", "new", "viewer", "operator", "admin", "root")


class Route(NamedTuple):
    """A call, the scopes that its token needs, and what each role gets."""

    method: str
    path: str
    scopes: str
    expected: tuple[int, ...]
    body: Any = None


ROUTES = (
    #                                                 nobody alice bob  new  viewer operator admin root
    Route("GET", TASKS, "read", (401, OK, OK, OK, OK, OK, OK, OK)),
    Route("POST", TASKS, "submit", (401, OK, OK, 403, 403, 403, OK, OK), {"actor": "limited"}),
    Route("POST", f"{TASKS}/bulk", "submit", (401, OK, OK, 403, 403, 403, OK, OK), {"tasks": [{"actor": "limited"}]}),
    Route("GET", f"{TASKS}/{{waiting}}", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("PUT", f"{TASKS}/{{waiting}}", "operate", (401, OK, 404, 404, 403, OK, OK, OK), DEFAULT_EDIT),
    Route("PUT", f"{TASKS}/{{waiting}}", "operate submit", (401, OK, 404, 404, 403, 403, OK, OK), OTHER_EDIT),
    Route("PATCH", f"{TASKS}/{{waiting}}", "operate", (401, OK, 404, 404, 403, OK, OK, OK), {"priority": 9}),
    Route("PATCH", f"{TASKS}/{{waiting}}", "operate submit", (401, OK, 404, 404, 403, 403, OK, OK), OTHER_PAYLOAD),
    Route("DELETE", f"{TASKS}/{{waiting}}", "operate", (401, OK, 404, 404, 403, 403, OK, OK)),
    Route("POST", f"{TASKS}/{{waiting}}/cancel", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("POST", f"{TASKS}/{{dead}}/retry", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("POST", f"{TASKS}/{{waiting}}/signals/{{signal}}", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("GET", f"{TASKS}/{{dead}}/attempts", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("GET", f"{TASKS}/{{dead}}/result", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("GET", f"{TASKS}/{{dead}}/events", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("GET", f"{TASKS}/{{dead}}/workflow", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("GET", BATCHES, "read", (401, OK, OK, OK, OK, OK, OK, OK)),
    Route("POST", BATCHES, "submit", (401, OK, OK, 403, 403, 403, OK, OK), {"tasks": [{"actor": "limited"}]}),
    Route("GET", f"{BATCHES}/{{batch}}", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("GET", f"{BATCHES}/{{batch}}/tasks", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("POST", f"{BATCHES}/{{batch}}/close", "submit", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("POST", f"{BATCHES}/{{batch}}/cancel", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("GET", DLQ, "read", (401, OK, OK, OK, OK, OK, OK, OK)),
    Route("GET", f"{DLQ}/export", "read", (401, OK, OK, OK, OK, OK, OK, OK)),
    Route("GET", f"{DLQ}/{{letter}}", "read", (401, OK, 404, 404, OK, OK, OK, OK)),
    Route("POST", f"{DLQ}/{{letter}}/redrive", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("POST", f"{DLQ}/{{letter}}/redrive", "operate submit", (401, OK, 404, 404, 403, 403, OK, OK), OTHER_PAYLOAD),
    Route("POST", f"{DLQ}/{{letter}}/discard", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("POST", f"{DLQ}/{{discarded}}/restore", "operate", (401, OK, 404, 404, 403, OK, OK, OK)),
    Route("GET", FAILURES, "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", f"{FAILURES}/{{failure}}", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("PATCH", f"{FAILURES}/{{failure}}", "operate", (401, 403, 403, 403, 403, OK, OK, OK), {"note": "known"}),
    Route("GET", ACTS, "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route(
        "POST", ACTS, "operate", (401, 403, 403, 403, 403, OK, OK, OK), {"verb": "redrive", "filter": {"actor": "act"}}
    ),
    Route("GET", f"{ACTS}/{{act}}", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", f"{ACTS}/{{act}}/items", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("PATCH", f"{ACTS}/{{act}}", "operate", (401, 403, 403, 403, 403, OK, OK, OK), {"rate_per_second": 5}),
    Route("POST", f"{ACTS}/{{act}}/pause", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("POST", f"{ACTS}/{{preview}}/resume", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("POST", f"{ACTS}/{{discard}}/undo", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("POST", f"{ACTS}/{{act}}/cancel", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("GET", "/api/v1/actors", "read", (401, OK, OK, OK, OK, OK, OK, OK)),
    Route("GET", "/api/v1/workers", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", "/api/v1/workers/{worker}", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("DELETE", "/api/v1/workers/{worker}", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("GET", "/api/v1/queues", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", "/api/v1/queues/{queue}", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("PATCH", "/api/v1/queues/{queue}", "operate", (401, 403, 403, 403, 403, OK, OK, OK), {"paused": True}),
    Route("POST", "/api/v1/queues/{queue}/pause", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("POST", "/api/v1/queues/{queue}/resume", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("GET", SCHEDULES, "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("POST", SCHEDULES, "submit", (401, 403, 403, 403, 403, 403, OK, OK), NEW_SCHEDULE),
    Route("GET", f"{SCHEDULES}/{{schedule}}", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route(
        "PUT",
        f"{SCHEDULES}/{{schedule}}",
        "operate",
        (401, 403, 403, 403, 403, 403, OK, OK),
        NEW_SCHEDULE | {"payload": {"do": "return"}, "actor": "act"},
    ),
    Route("PUT", f"{SCHEDULES}/{{schedule}}", "operate submit", (401, 403, 403, 403, 403, 403, OK, OK), NEW_SCHEDULE),
    Route(
        "PATCH", f"{SCHEDULES}/{{schedule}}", "operate", (401, 403, 403, 403, 403, 403, OK, OK), {"overlap": "allow"}
    ),
    Route(
        "PATCH", f"{SCHEDULES}/{{schedule}}", "operate submit", (401, 403, 403, 403, 403, 403, OK, OK), OTHER_PAYLOAD
    ),
    Route("DELETE", f"{SCHEDULES}/{{schedule}}", "operate", (401, 403, 403, 403, 403, 403, OK, OK)),
    Route("POST", f"{SCHEDULES}/{{schedule}}/pause", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("POST", f"{SCHEDULES}/{{schedule}}/resume", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route("POST", f"{SCHEDULES}/{{schedule}}/run", "operate", (401, 403, 403, 403, 403, OK, OK, OK)),
    Route(
        "POST",
        f"{SCHEDULES}/{{schedule}}/backfill",
        "operate",
        (401, 403, 403, 403, 403, OK, OK, OK),
        {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T05:00:00Z"},
    ),
    Route("GET", f"{SCHEDULES}/{{schedule}}/preview", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", "/api/v1/journal", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", "/api/v1/stats", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", "/api/v1/stats/series", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
    Route("GET", "/metrics", "read", (401, 403, 403, 403, OK, OK, OK, OK)),
)
#: Open to everybody: they tell of no task.
OPEN = ("/api/schema", "/api/docs", "/healthz", "/readyz", "/health")


@pytest.fixture
def people(db: None) -> dict[str, User | None]:
    found: dict[str, User | None] = {"nobody": None, "root": User.objects.create_superuser("root")}
    found |= {name: User.objects.create_user(name) for name in ("alice", "bob")}
    found |= {name: User.objects.create_user(name, is_staff=True) for name in ("new", "viewer", "operator", "admin")}
    for name in ("viewer", "operator", "admin"):
        found[name].groups.add(Group.objects.get(name=name))  # type: ignore[union-attr]
    return found


@pytest.fixture
def rows(people: dict[str, User], worker: Worker) -> dict[str, Any]:
    """Alice's tasks: one that waits, one that waits for a signal, a dead one, and its dead letter."""
    dead = factories.make_task(Status.DEAD, worker=worker, owner_id=people["alice"].pk)
    waiting = factories.submit(owner_id=people["alice"].pk)
    letter = factories.open_letter(dead)
    suspended = factories.start(factories.submit(owner_id=people["alice"].pk), worker)
    Step.objects.create(task_id=suspended.id, kind=StepKind.WAIT, name="go")
    ended = {"ended_as": AttemptOutcome.SNOOZED, "retry_delay_seconds": 1e6, "waits_for": "go"}
    lifecycle.complete_many([factories.outcome(suspended, worker, **ended)])
    ids = {"dead": dead.pk, "waiting": waiting.pk, "suspended": suspended.id, "letter": letter.pk, "worker": worker.pk}
    batch = factories.make_batch(owner_id=people["alice"].pk)
    lifecycle.fold_failures(**factories.make_lead())
    acts = {
        name: operations.begin(Plan(verb=OperationVerb.REDRIVE), [letter.pk], starts=name == "act").pk
        for name in ("act", "preview")
    }
    discarded = factories.open_letter(factories.make_task(Status.DEAD, worker=worker, owner_id=people["alice"].pk))
    lifecycle.discard(discarded.pk)
    discard = operations.begin(Plan(verb=OperationVerb.DISCARD), [discarded.pk])
    operations.cancel(discard.pk)
    return {
        **ids,
        **acts,
        "discarded": discarded.pk,
        "discard": discard.pk,
        "failure": letter.fingerprint,
        "queue": "default",
        "signal": "go",
        "schedule": factories.make_schedule().pk,
        "batch": batch.pk,
    }


def _with_session(user: User | None) -> Client:
    browser = Client(raise_request_exception=False)
    if user is not None:
        browser.force_login(user)
    return browser


@contextmanager
def _undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _everything() -> list[Any]:
    # Of tokens not the time of their last use.
    tokens = list(ApiToken.objects.order_by("pk").values("pk", "name", "scopes", "revoked_at"))
    models = (Task, Attempt, DeadLetter, Failure, Queue, Worker, Journal, Schedule, Batch, Operation)
    return [tokens, *(list(model.objects.order_by("pk").values()) for model in models)]


def _call(caller: Client, route: Route, rows: dict[str, Any]) -> Any:
    extra = {} if route.method == "GET" else {"content_type": "application/json"}
    if route.body is not None:
        extra["data"] = route.body
    return getattr(caller, route.method.lower())(route.path.format(**rows), **extra)


def _check(caller: Client, route: Route, rows: dict[str, Any], expected: int, who: str) -> None:
    before = _everything()
    with _undone():
        response = _call(caller, route, rows)
        content = b"" if response.streaming else response.content[:200]
        told = f"{who}: {route.method} {route.path} was {response.status_code}: {content!r}"
        if expected == OK:
            assert response.status_code < 400, told
        else:
            assert response.status_code == expected, told
            assert _everything() == before, told


#: What the addresses of the rest name.
_MORE = dict.fromkeys(("failure", "act", "preview", "discarded", "discard"), "x")


def test_every_route_is_in_the_table() -> None:
    known = {
        route.path.format(
            waiting="x", dead="x", letter="x", worker="x", queue="x", schedule="x", signal="x", batch="x", **_MORE
        )
        for route in ROUTES
    }
    assert set(_patterns()) == known | set(OPEN)


def test_every_method_of_every_route_is_in_the_table_and_declares_what_it_does() -> None:
    known = {
        (
            one.method,
            one.path.format(
                waiting="x", dead="x", letter="x", worker="x", queue="x", schedule="x", signal="x", batch="x", **_MORE
            ),
        )
        for one in ROUTES
    }
    found = {(method, path) for path, view in _patterns().items() if path not in OPEN for method in view.actions}
    assert found == known
    for path, view in _patterns().items():
        if hasattr(view, "actions"):
            assert {*view.actions} == {*view().allowed_methods} - {"OPTIONS", "HEAD"}, path


def test_a_method_that_does_not_declare_what_it_does_fails(
    people: dict[str, User], rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskDetail, "actions", {})
    for method in ("get", "delete"):
        assert getattr(Caller(people["root"]), method)(f"{TASKS}/{rows['waiting']}").status_code == 500
    assert Task.objects.filter(pk=rows["waiting"]).exists()


def _patterns() -> dict[str, Any]:
    """Give the view of each address of the API, with x for what the address names."""

    def walk(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for one in patterns:
            route = prefix + str(one.pattern)
            if hasattr(one, "url_patterns"):
                if not route.startswith("admin"):
                    yield from walk(one.url_patterns, route)
            elif route and not route.endswith("/"):
                path = "/" + "/".join("x" if part.startswith("<") else part for part in route.split("/"))
                yield path, getattr(one.callback, "view_class", one.callback)

    return dict(walk(get_resolver().url_patterns, ""))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("door", ["session", "token"])
def test_each_role_may_do_what_the_table_says(people: dict[str, User], rows: Any, role: str, door: str) -> None:
    user = people[role]
    caller = Caller(user) if door == "token" else _with_session(user)
    for route in ROUTES:
        _check(caller, route, rows, route.expected[ROLES.index(role)], f"{role} by {door}")


SCOPES = ("read", "submit", "operate")


@pytest.mark.parametrize("role", ["alice", "operator", "admin"])
@pytest.mark.parametrize("scopes", [one for size in (1, 2) for one in combinations(SCOPES, size)], ids="+".join)
def test_a_token_narrows_its_user(people: dict[str, User], rows: Any, role: str, scopes: tuple[str, ...]) -> None:
    _, secret = ApiToken.issue(user=people[role], name="narrow", scopes=list(scopes))
    caller = Caller(authorization=f"Bearer {secret}")
    for route in ROUTES:
        expected = route.expected[ROLES.index(role)] if {*route.scopes.split()} <= {*scopes} else 403
        _check(caller, route, rows, expected, f"{role} with {scopes}")


def test_a_token_that_may_not_submit_changes_no_payload(people: dict[str, User], rows: Any) -> None:
    _, secret = ApiToken.issue(user=people["alice"], name="operates", scopes=["read", "operate"])
    caller, path = Caller(authorization=f"Bearer {secret}"), f"{TASKS}/{rows['waiting']}"
    refused = caller.patch(path, {"payload": {"do": "other"}}, content_type="application/json")
    assert refused.status_code == 403
    assert "submit" in refused.json()["detail"]
    assert caller.patch(path, {"priority": 9}, content_type="application/json").status_code == 200


def test_inactive_users_are_nobody(people: dict[str, User], rows: Any) -> None:
    caller, session = Caller(people["root"]), _with_session(people["root"])
    User.objects.update(is_active=False)
    for route in ROUTES:
        for one in (caller, session):
            _check(one, route, rows, 401, "an inactive superuser")


@pytest.mark.parametrize(
    ("role", "seen"), [("alice", 4), ("bob", 0), ("new", 0), ("viewer", 5), ("operator", 5), ("root", 5)]
)
def test_lists_have_what_the_role_may_see(people: dict[str, User], rows: Any, role: str, seen: int) -> None:
    factories.submit()
    assert len(Caller(people[role]).get(TASKS).json()["results"]) == seen
    assert len(Caller(people[role]).get(DLQ).json()["results"]) == min(seen, 2)


def test_the_actors_are_those_that_the_role_may_submit_to(people: dict[str, User]) -> None:
    found = {name: len(Caller(people[name]).get("/api/v1/actors").json()["results"]) for name in ROLES[1:]}
    assert found["alice"] == found["bob"] == found["admin"] == found["root"] > 0
    assert found["new"] == found["viewer"] == found["operator"] == 0


def test_plain_users_with_a_permission_have_it(people: dict[str, User], rows: Any) -> None:
    people["bob"].user_permissions.set(Permission.objects.filter(codename__in=("view_task", "cancel_task")))
    bob = Caller(people["bob"])
    assert bob.get(f"{TASKS}/{rows['waiting']}").status_code == 200
    assert bob.send(f"{TASKS}/{rows['dead']}/retry").status_code == 403
    assert bob.send(f"{TASKS}/{rows['waiting']}/cancel").status_code == 200


#: Columns of the admin's tables. Alice is no user of it, so she is sent to the login.
ADMIN_ROLES = ("alice", "new", "viewer", "operator", "admin", "root")
VIEWERS = (302, 403, 200, 200, 200, 200)
OPERATORS = (302, 403, 403, 200, 200, 200)
ADMINS = (302, 403, 403, 403, 200, 200)
ROOT = (302, 403, 403, 403, 403, 200)
NONE = (302, 403, 403, 403, 403, 403)

READ_ONLY = {"changelist": VIEWERS, "change": VIEWERS, "history": VIEWERS, "add": NONE, "delete": NONE}
OF_ROOT = dict.fromkeys(READ_ONLY, ROOT)
#: By model and page: who opens it.
PAGES = {
    "callboard_task": READ_ONLY | {"add": ADMINS, "workflow": VIEWERS},
    "callboard_batch": READ_ONLY,
    "callboard_queue": READ_ONLY,
    "callboard_worker": READ_ONLY,
    "callboard_journal": READ_ONLY,
    "dlq_deadletter": READ_ONLY | {"edit": ADMINS},
    "dlq_failure": READ_ONLY | {"compare": OPERATORS},
    "callboard_operation": READ_ONLY,
    "callboard_apitoken": {"changelist": ADMINS, "change": ADMINS, "history": ADMINS, "add": ADMINS, "delete": NONE},
    "callboard_schedule": READ_ONLY | {"add": ADMINS},
    "auth_user": OF_ROOT | {"password_change": ROOT},
    "auth_group": OF_ROOT,
}
#: By model and verb: the row it is for, and who may do it.
VERBS = {
    "callboard_task": {
        "cancel": ("waiting", OPERATORS),
        "retry": ("dead", OPERATORS),
        "signal": ("suspended", OPERATORS),
        "run_now": ("early", OPERATORS),
        "cancel_workflow": ("waiting", OPERATORS),
        "retry_workflow": ("dead", OPERATORS),
    },
    "dlq_deadletter": {
        "redrive": ("letter", OPERATORS),
        "discard": ("letter", OPERATORS),
        "restore": ("discarded", OPERATORS),
    },
    "callboard_batch": {"close": ("batch", OPERATORS), "cancel": ("batch", OPERATORS)},
    "callboard_queue": {"pause": ("queue", OPERATORS), "resume": ("queue", OPERATORS)},
    "callboard_schedule": {
        "run": ("schedule", OPERATORS),
        "pause": ("schedule", OPERATORS),
        "resume": ("schedule", OPERATORS),
        "give_back": ("schedule", ADMINS),
    },
    "callboard_worker": {"drain": ("worker", OPERATORS)},
    "callboard_apitoken": {"revoke": ("token", ADMINS)},
}
#: Pages of the admin itself, which show nothing, or what other tests check by permission.
SITE = {"index", "login", "logout", "password_change", "password_change_done", "autocomplete", "jsi18n", "view_on_site"}


#: Pages of what has no table, with their arguments; all are for viewers.
VIEWS: dict[str, list[str]] = {"callboard_actors": [], "callboard_actor": ["act"], "dlq_deadletter_export": ["csv"]}
#: Forms of a page, which ask for no confirmation, or have one of their own.
FORMS = {"callboard_operation_act", "callboard_operation_undo", "dlq_failure_begin", "dlq_failure_look_after"}


@pytest.mark.parametrize("role", ADMIN_ROLES)
def test_a_form_of_the_admin_is_for_its_roles(people: dict[str, User], rows: dict[str, Any], role: str) -> None:
    browser = _with_session(people[role])
    expected = OPERATORS[ADMIN_ROLES.index(role)]
    for name, args, data in (
        ("callboard_operation_act", [rows["act"], "pause"], {}),
        ("callboard_operation_act", [rows["preview"], "resume"], {}),
        ("callboard_operation_undo", [rows["discard"]], {}),
        ("dlq_failure_begin", [rows["failure"], "redrive"], {"canary": "1"}),
        ("dlq_failure_begin", [rows["failure"], "discard"], {}),
        ("dlq_failure_look_after", [rows["failure"]], {"assign": "me"}),
    ):
        before = _everything()
        with _undone():
            assert browser.post(reverse(f"admin:{name}", args=args), data).status_code == (
                302 if expected == 200 else expected
            ), (name, args)
            assert (_everything() == before) is (expected != 200), (name, args)


@pytest.fixture
def targets(people: dict[str, User], rows: dict[str, Any]) -> dict[str, Any]:
    """Give a row of each model of the admin, beside the rows of the API."""
    token, _ = ApiToken.issue(user=people["alice"], name="hers")
    entry = Journal.objects.create(verb="pause", kind="queue", object_id="default", by="root")
    return rows | {
        "token": token.pk,
        "early": factories.submit(owner_id=people["alice"].pk, delay_seconds=3_600).pk,
        "callboard_task": rows["dead"],
        "callboard_batch": rows["batch"],
        "callboard_queue": "default",
        "callboard_worker": rows["worker"],
        "callboard_schedule": rows["schedule"],
        "callboard_journal": entry.pk,
        "callboard_apitoken": token.pk,
        "dlq_deadletter": rows["letter"],
        "dlq_failure": rows["failure"],
        "callboard_operation": rows["act"],
        "auth_user": people["bob"].pk,
        "auth_group": Group.objects.get(name="viewer").pk,
    }


def test_every_page_and_verb_of_the_admin_is_in_the_tables() -> None:
    names = {one.name for entry in admin.site.urls[0] for one in getattr(entry, "url_patterns", [entry]) if one.name}
    pages = {f"{model}_{page}" for model, listed in PAGES.items() for page in listed}
    assert names == pages | {f"{model}_do" for model in VERBS} | SITE | {"app_list"} | FORMS | {*VIEWS}
    verbs = {
        f"{model._meta.app_label}_{model._meta.model_name}": {verb.name for verb in page.verbs}
        for model, page in admin.site._registry.items()
        if hasattr(page, "verbs")
    }
    assert verbs == {model: {*listed} for model, listed in VERBS.items()}


@pytest.mark.parametrize("role", ADMIN_ROLES)
def test_a_page_of_the_admin_opens_for_its_roles(people: dict[str, User], targets: dict[str, Any], role: str) -> None:
    browser, found, expected = _with_session(people[role]), {}, {}
    for model, listed in PAGES.items():
        for page, statuses in listed.items():
            name = f"{model}_{page}"
            args = [] if page in ("changelist", "add") else [targets[model]]
            found[name] = browser.get(reverse(f"admin:{name}", args=args)).status_code
            expected[name] = statuses[ADMIN_ROLES.index(role)]
    for name, args in VIEWS.items():
        found[name] = browser.get(reverse(f"admin:{name}", args=args)).status_code
        expected[name] = VIEWERS[ADMIN_ROLES.index(role)]
    assert found == expected


@pytest.mark.parametrize("role", ADMIN_ROLES)
def test_a_verb_of_the_admin_is_for_its_roles(people: dict[str, User], targets: dict[str, Any], role: str) -> None:
    browser = _with_session(people[role])
    for model, listed in VERBS.items():
        for verb, (row, statuses) in listed.items():
            status = statuses[ADMIN_ROLES.index(role)]
            address, many = (reverse(f"admin:{model}_{name}", args=args) for name, args in (
                ("do", [targets[row], verb]), ("changelist", [])
            ))  # fmt: skip
            assert browser.post(address).status_code == status, verb
            before = _everything()
            with _undone():
                answer = browser.post(address, {"confirmed": "yes"})
                assert answer.status_code == (302 if status == 200 else status), verb
                if status != 200:
                    browser.post(many, {"action": verb, "_selected_action": str(targets[row]), "confirmed": "yes"})
                    assert _everything() == before, verb


def test_a_worker_names_the_tasks_that_the_caller_may_see(people: dict[str, User], worker: Worker) -> None:
    task = factories.make_task(Status.RUNNING, worker=worker, owner_id=people["alice"].pk)
    for name in ("alice", "bob"):
        people[name].user_permissions.set(Permission.objects.filter(codename="view_worker"))
    running = {
        role: Caller(people[role]).get(f"/api/v1/workers/{worker.pk}").json()["running"]
        for role in ("alice", "bob", "viewer")
    }
    assert running == {"alice": [str(task.pk)], "bob": [], "viewer": [str(task.pk)]}


def test_a_page_has_the_forms_of_what_its_user_may_do(people: dict[str, User], rows: Any) -> None:
    def methods(role: str, path: str) -> set[str]:
        page = _with_session(people[role]).get(path.format(**rows), headers={"accept": "text/html"})
        assert page.status_code == 200
        return {one for one in ("POST", "PUT", "PATCH", "DELETE") if f'"Make a {one} request' in page.content.decode()}

    task, queue = f"{TASKS}/{{waiting}}", "/api/v1/queues/{queue}"
    assert methods("viewer", TASKS) == methods("operator", TASKS) == set()
    assert methods("admin", TASKS) == {"POST"}
    assert methods("viewer", task) == methods("viewer", queue) == set()
    assert methods("operator", task) == {"PUT", "PATCH"}
    assert methods("admin", task) == {"PUT", "PATCH", "DELETE"}
    assert methods("operator", queue) == {"PATCH"}
    Task.objects.update(owner_id=people["viewer"].pk)
    assert methods("viewer", task) == {"PUT", "PATCH", "DELETE"}
