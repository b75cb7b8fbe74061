"""Tasks found by what is in them: values in payloads, which not everybody may see, and types of errors."""

import pytest
from django.contrib.auth.models import Permission

from tasks import lifecycle
from tests import factories
from tests.callers import TASKS, assert_problem


def _found(caller, *wanted):
    answer = caller.get(TASKS, {"payload": wanted})
    assert answer.status_code == 200, answer.content
    return {one["id"] for one in answer.json()["results"]}


def test_tasks_are_found_by_values_in_their_payloads(staff):
    inside = {"user": {"id": 42, "tags": ["new", "eu"]}, "is_test": True, "at.dot": 1}
    task = str(factories.submit(payload={"do": "return", "value": inside}).pk)
    factories.submit(payload={"do": "return", "value": {"user": {"id": 421}}})
    for wanted in ("value.user.id:42", "value.user.tags.1:eu", "value.is_test:true", "do:return"):
        assert task in _found(staff, wanted), wanted
    assert _found(staff, "do:return", "value.user.id:42") == {task}
    for wanted in ("value.user.id:4", "value.user:42", "value.user.id.x:42", "value.user.tags.7:eu", "none:1"):
        assert _found(staff, wanted) == set(), wanted


def test_nobody_finds_by_payload_what_they_may_not_see(alice, bob):
    task = alice.submit(payload={"do": "return", "value": 42}).json()["id"]
    bob.user.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="callboard"))
    assert task in {one["id"] for one in bob.get(TASKS).json()["results"]}
    assert (_found(bob, "value:42"), _found(alice, "value:42")) == (set(), {task})
    bob.user.user_permissions.add(Permission.objects.get(codename="view_payload", content_type__app_label="callboard"))
    assert _found(bob, "value:42") == {task}


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        *((one, "invalid") for one in ("42", ":42", "user:", "user..id:42", ".id:42")),
        *((one, "not_allowed") for one in ("user.password:hunter2", "api_key:x", "url:amqp://me:hunter2@host/")),
        ("user:" + "x" * 300, "too_long"),
    ],
)
def test_secrets_and_half_paths_cannot_be_searched_for(staff, wanted, code):
    problem = assert_problem(staff.get(TASKS, {"payload": wanted}), 400, field="payload")
    assert problem["errors"][0]["code"] == code


def test_tasks_are_found_by_the_type_of_their_error(staff, db):
    worker = factories.make_worker()
    failed = factories.start(factories.submit(max_retries=0), worker)
    lifecycle.complete_many([factories.failure(failed, worker, error_type="KeyError", error_message="'KeyError'")])
    factories.submit()
    found = [staff.get(TASKS, {"error_type": name}).json()["results"] for name in ("KeyError", "Key")]
    assert [[one["id"] for one in rows] for rows in found] == [[str(failed.id)], []]
    assert_problem(staff.get(TASKS, {"error_type": "KeyError: 'a"}), 400, field="error_type")
