"""Who may see and do what: Alice her own, Bob his own, staff everything, others nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from tasks import lifecycle
from tasks.lifecycle import operations
from tasks.lifecycle.operations import Plan
from tasks.models import ApiToken, Task, new_id
from tasks.states import OperationVerb, Status
from tests import factories
from tests.callers import TASKS, assert_problem

#: Routes for everybody: (method, path). ``{task}`` and ``{letter}`` are Alice's.
OPEN = [
    ("get", "/api/v1/batches"),
    ("post", "/api/v1/batches"),
    ("get", "/api/v1/batches/{batch}"),
    ("get", "/api/v1/batches/{batch}/tasks"),
    ("post", "/api/v1/batches/{batch}/close"),
    ("post", "/api/v1/batches/{batch}/cancel"),
    ("get", TASKS),
    ("post", TASKS),
    ("post", f"{TASKS}/bulk"),
    ("get", f"{TASKS}/{{task}}"),
    ("put", f"{TASKS}/{{task}}"),
    ("patch", f"{TASKS}/{{task}}"),
    ("post", f"{TASKS}/{{task}}/cancel"),
    ("post", f"{TASKS}/{{task}}/retry"),
    ("post", f"{TASKS}/{{task}}/signals/{{signal}}"),
    ("get", f"{TASKS}/{{task}}/attempts"),
    ("get", f"{TASKS}/{{task}}/result"),
    ("get", f"{TASKS}/{{task}}/events"),
    ("get", f"{TASKS}/{{task}}/workflow"),
    ("delete", f"{TASKS}/{{task}}"),
    ("get", "/api/v1/dlq"),
    ("get", "/api/v1/dlq/export"),
    ("get", "/api/v1/dlq/{letter}"),
    ("post", "/api/v1/dlq/{letter}/redrive"),
    ("post", "/api/v1/dlq/{letter}/discard"),
    ("post", "/api/v1/dlq/{letter}/restore"),
    ("get", "/api/v1/actors"),
]
#: Routes for staff: they tell of hosts, and of everybody's load.
STAFF = [
    ("get", "/api/v1/workers"),
    ("get", "/api/v1/workers/{worker}"),
    ("delete", "/api/v1/workers/{worker}"),
    ("get", "/api/v1/queues"),
    ("get", "/api/v1/queues/{queue}"),
    ("patch", "/api/v1/queues/{queue}"),
    ("post", "/api/v1/queues/{queue}/pause"),
    ("post", "/api/v1/queues/{queue}/resume"),
    ("get", "/api/v1/stats"),
    ("get", "/api/v1/stats/series"),
]
#: Routes for staff with a permission.
PERMITTED = [
    ("get", "/api/v1/failures"),
    ("get", "/api/v1/failures/{failure}"),
    ("patch", "/api/v1/failures/{failure}"),
    ("get", "/api/v1/operations"),
    ("post", "/api/v1/operations"),
    ("get", "/api/v1/operations/{operation}"),
    ("patch", "/api/v1/operations/{operation}"),
    ("get", "/api/v1/operations/{operation}/items"),
    ("post", "/api/v1/operations/{operation}/pause"),
    ("post", "/api/v1/operations/{operation}/resume"),
    ("post", "/api/v1/operations/{operation}/cancel"),
    ("post", "/api/v1/operations/{operation}/undo"),
    ("get", "/api/v1/journal"),
    ("get", "/api/v1/schedules"),
    ("post", "/api/v1/schedules"),
    ("get", "/api/v1/schedules/{schedule}"),
    ("put", "/api/v1/schedules/{schedule}"),
    ("patch", "/api/v1/schedules/{schedule}"),
    ("delete", "/api/v1/schedules/{schedule}"),
    ("post", "/api/v1/schedules/{schedule}/pause"),
    ("post", "/api/v1/schedules/{schedule}/resume"),
    ("post", "/api/v1/schedules/{schedule}/run"),
    ("post", "/api/v1/schedules/{schedule}/backfill"),
    ("get", "/api/v1/schedules/{schedule}/preview"),
]
ROUTES = OPEN + STAFF + PERMITTED
OF_ONE = [route for route in OPEN if "{" in route[1]]
NAMES = [f"{method} {path}" for method, path in ROUTES]


BODIES = {
    "put": lambda path: {
        "payload": {"do": "return"},
        "priority": 5,
        "queue": "default",
        "run_at": "2099-01-31T09:00:00Z",
        "max_retries": 3,
        "tags": [],
    },
    "patch": lambda path: {"priority": 9} if "tasks" in path else {"paused": True},
}


@pytest.fixture
def hers(alice, worker):
    """A dead task of Alice's, and its letter."""
    task = factories.make_task(Status.DEAD, worker=worker, owner_id=alice.user.pk)
    letter = factories.open_letter(task)
    schedule = factories.make_schedule()
    return {
        "task": task.pk, "letter": letter.pk, "worker": worker.pk, "queue": "default",
        "schedule": schedule.pk, "signal": "go", "failure": letter.fingerprint,
        "operation": operations.begin(Plan(verb=OperationVerb.REDRIVE), [letter.pk]).pk,
        "batch": factories.make_batch(owner_id=alice.user.pk).pk,
    }  # fmt: skip


def _call(caller, route, hers):
    method, path = route
    extra: dict[str, Any] = {} if method == "get" else {"content_type": "application/json"}
    if method in BODIES:
        extra["data"] = BODIES[method](path)
    return getattr(caller, method)(path.format(**hers), **extra)


def test_the_list_of_routes_is_complete():
    patterns = set(_patterns(get_resolver().url_patterns))
    routes = {pattern.rstrip("/") for pattern in patterns if pattern.startswith("api/")}
    names = {
        "task": "<str:task_id>",
        "letter": "<str:letter_id>",
        "worker": "<str:worker_id>",
        "queue": "<str:name>",
        "schedule": "<str:schedule_id>",
        "signal": "<str:signal>",
        "batch": "<str:batch_id>",
        "failure": "<str:fingerprint>",
        "operation": "<str:operation_id>",
    }
    listed = {path.strip("/").format(**names) for _, path in ROUTES}
    assert routes == listed | {"api/schema", "api/docs"}, "the description is open to everybody"
    assert {f"{route}/" for route in routes} <= patterns, "every route comes in both forms"


def _patterns(patterns, prefix=""):
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from _patterns(pattern.url_patterns, route)
        else:
            yield route


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_nobody_gets_in(nobody, hers, route):
    response = _call(nobody, route, hers)
    assert_problem(response, 401, code="not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("route", OF_ONE, ids=" ".join)
def test_what_is_anothers_looks_like_nothing(bob, hers, route):
    foreign = assert_problem(_call(bob, route, hers), 404, code="not_found")
    missing = {"task": new_id(), "letter": new_id(), "signal": "go", "batch": new_id()}
    nothing = assert_problem(_call(bob, route, missing), 404, code="not_found")
    kind = next(name for name in ("letter", "batch", "task") if f"{{{name}}}" in route[1])
    assert foreign["detail"].replace(str(hers[kind]), "…") == nothing["detail"].replace(str(missing[kind]), "…")
    assert Task.objects.get().status == Status.DEAD


@pytest.mark.parametrize("route", OF_ONE, ids=" ".join)
@pytest.mark.parametrize("caller", ["alice", "staff"])
def test_owner_and_staff_reach_it(request, hers, route, caller):
    if route[1].endswith("/restore"):
        lifecycle.discard(hers["letter"])
    response = _call(request.getfixturevalue(caller), route, hers)
    # What died is neither cancelled, signalled nor edited.
    is_refused = route[1].endswith(("{task}/cancel", "{signal}"))
    expected = {"put": 409, "patch": 409, "delete": 204}.get(route[0], 409 if is_refused else 200)
    assert response.status_code == expected


@pytest.mark.parametrize("route", STAFF, ids=" ".join)
def test_what_is_for_staff_is_for_staff(alice, staff, hers, route):
    assert_problem(_call(alice, route, hers), 403, code="not_allowed")
    assert _call(staff, route, hers).status_code == (202 if route[0] == "delete" else 200)


def test_lists_show_ones_own(alice, bob, staff, hers):
    submitted = bob.submit().json()["id"]
    factories.submit()  # nobody's
    assert [task["id"] for task in alice.get(TASKS).json()["results"]] == [str(hers["task"])]
    assert [task["id"] for task in bob.get(TASKS).json()["results"]] == [submitted]
    assert len(staff.get(TASKS).json()["results"]) == 3
    assert len(alice.get("/api/v1/dlq").json()["results"]) == 1
    assert bob.get("/api/v1/dlq").json()["results"] == []
    assert len(staff.get("/api/v1/dlq").json()["results"]) == 1


def test_filters_do_not_widen_what_one_sees(bob, hers):
    for query in (f"search={hers['task']}", "status=DEAD", "actor=act"):
        assert bob.get(f"{TASKS}?{query}").json()["results"] == []
    assert bob.get(f"/api/v1/dlq?task={hers['task']}").json()["results"] == []


def test_what_belongs_to_nobody_is_for_staff(alice, staff):
    task = factories.submit()
    assert alice.get(f"{TASKS}/{task.pk}").status_code == 404
    assert staff.get(f"{TASKS}/{task.pk}").status_code == 200


def _with_token(**fields):
    user = User.objects.create_user("carol")
    token, secret = ApiToken.issue(user=user, name="t", **fields)
    return token, Client(headers={"authorization": f"Bearer {secret}"}, raise_request_exception=False)


def test_an_expired_token_opens_nothing(db):
    _, client = _with_token(expires_at=timezone.now() - timedelta(seconds=1))
    assert_problem(client.get(TASKS), 401)


def test_a_token_that_expires_later_still_opens(db):
    _, client = _with_token(expires_at=timezone.now() + timedelta(hours=1))
    assert client.get(TASKS).status_code == 200


def test_a_revoked_token_opens_nothing_from_then_on(db):
    token, client = _with_token()
    assert client.get(TASKS).status_code == 200
    token.revoked_at = timezone.now()
    token.save()
    assert_problem(client.get(TASKS), 401)


def test_a_token_of_a_blocked_user_opens_nothing(db):
    token, client = _with_token()
    token.user.is_active = False
    token.user.save()
    assert_problem(client.get(TASKS), 401)


def test_the_digest_of_a_token_is_no_token(db):
    token, _ = _with_token()
    client = Client(headers={"authorization": f"Bearer {token.digest}"})
    assert_problem(client.get(TASKS), 401)


def test_a_token_in_the_address_opens_nothing(db):
    _, secret = ApiToken.issue(user=User.objects.create_user("carol"), name="t")
    assert_problem(Client().get(f"{TASKS}?token={secret}&access_token={secret}"), 401)


def test_the_scheme_is_read_in_any_case(db):
    _, secret = ApiToken.issue(user=User.objects.create_user("carol"), name="t")
    assert Client(headers={"authorization": f"bearer {secret}"}).get(TASKS).status_code == 200


def test_the_last_use_of_a_token_is_written_once_a_minute(alice, django_assert_num_queries):
    token = ApiToken.objects.get()
    # Two of them ask for her permissions: hers and those of her groups.
    with django_assert_num_queries(6):
        alice.get(TASKS)
    token.refresh_from_db()
    assert token.last_used_at is not None
    with django_assert_num_queries(5):
        alice.get(TASKS)
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    with django_assert_num_queries(6):
        alice.get(TASKS)


def test_a_session_may_read_but_writes_only_with_its_csrf_token(db):
    browser = Client(enforce_csrf_checks=True, raise_request_exception=False)
    browser.force_login(User.objects.create_superuser("staff"))
    assert browser.get(TASKS).status_code == 200
    response = browser.post(TASKS, '{"actor": "limited"}', content_type="application/json")
    assert_problem(response, 403, code="not_allowed")
    assert not Task.objects.exists()
    browser.cookies["csrftoken"] = "a" * 32
    csrf = {"x-csrftoken": "a" * 32}
    form = browser.post(TASKS, "actor=limited", content_type="application/x-www-form-urlencoded", headers=csrf)
    assert_problem(form, 415)
    response = browser.post(TASKS, '{"actor": "limited"}', content_type="application/json", headers=csrf)
    assert response.status_code == 201


def test_staff_submits_as_itself(staff):
    staff.submit()
    assert Task.objects.get().owner_id == staff.user.pk
