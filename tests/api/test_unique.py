"""Unique keys over REST: the status says whether there is a new task, and ``unique.outcome`` what was done."""

from datetime import timedelta

from django.contrib.auth.models import Permission

from tasks.models import ApiToken, Task
from tasks.states import Scope
from tests.callers import TASKS, Caller

BODY = {"actor": "act", "payload": {"do": "return"}}
RULE = {
    "key": "invoice:1",
    "until": "finished",
    "ttl_seconds": 60,
    "on_conflict": "return",
    "max_wait_seconds": None,
}


def test_the_first_is_created_and_the_next_gets_it_back(alice):
    first = alice.submit(unique={"key": "invoice:1", "ttl_seconds": 60})
    assert (first.status_code, first.json()["unique"]) == (201, {**RULE, "outcome": "created"})
    second = alice.submit(unique={"key": "invoice:1"})
    assert (second.status_code, second.json()["unique"]["outcome"]) == (200, "existing")
    assert second.json()["id"] == first.json()["id"]
    assert second["Location"] == first["Location"]
    assert alice.get(first.json()["url"]).json()["unique"] == {**RULE, "outcome": None}


def test_a_replacement_answers_with_the_task_as_it_is_now(alice):
    rule = {"key": "search", "on_conflict": "replace"}
    first = alice.submit(unique=rule, delay_seconds=60, tags=["old"]).json()
    second = alice.submit(unique=rule, delay_seconds=90, tags=["new"])
    assert (second.status_code, second.json()["unique"]["outcome"]) == (200, "replaced")
    assert (second.json()["id"], second.json()["tags"]) == (first["id"], ["new"])
    assert second.json()["run_at"] > first["run_at"]


def test_a_refusal_is_a_conflict_that_names_the_task_and_the_field(alice):
    first = alice.submit(unique={"key": "k"}).json()
    refused = alice.submit(unique={"key": "k", "on_conflict": "reject"})
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate")
    assert refused.json()["errors"] == [
        {"field": "unique", "code": "duplicate", "message": f"task {first['id']} has the key"}
    ]
    tasks = [BODY, {**BODY, "unique": {"key": "k", "on_conflict": "reject"}}]
    bulk = alice.send(f"{TASKS}/bulk", {"tasks": tasks})
    assert (bulk.status_code, [one["field"] for one in bulk.json()["errors"]]) == (409, ["tasks.1.unique"])
    assert Task.objects.count() == 1


def test_who_may_not_read_tasks_is_not_told_which_task_has_the_key(alice):
    first = alice.submit(unique={"key": "k"}).json()
    _, secret = ApiToken.issue(user=alice.user, name="submits", scopes=[Scope.SUBMIT])
    sender = Caller(authorization=f"Bearer {secret}")
    refused = sender.submit(unique={"key": "k", "on_conflict": "reject"})
    assert refused.status_code == 409
    assert first["id"] not in refused.content.decode()


def test_another_user_s_task_is_neither_found_nor_replaced(alice, bob):
    first = alice.submit(unique={"key": "k"}).json()
    for way in ("reject", "replace", "return"):
        other = bob.submit(unique={"key": "k", "on_conflict": way}).json()
        assert other["id"] != first["id"]
        bob.send(f"{other['url']}/cancel")
    assert alice.get(first["url"]).json()["status"] == "PENDING"


def test_a_bulk_of_known_keys_creates_nothing_and_says_so(alice):
    tasks = [{**BODY, "unique": {"key": key}} for key in ("a", "b", "a")]
    answers = [alice.send(f"{TASKS}/bulk", {"tasks": tasks}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    outcomes = [[task["unique"]["outcome"] for task in answer.json()["tasks"]] for answer in answers]
    assert outcomes == [["created", "created", "existing"], ["existing"] * 3]
    mixed = alice.send(f"{TASKS}/bulk", {"tasks": [BODY, tasks[0]]})
    assert (mixed.status_code, [task["unique"] is None for task in mixed.json()["tasks"]]) == (201, [True, False])


def test_an_idempotency_key_replays_the_task_that_had_the_unique_key(alice):
    first = alice.submit(unique={"key": "k"}).json()
    answers = [alice.submit(unique={"key": "k"}, idempotency_key="once") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert ["Idempotency-Replayed" in answer for answer in answers] == [False, True]
    assert {answer.json()["id"] for answer in answers} == {first["id"]}


def test_a_key_made_of_arguments_is_hidden_with_them(alice, staff):
    first = alice.submit("invoice", payload={"order_id": "4711"}).json()
    assert first["unique"]["key"] == "invoice:4711:paper"
    staff.user.is_superuser = False
    staff.user.save()
    staff.user.user_permissions.add(Permission.objects.get(codename="view_task", content_type__app_label="callboard"))
    seen = staff.get(first["url"]).json()
    assert seen["unique"]["key"] is None
    assert "unique.key" in seen["hidden"]


def test_a_debounced_task_says_how_long_it_may_still_be_postponed(alice, root):
    rule = {"key": "k", "on_conflict": "replace", "max_wait_seconds": 600}
    task = alice.submit(unique=rule, delay_seconds=60).json()
    (reason,) = [one for one in alice.get(task["url"]).json()["waiting_for"] if one["kind"] == "not_due"]
    latest = Task.objects.get().created_at + timedelta(seconds=600)
    assert reason["message"].endswith(
        f"; submissions of its unique key postpone it, to {latest:%Y-%m-%d %H:%M:%S} UTC at the latest"
    )
    page = root.get(f"/admin/callboard/task/{task['id']}/change/").content.decode()
    assert "unique key" in page.lower()
    assert "max_wait_seconds" in page
