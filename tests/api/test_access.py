"""What a token is limited to: scopes, actors, queues."""

import pytest
from django.db import IntegrityError, transaction

from tasks.models import ApiToken, Task
from tasks.states import Scope, Status
from tests import factories
from tests.callers import TASKS, Caller, assert_problem

DLQ = "/api/v1/dlq"


@pytest.fixture
def limited(alice):
    """Make callers who are Alice with less than she may do."""

    def make(**fields):
        _, secret = ApiToken.issue(user=alice.user, name="limited", **fields)
        return Caller(authorization=f"Bearer {secret}")

    return make


def _ids(response):
    assert response.status_code == 200, response.content
    return {row["id"] for row in response.json()["results"]}


def test_a_new_token_may_do_everything(alice):
    assert ApiToken.objects.get(user=alice.user).scopes == ["read", "submit", "operate"]


@pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "everything"]])
def test_a_token_has_a_scope_and_only_those_there_are(alice, scopes):
    with pytest.raises(IntegrityError, match="apitoken_scopes_known"), transaction.atomic():
        ApiToken.issue(user=alice.user, name="odd", scopes=scopes)


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize(
    ("needed", "method", "path"),
    [
        (Scope.READ, "get", TASKS),
        (Scope.READ, "get", "/api/v1/actors"),
        (Scope.READ, "get", DLQ),
        (Scope.READ, "get", f"{TASKS}/{{id}}"),
        (Scope.READ, "get", f"{TASKS}/{{id}}/attempts"),
        (Scope.READ, "get", f"{TASKS}/{{id}}/result"),
        (Scope.READ, "get", f"{TASKS}/{{id}}/events"),
        (Scope.SUBMIT, "send", TASKS),
        (Scope.SUBMIT, "send", f"{TASKS}/bulk"),
        (Scope.OPERATE, "send", f"{TASKS}/{{id}}/cancel"),
        (Scope.OPERATE, "send", f"{TASKS}/{{id}}/retry"),
        (Scope.OPERATE, "put", f"{TASKS}/{{id}}"),
        (Scope.OPERATE, "patch", f"{TASKS}/{{id}}"),
        (Scope.OPERATE, "delete", f"{TASKS}/{{id}}"),
        (Scope.OPERATE, "send", f"{DLQ}/{{id}}/redrive"),
        (Scope.OPERATE, "send", f"{DLQ}/{{id}}/discard"),
        (Scope.OPERATE, "send", f"{DLQ}/{{id}}/restore"),
    ],
)
def test_each_call_needs_its_scope(alice, limited, scope, needed, method, path):
    task = factories.submit(owner_id=alice.user.pk)
    response = getattr(limited(scopes=[scope]), method)(path.format(id=task.pk))
    if scope == needed:
        assert response.status_code != 403
    else:
        body = assert_problem(response, 403, code="not_allowed")
        assert f'"{needed}"' in body["detail"]
        assert scope in body["detail"]
        assert Task.objects.get().status == Status.PENDING


@pytest.mark.parametrize("path", ["/api/v1/workers", "/api/v1/queues", "/api/v1/stats"])
def test_staffs_tokens_are_narrowed_too(staff, worker, path):
    _, secret = ApiToken.issue(user=staff.user, name="submits", scopes=[Scope.SUBMIT])
    assert_problem(Caller(authorization=f"Bearer {secret}").get(path), 403, code="not_allowed")
    assert staff.get(path).status_code == 200


def test_only_its_actors_are_submitted_and_seen(alice, limited):
    caller = limited(actors=["act"])
    mine = caller.submit().json()["id"]
    other = alice.submit("add", payload={"a": 1}).json()["id"]
    body = assert_problem(caller.submit("add", payload={"a": 1}), 403, code="not_allowed", field="actor")
    assert "act" in body["errors"][0]["message"]
    bulk = [{"actor": "act", "payload": {"do": "return"}}, {"actor": "add", "payload": {"a": 1}}]
    assert_problem(caller.send(f"{TASKS}/bulk", {"tasks": bulk}), 403, field="actor")
    assert _ids(caller.get(TASKS)) == {mine}
    assert_problem(caller.get(f"{TASKS}/{other}"), 404)
    assert_problem(caller.send(f"{TASKS}/{other}/cancel"), 404)
    assert [actor["name"] for actor in caller.get("/api/v1/actors").json()["results"]] == ["act"]
    assert Task.objects.count() == 2


def test_only_its_queues_are_used_and_seen(alice, limited, worker):
    caller = limited(queues=["other"])
    assert_problem(caller.submit(), 403, field="queue")
    mine = caller.submit(queue="other").json()["id"]
    alice.submit()
    assert _ids(caller.get(TASKS)) == {mine}
    change = {"queue": "default"}
    response = caller.patch(f"{TASKS}/{mine}", change, content_type="application/json")
    assert_problem(response, 403, field="queue")
    assert Task.objects.get(pk=mine).queue == "other"


def test_dead_letters_are_those_of_its_actors_and_queues(alice, limited, worker):
    dead = factories.make_task(Status.DEAD, worker=worker, owner_id=alice.user.pk)
    (letter,) = _ids(alice.get(DLQ))
    assert _ids(limited(actors=["act"], queues=["default"]).get(DLQ)) == {letter}
    for caller in (limited(actors=["add"]), limited(queues=["other"])):
        assert _ids(caller.get(DLQ)) == set()
        assert_problem(caller.send(f"{DLQ}/{letter}/redrive"), 404)
    assert Task.objects.get(pk=dead.pk).status == Status.DEAD


def test_a_queue_out_of_reach_is_not_paused(staff, worker):
    _, secret = ApiToken.issue(user=staff.user, name="narrow", queues=["other"])
    caller = Caller(authorization=f"Bearer {secret}")
    assert_problem(caller.send("/api/v1/queues/default/pause"), 403, field="queue")
    assert caller.send("/api/v1/queues/other/pause").status_code == 200
