"""Schedules that code declares, beside those of people: neither fights the other."""

from datetime import timedelta
from typing import Any

import dramatiq
import pytest

from tasks.db.statements import fetch
from tasks.errors import IllegalTransition, InvalidTask, NotFound, VersionMismatch
from tasks.lifecycle import Author, schedules
from tasks.models import Journal, Schedule, Task, new_id
from tasks.worker.middleware import InvalidOption
from tests.factories import make_schedule, submit

pytestmark = pytest.mark.django_db

DAILY: dict[str, Any] = {"actor": "act", "payload": {"do": "return"}, "cron": "@daily", "timezone": "Europe/Berlin"}
ADA = Author("ada")


def declare(**declared: dict[str, Any]) -> dict[str, str]:
    return schedules.declare(declared)


def only() -> Schedule:
    return Schedule.objects.get()


def test_a_declared_schedule_is_made_and_follows_the_code() -> None:
    assert declare(report=DAILY) == {}
    assert (only().name, only().cron, only().is_declared) == ("report", "@daily", True)
    declare(report=DAILY)
    assert (only().version, Journal.objects.count()) == (1, 1)
    declare(report=DAILY | {"cron": "@hourly", "overlap": "allow"})
    assert (only().cron, only().overlap, only().version) == ("@hourly", "allow", 2)
    declare(report=DAILY | {"cron": "@hourly"})
    assert only().overlap == "skip"


def test_what_somebody_took_over_stays_until_it_is_given_back() -> None:
    declare(report=DAILY)
    schedules.edit(only().pk, {"cron": "0 5 * * *"}, by=ADA)
    declare(report=DAILY | {"cron": "@weekly"})
    assert (only().cron, only().taken_over_by) == ("0 5 * * *", "ada")
    schedules.give_back(only().pk, by=ADA)
    assert (only().cron, only().taken_over_at) == ("@weekly", None)
    declare(report=DAILY | {"cron": "@weekly"})
    assert only().cron == "@weekly"


def test_a_pause_is_no_take_over_and_outlives_a_deploy() -> None:
    declare(report=DAILY)
    schedules.pause(only().pk, by=Author("ada", reason="holidays"))
    declare(report=DAILY | {"cron": "@weekly"})
    assert (only().cron, only().paused_by, only().taken_over_at) == ("@weekly", "ada", None)


def test_what_code_no_longer_declares_pauses_and_comes_back_with_the_code() -> None:
    declare(report=DAILY)
    declare()
    assert (only().pause_reason, only().is_declared) == (schedules.RETIRED, False)
    declare(report=DAILY)
    assert (only().paused_at, only().is_declared) == (None, True)
    # What somebody took over goes on as theirs.
    schedules.edit(only().pk, {"cron": "0 5 * * *"}, by=ADA)
    declare()
    assert (only().paused_at, only().is_declared, only().cron) == (None, False, "0 5 * * *")
    schedules.remove(only().pk)


def test_a_schedule_of_people_wins_against_a_declaration_of_its_name() -> None:
    mine = make_schedule("report", cron="0 5 * * *")
    declare(report=DAILY)
    assert (only().pk, only().cron) == (mine.pk, "0 5 * * *")
    assert only().taken_over_at is not None
    declare(report=DAILY)
    assert only().cron == "0 5 * * *"
    schedules.give_back(mine.pk)
    assert only().cron == "@daily"


def test_a_declaration_that_its_actor_does_not_take_is_told_and_holds_up_no_other() -> None:
    problems = declare(bad=DAILY | {"payload": {"nope": 1}}, nobody=DAILY | {"actor": "nobody"}, good=DAILY)
    assert {*problems} == {"bad", "nobody"}
    assert "nope" in problems["bad"]
    assert only().name == "good"


def test_starts_and_ends_survive_being_declared() -> None:
    now = schedules.database_now()
    bounds = {"starts_at": now + timedelta(days=1), "ends_at": now + timedelta(days=9)}
    declare(report=DAILY | bounds)
    declare(report=DAILY | bounds)
    assert (only().starts_at, only().ends_at, only().version) == (*bounds.values(), 1)


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({"cron": "", "every_seconds": None}, "cron"),
        ({"every_seconds": 5.0}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"timezone": "Nowhere"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"cron": "", "every_seconds": float("nan")}, "every_seconds"),
        ({"jitter_seconds": -1.0}, "jitter_seconds"),
        ({"catch_up_window_seconds": float("inf")}, "catch_up_window_seconds"),
        ({"pause_after_failures": 0}, "pause_after_failures"),
        ({"overlap": "often"}, "overlap"),
        ({"catch_up": "often"}, "catch_up"),
    ],
)
def test_code_too_cannot_add_what_cannot_fire(definition: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        schedules.add("bad", DAILY | definition)
    assert field in {error.field for error in refused.value.errors}
    assert not Schedule.objects.exists()


def test_a_schedule_of_an_actor_with_unique_keys_is_refused_wherever_it_comes_from() -> None:
    definition = {"actor": "invoice", "payload": {"order_id": 1}, "cron": "@daily"}
    with pytest.raises(InvalidTask, match="without unique keys"):
        schedules.add("bad", definition)
    assert declare(bad=definition, good=DAILY) == {"bad": "not valid for its actor: actor"}
    with pytest.raises(InvalidOption, match="actor 'scheduled': schedule and unique: expected an actor without"):
        dramatiq.actor(actor_name="scheduled", unique="k", schedule="@daily")(lambda: None)
    with pytest.raises(InvalidTask, match="without unique keys"):
        schedules.edit(only().pk, {"actor": "invoice", "payload": {"order_id": 1}})
    assert only().actor == "act"


def test_a_declaration_of_the_wrong_types_holds_up_no_other() -> None:
    problems = declare(
        bad=DAILY | {"starts_at": "soon", "jitter_seconds": "5"}, worse=DAILY | {"options": 5}, good=DAILY
    )
    assert set(problems) == {"bad", "worse"}
    assert only().name == "good"


def test_an_edit_that_does_not_change_the_times_loses_no_fire() -> None:
    schedule = make_schedule()
    past = schedule.fired_until - timedelta(hours=2)
    Schedule.objects.update(fired_until=past, next_fire_at=schedule.timetable.after(past))
    schedules.edit(schedule.pk, {"overlap": "allow"})
    assert only().fired_until == past
    schedules.edit(schedule.pk, {"cron": "30 * * * *"})
    assert only().fired_until > past
    assert only().next_fire_at == only().timetable.after(only().fired_until)


def test_verbs_on_what_is_not_there_or_has_changed() -> None:
    for verb in (schedules.pause, schedules.resume, schedules.remove, schedules.run, schedules.give_back):
        with pytest.raises(NotFound):
            verb(new_id())
    schedule = make_schedule()
    with pytest.raises(VersionMismatch, match="of a schedule that is at version 1"):
        schedules.edit(schedule.pk, {"overlap": "allow"}, version=2)
    with pytest.raises(IllegalTransition):
        schedules.give_back(schedule.pk)
    with pytest.raises(InvalidTask, match="a name of its own"):
        make_schedule()


def test_a_refused_admission_runs_nothing() -> None:
    schedule = make_schedule()

    def refuse(_: int) -> None:
        raise InvalidTask("too many")

    with pytest.raises(InvalidTask):
        schedules.run(schedule.pk, admit=refuse)
    assert not Task.objects.exists()
    assert only().last_task_id is None


def test_only_tasks_of_schedules_are_in_the_index_of_fires() -> None:
    ((predicate,),) = fetch(
        "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = 'task_fire_idx'::regclass", {}
    )
    assert predicate == "(schedule_id IS NOT NULL)"
    assert submit().schedule_id is None
