"""Schedules in the admin: added, edited, paused with a reason, run now, and taken over from code visibly."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from tasks.lifecycle import schedules
from tasks.models import Journal, Schedule, Task
from tests.admin.pages import browser_of, html, list_of, messages_of, page_of, verb_of
from tests.factories import make_schedule

FORM: dict[str, Any] = {
    "name": "weekdays", "actor": "act", "payload": '{"do": "return"}', "options": "{}", "cron": "0 6 * * 1-5",
    "every_seconds": "", "timezone": "Europe/Berlin", "starts_at_0": "", "starts_at_1": "", "ends_at_0": "",
    "ends_at_1": "", "jitter_seconds": "0", "overlap": "skip", "catch_up": "last", "catch_up_window_seconds": "86400",
    "pause_after_failures": "",
}  # fmt: skip


def add(browser: Any, **fields: Any) -> Any:
    return browser.post(reverse("admin:callboard_schedule_add"), FORM | fields)


def edit(browser: Any, schedule: Schedule, **fields: Any) -> Any:
    given = {
        "name": schedule.name, "actor": schedule.actor, "payload": json.dumps(schedule.payload), "cron": schedule.cron,
        "options": json.dumps(schedule.options), "timezone": schedule.timezone,
    }  # fmt: skip
    return browser.post(page_of(schedule), FORM | given | fields, follow=True)


def test_a_schedule_is_added_and_shown(root) -> None:
    answer = add(root, options='{"priority": 9}', starts_at_0="2030-01-01", starts_at_1="06:00:00")
    assert answer.status_code == 302, re_errors(answer)
    schedule = Schedule.objects.get()
    assert (schedule.name, schedule.options, schedule.timezone) == ("weekdays", {"priority": 9}, "Europe/Berlin")
    assert schedule.starts_at is not None
    assert schedule.owner == User.objects.get(username="root")
    page = html(root.get(page_of(schedule)))
    assert "At 06:00 on Monday through Friday, Europe/Berlin" in page
    assert "2030-01-01T07:00:00+01:00" in page or "2030-01-02T06:00:00+01:00" in page
    assert "weekdays" in html(root.get(list_of(Schedule)))
    assert Journal.objects.get().door == "admin"


def re_errors(answer: Any) -> Any:
    return answer.context["adminform"].form.errors if answer.context else answer.content


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"cron": "0 0 31 2 *"}, "none of its months has that day"),
        ({"cron": ""}, "expected cron"),
        ({"every_seconds": "60"}, "got both"),
        ({"timezone": "Mars/Olympus"}, "name of a time zone"),
        ({"actor": "private"}, "Select a valid choice"),
        ({"payload": "{"}, "Enter a valid JSON"),
        ({"payload": "[]"}, "expected an object"),
        ({"payload": "[" * 100_000}, "nested too deeply"),
        ({"payload": '{"nope": 1}'}, "nope"),
        ({"options": '{"nope": 1}'}, "Expected an object with any of"),
        ({"options": "[1]"}, "Expected an object with any of"),
        ({"options": '{"priority": 11}'}, "from 1 to 10"),
        ({"jitter_seconds": "-1"}, "expected"),
        ({"pause_after_failures": "0"}, "from 1 to 1000"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_a_bad_definition_is_shown_beside_its_field(root, fields: dict[str, str], says: str) -> None:
    assert says in html(add(root, **fields)).replace("&#x27;", "'")
    assert not Schedule.objects.exists()


def test_a_name_is_taken_once(root) -> None:
    make_schedule("weekdays")
    assert "already exists" in html(add(root))


def test_an_edit_of_what_somebody_else_has_changed_is_refused(root) -> None:
    schedule = make_schedule()
    assert 'name="version" value="1"' in html(root.get(page_of(schedule)))
    schedules.edit(schedule.pk, {"cron": "5 * * * *"})
    assert "Somebody has changed this schedule" in html(edit(root, schedule, cron="6 * * * *", version="1"))
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.version) == ("5 * * * *", 2)
    edit(root, schedule, cron="6 * * * *", version="2")
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.version) == ("6 * * * *", 3)


def test_what_happens_between_the_check_of_a_form_and_its_verb_is_said(root, monkeypatch) -> None:
    first, second = make_schedule("first"), make_schedule("second")
    stock_add, stock_edit = schedules.add, schedules.edit
    happens: list[Any] = [
        lambda: stock_add("taken", second.definition),
        lambda: stock_add("weekdays", second.definition),
        lambda: stock_edit(first.pk, {"cron": "5 * * * *"}),
        lambda: schedules.remove(second.pk),
    ]
    monkeypatch.setattr(schedules, "add", lambda *args, **given: [happens.pop(0)(), stock_add(*args, **given)][1])
    monkeypatch.setattr(schedules, "edit", lambda *args, **given: [happens.pop(0)(), stock_edit(*args, **given)][1])
    assert "there is a schedule 'taken'" in messages_of(edit(root, first, name="taken"))[0]
    answer = root.post(reverse("admin:callboard_schedule_add"), FORM, follow=True)
    assert "there is a schedule 'weekdays'" in messages_of(answer)[0]
    assert "at version 2" in messages_of(edit(root, first, cron="6 * * * *"))[0]
    assert "there is no schedule" in messages_of(edit(root, second, cron="6 * * * *"))[0]
    assert not happens
    assert (Schedule.objects.get(pk=first.pk).name, Schedule.objects.filter(cron="6 * * * *").count()) == ("first", 0)


def test_an_edit_takes_a_declared_schedule_over_visibly_and_a_button_gives_it_back(root) -> None:
    schedule = make_schedule(is_declared=True)
    assert "Code</span>" in html(root.get(list_of(Schedule)))
    page = html(edit(root, schedule, cron="30 * * * *"))
    assert "Taken over from code" in page
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.taken_over_by) == ("30 * * * *", "root")
    assert "Taken over from code" in html(root.get(list_of(Schedule)))
    root.post(verb_of(schedule, "give_back"), {"confirmed": "1"})
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.taken_over_at) == ("0 * * * *", None)


def test_an_edit_that_changes_nothing_takes_nothing_over(root) -> None:
    schedule = make_schedule(is_declared=True)
    edit(root, schedule)
    schedule.refresh_from_db()
    assert (schedule.version, schedule.taken_over_at) == (1, None)


def test_a_schedule_is_paused_with_a_reason_resumed_and_run(root) -> None:
    schedule = make_schedule()
    root.post(verb_of(schedule, "pause"), {"confirmed": "1", "reason": "the source is down"})
    page = html(root.get(page_of(schedule)))
    assert "the source is down" in page
    assert "Paused" in page
    answer = root.post(verb_of(schedule, "run"), {"confirmed": "1"}, follow=True)
    assert messages_of(answer) == ["hourly was run."]
    assert page_of(Task.objects.get()) in html(root.get(page_of(schedule)))
    root.post(verb_of(schedule, "resume"), {"confirmed": "1"})
    assert Schedule.objects.get().paused_at is None


def test_many_schedules_are_paused_at_once(root) -> None:
    made = [make_schedule(f"s{n}") for n in range(3)]
    root.post(list_of(Schedule), {"action": "pause", "_selected_action": [one.pk for one in made], "confirmed": "1"})
    assert Schedule.objects.active().count() == 0
    assert Journal.objects.get(count=3).kind == "schedule"


def test_secrets_in_a_payload_are_masked_and_survive_an_edit(root) -> None:
    schedule = make_schedule(actor="login", payload={"user": "ada", "password": "hunter2"})
    page = html(root.get(page_of(schedule)))
    assert "hunter2" not in page
    assert "********" in page
    edit(root, schedule, payload='{"user": "ada", "password": "********"}', overlap="allow")
    schedule.refresh_from_db()
    assert (schedule.payload["password"], schedule.overlap) == ("hunter2", "allow")


def test_a_payload_that_changes_beside_a_masked_secret_is_refused_beside_its_field(root) -> None:
    schedule = make_schedule(actor="login", payload={"user": "ada", "password": "hunter2"})
    page = html(edit(root, schedule, payload='{"user": "bob", "password": "********"}'))
    assert "expected the value itself, got the mask" in page
    schedule.refresh_from_db()
    assert schedule.payload == {"user": "ada", "password": "hunter2"}


def test_retries_are_bounded_as_in_the_api(db, settings: Any) -> None:
    settings.SUBMIT_MOST_RETRIES = 5
    user = User.objects.create_user("planner", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_schedule", "add_schedule")))
    planner = browser_of(user)
    assert "expected at most 5 retries" in html(add(planner, options='{"max_retries": 6}'))
    assert not Schedule.objects.exists()
    assert add(planner, options='{"max_retries": 5}').status_code == 302


def test_who_may_not_see_payloads_sees_none_and_can_still_edit_the_rest(db) -> None:
    user = User.objects.create_user("shy", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_schedule", "change_schedule")))
    schedule = make_schedule(payload={"do": "return", "value": "visible"}, is_declared=True)
    shy = browser_of(user)
    assert "visible" not in html(shy.get(page_of(schedule)))
    fields = {name: value for name, value in FORM.items() if name != "payload"}
    shy.post(page_of(schedule), fields | {"cron": "0 * * * *", "timezone": "UTC", "overlap": "allow"})
    schedule.refresh_from_db()
    assert (schedule.payload["value"], schedule.overlap) == ("visible", "allow")


def test_the_version_is_no_field_for_readers(db) -> None:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_schedule", "add_schedule")))
    browser = browser_of(user)
    assert "ersion" not in html(browser.get(page_of(make_schedule()))).partition("<main")[2].partition("</main>")[0]
    assert add(browser).status_code == 302


def test_other_work_needs_the_permission_to_add(db) -> None:
    user = User.objects.create_user("editor", is_staff=True)
    names = ("view_schedule", "change_schedule", "view_payload")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    schedule = make_schedule()
    editor = browser_of(user)
    assert "You may not add schedules" in html(
        edit(editor, schedule, payload='{"do": "raise"}', **{"initial-payload": '{"do": "raise"}'})
    )
    answer = edit(editor, schedule, overlap="allow")
    assert answer.redirect_chain, re_errors(answer)
    schedule.refresh_from_db()
    assert (schedule.payload, schedule.overlap) == ({"do": "return"}, "allow")
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.groups.add(Group.objects.get(name="viewer"))
    assert "Save" not in html(browser_of(viewer).get(page_of(schedule)))
    assert browser_of(viewer).post(verb_of(schedule, "pause"), {"confirmed": "1"}).status_code == 403


def test_a_paused_schedule_says_by_whom(root) -> None:
    schedule = make_schedule()
    schedules.pause(schedule.pk)
    assert "by itself" in html(root.get(page_of(schedule)))


def test_next_fires_are_in_the_schedules_zone_and_the_viewers(root: Any, db: None) -> None:
    schedule = make_schedule(cron="0 6 * * *", timezone="Asia/Tokyo")
    page = html(root.get(page_of(schedule)))
    assert re.search(
        r">\w{3} \d{4}-\d\d-\d\d 06:00:00 Asia/Tokyo</time> · <time [^>]+>\w{3} 21:00:00 UTC</time> for you", page
    )
    root.cookies["callboard_zone"] = "Asia/Seoul"
    page = html(root.get(page_of(schedule)))
    assert "06:00:00 Asia/Tokyo</time></div>" in page, "the clocks of both zones show the same"
    assert "In the zone Asia/Seoul." in page
