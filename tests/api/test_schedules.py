"""The REST API of schedules: what a definition may be, what verbs do, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from tasks.lifecycle import Author, schedules
from tasks.models import ApiToken, Journal, Schedule, Task, new_id
from tests.callers import Caller, assert_problem
from tests.factories import make_schedule

PATH = "/api/v1/schedules"
NEW: dict[str, Any] = {
    "name": "weekdays", "actor": "act", "payload": {"do": "return"}, "cron": "0 6 * * 1-5", "timezone": "Europe/Berlin",
}  # fmt: skip


@pytest.fixture
def root(db: None) -> Caller:
    return Caller(User.objects.create_superuser("root"))


def add(caller: Caller, **fields: Any) -> Any:
    body = {**NEW, **fields}
    return caller.send(PATH, {name: value for name, value in body.items() if value is not ...})


def patch(caller: Caller, schedule: Any, body: dict[str, Any], **extra: Any) -> Any:
    return caller.patch(f"{PATH}/{schedule.pk}", body, content_type="application/json", **extra)


def test_a_schedule_is_added_and_read(root) -> None:
    made = add(root, priority="high", tags=["report"], jitter_seconds=5, pause_after_failures=3)
    assert made.status_code == 201, made.content
    read = root.get(made["Location"])
    answer = read.json()
    assert answer.pop("last_results") == []
    assert answer == made.json()
    assert answer["description"] == "At 06:00 on Monday through Friday, Europe/Berlin"
    assert (answer["priority"], answer["tags"], answer["queue"]) == (9, ["report"], None)
    assert (answer["overlap"], answer["catch_up"], answer["declared"]) == ("skip", "last", False)
    assert answer["next_fire_at"].endswith("00:00Z")
    assert read["ETag"] == '"1"'
    assert [one["id"] for one in root.get(PATH).json()["results"]] == [answer["id"]]
    assert root.get(f"{PATH}?actor=limited").json()["results"] == []
    entry = Journal.objects.get()
    assert (entry.verb, entry.kind, entry.by, entry.object_name) == ("add", "schedule", "root", "weekdays")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"cron": "0 0 31 2 *"}, "cron", "none of its months has that day"),
        ({"cron": "61 * * * *"}, "cron", "bad minute"),
        ({"cron": "1," * 100_000}, "cron", "at most 200 characters"),
        ({"cron": 5}, "cron", "expected text"),
        ({"cron": ""}, "cron", "expected text"),
        ({"cron": ...}, "cron", "expected cron"),
        ({"every_seconds": 60}, "every_seconds", "got both"),
        ({"cron": ..., "every_seconds": 0.5}, "every_seconds", "expected 1 to"),
        ({"cron": ..., "every_seconds": -1}, "every_seconds", "expected a number of seconds"),
        ({"cron": ..., "every_seconds": 1e300}, "every_seconds", "expected a number of seconds"),
        ({"timezone": "Mars/Olympus"}, "timezone", "name of a time zone"),
        ({"timezone": "../../etc/passwd"}, "timezone", "name of a time zone"),
        ({"timezone": "x" * 100}, "timezone", "at most 64"),
        ({"name": ...}, "name", "a name of its own"),
        ({"name": "x" * 101}, "name", "at most 100"),
        ({"name": "a\0b"}, "name", "UTF-8"),
        ({"actor": "nobody"}, "actor", "no actor is declared"),
        ({"actor": "private", "payload": {}}, "actor", "no actor is declared"),
        ({"payload": {"nope": 1}}, "payload.nope", ""),
        ({"payload": []}, "payload", "expected an object"),
        ({"overlap": "maybe"}, "overlap", "expected one of skip, allow"),
        ({"overlap": ["skip"]}, "overlap", "expected one of skip, allow"),
        ({"catch_up": "some"}, "catch_up", "expected one of none, last, all"),
        ({"jitter_seconds": 90_000}, "jitter_seconds", "expected 0 to 86400"),
        ({"pause_after_failures": 0}, "pause_after_failures", "from 1 to 1000"),
        ({"starts_at": "2030-01-02T00:00:00"}, "starts_at", "no zone"),
        ({"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}, "ends_at", "after starts_at"),
        ({"queue": "nowhere"}, "queue", "no queue is called"),
        ({"priority": 11}, "priority", "from 1 to 10"),
        ({"run_at": "2030-01-02T00:00:00Z"}, "run_at", "expected one of"),
        ({"depends_on": []}, "depends_on", "expected one of"),
    ],
)  # fmt: skip
def test_a_bad_definition_is_a_400_that_names_the_field(root, fields: dict[str, Any], field: str, says: str) -> None:
    response = add(root, **fields)
    problem = assert_problem(response, 400)
    assert field in {error["field"] for error in problem["errors"]}, problem
    assert says in str(problem["errors"])
    assert not Schedule.objects.exists()
    assert not Journal.objects.exists()


def test_a_name_is_taken_once(root) -> None:
    assert add(root).status_code == 201
    problem = assert_problem(add(root), 400, field="name")
    assert problem["errors"][0]["code"] == "taken"
    other = make_schedule("other")
    assert_problem(patch(root, other, {"name": "weekdays"}), 400, field="name")


def test_an_edit_changes_what_it_names_and_counts_from_now_on(root) -> None:
    schedule = make_schedule(pause_after_failures=3, options={"priority": 9, "tags": ["a"]})
    answer = patch(root, schedule, {"cron": "30 5 * * *", "tags": ["b"], "pause_after_failures": None, "reason": "x"})
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["cron"], body["tags"], body["priority"], body["pause_after_failures"]) == (
        "30 5 * * *",
        ["b"],
        9,
        None,
    )
    assert (body["version"], answer["ETag"]) == (2, '"2"')
    entry = Journal.objects.get(verb="edit")
    assert entry.detail == {"fields": ["cron", "options", "pause_after_failures"]}
    assert entry.reason == "x"
    assert patch(root, schedule, {"priority": None}).json()["priority"] is None
    # An interval takes the place of the cron expression, and the other way round.
    assert patch(root, schedule, {"every_seconds": 60}).json()["cron"] is None
    assert patch(root, schedule, {"cron": "@daily"}).json()["every_seconds"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"overlap": None}, "overlap"),
        ({"name": None}, "name"),
        ({"cron": None}, "cron"),
        ({"cron": "* * 31 2 *"}, "cron"),
        ({"nope": 1}, "nope"),
        ({"taken_over": True}, "taken_over"),
        ({"taken_over": False, "cron": "@daily"}, "taken_over"),
    ],
)  # fmt: skip
def test_a_bad_edit_changes_nothing(root, body: dict[str, Any], field: str) -> None:
    schedule = make_schedule()
    problem = assert_problem(patch(root, schedule, body), 400)
    assert not field or field in {error["field"] for error in problem["errors"]}
    before = schedule.version
    schedule.refresh_from_db()
    assert schedule.version == before


def test_a_replacement_brings_back_the_defaults(root) -> None:
    schedule = make_schedule(overlap="allow", options={"priority": 9})
    body = {**NEW, "name": "hourly"}
    answer = root.put(f"{PATH}/{schedule.pk}", body, content_type="application/json").json()
    assert (answer["overlap"], answer["priority"], answer["cron"]) == ("skip", None, "0 6 * * 1-5")
    missing = root.put(f"{PATH}/{schedule.pk}", {"cron": "@daily"}, content_type="application/json")
    assert {one["field"] for one in assert_problem(missing, 400)["errors"]} == {"name", "actor"}


def test_an_edit_of_another_version_is_refused(root) -> None:
    schedule = make_schedule()
    headers = {"if-match": '"7"'}
    assert_problem(patch(root, schedule, {"overlap": "allow"}, headers=headers), 412)
    assert_problem(patch(root, schedule, {"overlap": "allow"}, headers={"if-match": 'W/"1"'}), 412)
    assert_problem(patch(root, schedule, {"overlap": "allow"}, headers={"if-match": "1"}), 400)
    assert_problem(root.delete(f"{PATH}/{schedule.pk}", headers=headers), 412)
    assert patch(root, schedule, {"overlap": "allow"}, headers={"if-match": '"1"'}).status_code == 200


def test_a_schedule_is_paused_with_who_and_why_and_resumed(root) -> None:
    schedule = make_schedule()
    paused = root.send(f"{PATH}/{schedule.pk}/pause", {"reason": "the source is down"}).json()
    assert (paused["paused_by"], paused["pause_reason"], paused["next_fire_at"]) == ("root", "the source is down", None)
    assert root.send(f"{PATH}/{schedule.pk}/pause").json()["pause_reason"] == "the source is down"
    resumed = root.send(f"{PATH}/{schedule.pk}/resume").json()
    assert (resumed["paused_at"], resumed["paused_by"], resumed["pause_reason"]) == (None, None, None)
    assert resumed["next_fire_at"]
    assert [*Journal.objects.order_by("id").values_list("verb", flat=True)] == ["add", "pause", "resume"]


def test_a_schedule_runs_now_even_if_it_is_paused(root) -> None:
    schedule = make_schedule(payload={"do": "return", "value": "{scheduled_date}"})
    schedules.pause(schedule.pk)
    answer = root.send(f"{PATH}/{schedule.pk}/run", {"reason": "asked for"})
    assert answer.status_code == 201
    task = Task.objects.get()
    assert answer.json()["id"] == str(task.pk)
    assert answer.json()["schedule_id"] == str(schedule.pk)
    assert task.payload["value"] == f"{task.scheduled_at:%Y-%m-%d}"
    (result,) = root.get(f"{PATH}/{schedule.pk}").json()["last_results"]
    assert (result["id"], result["status"]) == (str(task.pk), "PENDING")
    assert [one["id"] for one in root.get(f"/api/v1/tasks?schedule={schedule.pk}").json()["results"]] == [str(task.pk)]
    assert root.get(f"/api/v1/tasks?schedule={new_id()}").json()["results"] == []


def test_a_range_is_filled_once_at_a_time(root) -> None:
    schedule = make_schedule()
    body = {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T05:30:00Z", "reason": "lost"}
    answer = root.send(f"{PATH}/{schedule.pk}/backfill", body).json()
    assert answer["fires"] == 6
    assert answer["schedule"]["backfill"] == {
        "next_fire_at": "2026-01-01T00:00:00Z",
        "last_fire_at": "2026-01-01T05:00:00Z",
    }
    problem = assert_problem(root.send(f"{PATH}/{schedule.pk}/backfill", body), 409)
    assert "wait for its end" in problem["detail"]
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("2026-01-01T00:00:00Z", "2025-01-01T00:00:00Z", "ends_at"),
        ("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "ends_at"),
        ("1970-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "ends_at"),
        ("2026-01-01T00:10:00Z", "2026-01-01T00:50:00Z", "starts_at"),
        (None, "2026-01-01T00:50:00Z", "starts_at"),
        ("yesterday", "2026-01-01T00:50:00Z", "starts_at"),
        (5, [], "ends_at"),
    ],
)
def test_a_bad_range_is_a_400(root, start: Any, end: Any, field: str) -> None:
    schedule = make_schedule()
    problem = assert_problem(root.send(f"{PATH}/{schedule.pk}/backfill", {"starts_at": start, "ends_at": end}), 400)
    assert field in {error["field"] for error in problem["errors"]}
    schedule.refresh_from_db()
    assert schedule.backfill_from is None


def test_a_million_fires_are_refused_quickly(root) -> None:
    schedule = make_schedule(cron="* * * * * *")
    body = {"starts_at": "2025-01-01T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}
    problem = assert_problem(root.send(f"{PATH}/{schedule.pk}/backfill", body), 400)
    assert "at most 1,000 fires" in problem["errors"][0]["message"]


def test_a_preview_lists_the_next_fires_in_both_clocks(root) -> None:
    schedule = make_schedule(cron="0 6 * * *", timezone="Europe/Berlin")
    found = root.get(f"{PATH}/{schedule.pk}/preview?after=2026-03-28T00:00:00Z&limit=2").json()["results"]
    assert found == [
        {"at": "2026-03-28T05:00:00Z", "local": "2026-03-28T06:00:00+01:00"},
        {"at": "2026-03-29T04:00:00Z", "local": "2026-03-29T06:00:00+02:00"},
    ]
    assert len(root.get(f"{PATH}/{schedule.pk}/preview").json()["results"]) == 10
    assert_problem(root.get(f"{PATH}/{schedule.pk}/preview?limit=101"), 400)


def test_what_code_declares_is_taken_over_by_an_edit_visibly_and_can_be_given_back(root) -> None:
    schedule = make_schedule(is_declared=True)
    answer = patch(root, schedule, {"cron": "30 * * * *"}).json()
    assert (answer["declared"], answer["taken_over"], answer["taken_over_by"]) == (True, True, "root")
    assert Journal.objects.get(verb="edit").detail == {"fields": ["cron"], "taken_over": True}
    given = patch(root, schedule, {"taken_over": False}).json()
    assert (given["cron"], given["taken_over"], given["taken_over_by"]) == ("0 * * * *", False, None)
    assert Journal.objects.filter(verb="give_back").count() == 1
    assert_problem(root.delete(f"{PATH}/{schedule.pk}"), 409)
    assert_problem(patch(root, schedule, {"name": "other"}), 400, field="name")
    mine = make_schedule("mine")
    assert_problem(patch(root, mine, {"taken_over": False}), 409)
    assert root.delete(f"{PATH}/{mine.pk}").status_code == 204


def test_a_removed_schedule_leaves_its_tasks(root) -> None:
    schedule = make_schedule()
    schedules.run(schedule.pk)
    assert root.delete(f"{PATH}/{schedule.pk}", {"reason": "no longer needed"}, content_type="application/json")
    assert (Schedule.objects.count(), Task.objects.count()) == (0, 1)
    assert Journal.objects.get(verb="remove").reason == "no longer needed"
    assert_problem(root.get(f"{PATH}/{schedule.pk}"), 404)


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("pause", "/pause", {}),
        ("resume", "/resume", {}),
        ("backfill", "/backfill", {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-02T00:00:00Z"}),
    ],
)
def test_a_schedule_that_is_removed_beside_a_verb_is_not_found(root, monkeypatch, verb, path, body) -> None:
    schedule = make_schedule()
    monkeypatch.setattr(schedules, verb, lambda pk, **_: schedules.remove(pk))
    assert_problem(root.send(f"{PATH}/{schedule.pk}{path}", body), 404, code="not_found")


def test_payloads_are_masked_for_those_who_do_not_own_them_and_keep_their_secrets(root) -> None:
    schedule = make_schedule(actor="login", payload={"user": "ada", "password": "hunter2"})
    answer = root.get(f"{PATH}/{schedule.pk}").json()
    assert answer["payload"] == {"user": "ada", "password": "********"}
    # Sent back as it was seen, it stays as it is.
    assert patch(root, schedule, {"payload": answer["payload"], "overlap": "allow"}).status_code == 200
    schedule.refresh_from_db()
    assert schedule.payload["password"] == "hunter2"
    assert_problem(patch(root, schedule, {"payload": {"user": "bob", "password": "********"}}), 400)


def test_a_token_sees_only_schedules_within_its_reach(root) -> None:
    here, there = make_schedule("here"), make_schedule("there", actor="elsewhere", payload={})
    moved = make_schedule("moved", options={"queue": "other"})
    _, secret = ApiToken.issue(user=root.user, name="narrow", queues=["other"])
    narrow = Caller(authorization=f"Bearer {secret}")
    seen = {one["id"] for one in narrow.get(PATH).json()["results"]}
    assert seen == {str(there.pk), str(moved.pk)}
    assert_problem(narrow.get(f"{PATH}/{here.pk}"), 404)
    assert_problem(narrow.send(f"{PATH}/{here.pk}/run"), 404)
    assert_problem(add(narrow), 403)
    assert add(narrow, queue="other").status_code == 201
    assert_problem(patch(narrow, moved, {"queue": "default"}), 403)
    # Without a queue, its tasks would go to that of the actor.
    assert_problem(patch(narrow, moved, {"queue": None}), 403)
    moved.refresh_from_db()
    assert moved.options == {"queue": "other"}


def test_a_token_gives_no_schedule_back_that_then_leaves_its_reach(root) -> None:
    schedule = make_schedule(is_declared=True)
    schedules.edit(schedule.pk, {"options": {"queue": "other"}})
    _, secret = ApiToken.issue(user=root.user, name="narrow", queues=["other"])
    narrow = Caller(authorization=f"Bearer {secret}")
    assert_problem(patch(narrow, schedule, {"taken_over": False}), 403)
    assert patch(root, schedule, {"taken_over": False}).json()["queue"] is None


def test_an_edit_is_made_of_the_version_that_it_was_checked_with(root, monkeypatch) -> None:
    schedule, stock = make_schedule(options={"priority": 5}), schedules.edit

    def edit(*args: Any, **given: Any) -> Schedule:
        monkeypatch.setattr(schedules, "edit", stock)
        stock(schedule.pk, {"options": {"priority": 5, "queue": "other"}})
        return stock(*args, **given)

    monkeypatch.setattr(schedules, "edit", edit)
    assert_problem(patch(root, schedule, {"priority": 9}), 412, code="version_mismatch")
    assert patch(root, schedule, {"priority": 9}).json()["queue"] == "other"


def test_the_tasks_of_a_schedule_belong_to_whoever_added_it(root) -> None:
    made = add(root).json()
    task = schedules.run(Schedule.objects.get(pk=made["id"]).pk, by=Author("ada"))
    assert task.owner_id == root.user.pk
    assert task.run_at - task.created_at <= timedelta(seconds=1)
