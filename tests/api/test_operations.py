"""Operations and failures over REST: what is refused, which rows are chosen, and what a token may reach."""

from typing import Any

import pytest
from django.contrib.auth.models import Group

from dlq.models import DeadLetter, Failure
from tasks import lifecycle
from tasks.models import ApiToken, Operation, Task
from tasks.states import Status
from tests import factories
from tests.callers import Caller, assert_problem

pytestmark = pytest.mark.django_db

URL = "/api/v1/operations"
FAILURES = "/api/v1/failures"


def _post(caller: Any, path: str = URL, **body: Any) -> Any:
    return caller.post(path, body, content_type="application/json")


@pytest.fixture
def letters(worker) -> list[DeadLetter]:
    for tags in (["a"], ["a"], ["b"]):
        factories.make_task(Status.DEAD, worker=worker, tags=tags)
    lifecycle.fold_failures(**factories.make_lead())
    return list(DeadLetter.objects.newest_first())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "verb"),
        ({"verb": "explode", "filter": {"actor": "act"}}, "verb"),
        ({"verb": "redrive"}, "filter"),
        ({"verb": "redrive", "filter": {}}, "filter"),
        ({"verb": "redrive", "filter": {"actor": "act"}, "ids": ["0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"]}, "filter"),
        ({"verb": "redrive", "ids": []}, "ids"),
        ({"verb": "redrive", "ids": ["x"]}, "ids"),
        ({"verb": "redrive", "filter": {"tag": "a"}}, "filter.tag"),
        ({"verb": "redrive", "filter": {"actor": 7}}, "filter.actor"),
        ({"verb": "redrive", "filter": {"failure": "zz"}}, "filter.failure"),
        ({"verb": "redrive", "filter": {"actor": "act"}, "canary": -1}, "canary"),
        ({"verb": "redrive", "filter": {"actor": "act"}, "rate_per_second": 0}, "rate_per_second"),
        ({"verb": "redrive", "filter": {"actor": "act"}, "rate_per_second": True}, "rate_per_second"),
        ({"verb": "redrive", "filter": {"actor": "act"}, "stop_percent": 101}, "stop_percent"),
        ({"verb": "redrive", "filter": {"actor": "act"}, "change": {"priority": 1}}, "change"),
        ({"verb": "cancel", "filter": {"actor": "act"}, "canary": 5}, "canary"),
        ({"verb": "edit", "filter": {"actor": "act"}}, "change"),
        ({"verb": "edit", "filter": {"actor": "act"}, "change": {"payload": {}}}, "change.payload"),
        ({"verb": "edit", "filter": {"actor": "act"}, "change": {"priority": 11}}, "change.priority"),
        ({"verb": "cancel", "filter": {"actor": "act"}, "reason": "two\nlines"}, "reason"),
        ({"verb": "cancel", "filter": {"actor": "act"}, "who": "me"}, "who"),
    ],
)
def test_a_bad_operation_is_a_400_that_names_the_field_and_makes_none(staff, letters, body: Any, field: str) -> None:
    answer = _post(staff, **body)
    assert answer.status_code == 400
    assert field in [one["field"] for one in answer.json()["errors"]]
    assert not Operation.objects.exists()


def test_an_operation_has_the_rows_that_match_and_can_be_done(staff, letters) -> None:
    lifecycle.discard(letters[0].pk)
    for wanted in ({"actor": "act"}, {"failure": letters[0].fingerprint}, {"reason": "max_retries_exceeded"}):
        begun = _post(staff, verb="redrive", filter=wanted, preview=True).json()
        assert (begun["state"], begun["total"], begun["filter"]) == ("PREVIEW", 2, wanted)
    assert _post(staff, verb="retry", filter={"tag": "a"}, preview=True).json()["total"] == 2
    assert _post(staff, verb="cancel", filter={"tag": "a"}, preview=True).json()["total"] == 0
    ids = [str(letter.pk) for letter in letters]
    assert _post(staff, verb="redrive", ids=ids, preview=True).json()["total"] == 3, "it will say why it skips one"


def test_an_operation_is_followed_to_its_end_and_lists_its_rows(staff, letters, worker) -> None:
    begun = _post(staff, verb="edit", filter={"status": ["pending", "queued"]}, change={"priority": "high"})
    assert (begun.status_code, begun.json()["total"]) == (201, 0)
    begun = _post(staff, verb="redrive", filter={"actor": "act"}, reason="the fix is out")
    assert begun.headers["Location"] == begun.json()["url"]
    lifecycle.step_operation(Operation.objects.newest_first()[0].pk, **factories.make_lead())
    url = begun.json()["url"]
    read = staff.get(url).json()
    assert (read["state"], read["moved"], read["running"], read["reason"]) == ("RUNNING", 3, 3, "the fix is out")
    items = staff.get(f"{url}/items?state=moved&limit=2").json()
    assert len(items["results"]) == 2
    (last,) = staff.get(items["next"]).json()["results"]
    assert Task.objects.filter(pk=last["task_id"]).exists()
    assert staff.get(f"{url}/items?state=died").json()["results"] == []
    assert _post(staff, f"{url}/resume").status_code == 409
    assert _post(staff, f"{url}/pause").json()["state"] == "PAUSED"
    slower = staff.patch(url, {"rate_per_second": 2.5, "stop_percent": None}, content_type="application/json").json()
    assert (slower["rate_per_second"], slower["stop_percent"]) == (2.5, None)
    assert staff.patch(url, {}, content_type="application/json").status_code == 400
    assert [one["state"] for one in staff.get(f"{URL}?verb=redrive").json()["results"]] == ["PAUSED"]


def test_a_token_for_some_actors_reaches_only_their_rows_and_its_users_operations(staff, letters) -> None:
    others = _post(staff, verb="redrive", filter={"actor": "act"}, preview=True).json()
    user = type(staff.user).objects.create_superuser("narrow")
    _, secret = ApiToken.issue(user=user, name="narrow", scopes=["read", "operate"], actors=["other"])
    narrow = Caller(authorization=f"Bearer {secret}")
    assert _post(narrow, verb="redrive", filter={"actor": "act"}).json()["total"] == 0
    assert [one["by"] for one in narrow.get(URL).json()["results"]] == ["narrow"]
    assert narrow.get(others["url"]).status_code == 404
    assert narrow.get(FAILURES).json()["results"] == []
    assert narrow.get(f"{FAILURES}/{letters[0].fingerprint}").status_code == 404


def test_an_edit_of_many_gives_no_queue_that_the_token_is_not_for(staff) -> None:
    factories.submit()
    user = type(staff.user).objects.create_superuser("narrow")
    _, secret = ApiToken.issue(user=user, name="narrow", scopes=["read", "operate"], queues=["default"])
    narrow = Caller(authorization=f"Bearer {secret}")
    edit: dict[str, Any] = {"verb": "edit", "filter": {"actor": "act"}}
    assert_problem(_post(narrow, **edit, change={"queue": "reports"}), 403, field="change.queue")
    assert not Operation.objects.exists()
    assert _post(narrow, **edit, change={"queue": "default"}).json()["total"] == 1


def test_an_edit_of_many_keeps_to_the_bounds_of_retries(staff) -> None:
    factories.submit()
    user = type(staff.user).objects.create_user("olga")
    user.groups.add(Group.objects.get(name="operator"))
    olga = Caller(user)
    edit: dict[str, Any] = {"verb": "edit", "filter": {"actor": "act"}}
    assert_problem(_post(olga, **edit, change={"max_retries": 101}), 400, field="change.max_retries")
    for caller, retries in ((olga, 100), (staff, 101)):
        assert _post(caller, **edit, change={"max_retries": retries}).status_code == 201


def test_a_failure_tells_what_its_deaths_have_in_common(staff, letters) -> None:
    (listed,) = staff.get(FAILURES).json()["results"]
    assert (listed["open"], listed["total"], listed["error"]["type"]) == (3, 3, "RuntimeError")
    read = staff.get(listed["url"]).json()
    found = {(one["kind"], one["name"], one["value"]): one["count"] for one in read["in_common"]}
    assert (found["queue", None, "default"], found["tag", None, "a"], read["compared"]) == (3, 2, 3)
    assert ("tag", None, "b") not in found
    assert sum(read["deaths_per_minute"]) == 3
    changed = staff.patch(listed["url"], {"note": "known", "reason": "x"}, content_type="application/json").json()
    assert (changed["note"], changed["assignee"]) == ("known", None)
    assert staff.patch(listed["url"], {"note": None}, content_type="application/json").json()["note"] is None
    assert staff.patch(listed["url"], {"open": 0}, content_type="application/json").status_code == 400
    assert staff.get(f"{FAILURES}?open=false").json()["results"] == []
    assert staff.get(f"{FAILURES}?open=maybe").status_code == 400
    assert staff.get(f"{FAILURES}/nonsense").status_code == 404


def test_a_failure_is_snoozed_until_a_new_build(staff, letters) -> None:
    Failure.objects.update(first_build="a1", last_build="b2")
    url = f"{FAILURES}/{letters[0].fingerprint}"
    read = staff.get(url).json()
    assert (read["first_build"], read["last_build"], read["snoozed_until_new_build"]) == ("a1", "b2", False)

    def patch(**change: Any) -> Any:
        return staff.patch(url, change, content_type="application/json")

    assert patch(snoozed_until_new_build=True).json()["snoozed_until_new_build"] is True
    assert len(staff.get(f"{FAILURES}?snoozed=true").json()["results"]) == 1
    assert staff.get(f"{FAILURES}?snoozed=false").json()["results"] == []
    both = patch(snoozed_until_new_build=True, snoozed_until="2099-01-01T00:00:00Z")
    assert (both.status_code, both.json()["detail"][:8]) == (400, "expected")
    assert patch(snoozed_until_new_build="soon").status_code == 400
    assert Failure.objects.get().snoozed_builds == ["b2"], "a refused change changes nothing"
    assert patch(snoozed_until_new_build=None).json()["snoozed_until_new_build"] is False


def _discard_all(staff: Any, letters: list[DeadLetter]) -> str:
    body = _post(staff, verb="discard", ids=[str(one.pk) for one in letters]).json()
    lifecycle.step_operation(body["id"], **factories.make_lead())
    return str(body["id"])


def test_a_discard_is_undone_by_an_operation(staff, letters) -> None:
    id = _discard_all(staff, letters)
    assert staff.get(f"{URL}/{id}").json()["state"] == "DONE"
    lifecycle.retry(letters[0].task_id)
    response = _post(staff, f"{URL}/{id}/undo", reason="the wrong filter")
    assert response.status_code == 201
    begun = response.json()
    assert (begun["verb"], begun["total"], begun["filter"]) == ("restore", len(letters), {"undo_of": id})
    assert (begun["reason"], response["Location"]) == ("the wrong filter", begun["url"])
    lifecycle.step_operation(begun["id"], **factories.make_lead())
    ended = staff.get(begun["url"]).json()
    assert (ended["state"], ended["moved"], ended["skips"]) == ("DONE", len(letters) - 1, {"the task is PENDING": 1})
    assert DeadLetter.objects.open().count() == len(letters) - 1


def test_an_undo_leaves_what_was_discarded_again_since(staff, letters) -> None:
    id = _discard_all(staff, letters)
    again, restored, *rest = letters
    lifecycle.restore_many([again.pk, restored.pk])
    lifecycle.discard(again.pk)
    begun = _post(staff, f"{URL}/{id}/undo").json()
    assert begun["total"] == len(rest)
    lifecycle.step_operation(begun["id"], **factories.make_lead())
    assert {*DeadLetter.objects.open()} == {restored, *rest}


def test_only_a_discard_that_has_ended_is_undone(staff, letters) -> None:
    running = _post(staff, verb="discard", ids=[str(letters[0].pk)], preview=True).json()["id"]
    redrive = _post(staff, verb="redrive", ids=[str(letters[1].pk)]).json()["id"]
    for id in (running, redrive):
        assert_problem(_post(staff, f"{URL}/{id}/undo"), 409, code="illegal_transition")
    assert_problem(_post(staff, f"{URL}/{running}/undo", comment="x"), 400, field="comment")
    assert_problem(_post(staff, f"{URL}/x/undo"), 404)
    assert Operation.objects.count() == 2


def test_those_of_a_filter_that_can_be_restored_are(staff, letters) -> None:
    lifecycle.discard_many([one.pk for one in letters])
    lifecycle.retry(letters[0].task_id)
    begun = _post(staff, verb="restore", filter={"failure": letters[0].fingerprint}).json()
    assert begun["total"] == len(letters) - 1
    assert _post(staff, verb="discard", filter={"failure": letters[0].fingerprint}).json()["total"] == 0
