"""Schedules in code: what a declaration may be, and what is refused when it is read."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest

from tasks import checks, registry
from tasks.declared_schedules import all_declared, read


@pytest.mark.parametrize(
    ("option", "definition"),
    [
        ("0 6 * * 1-5 Europe/Berlin", {"cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"}),
        ("@daily", {"cron": "@daily", "timezone": "UTC"}),
        (timedelta(minutes=5), {"every_seconds": 300.0}),
        (
            {"schedule": "@hourly", "overlap": "allow", "payload": {"a": 1}},
            {"cron": "@hourly", "timezone": "UTC", "overlap": "allow", "payload": {"a": 1}},
        ),
        ({"cron": "0 6 * * *", "timezone": "Asia/Tokyo"}, {"cron": "0 6 * * *", "timezone": "Asia/Tokyo"}),
    ],
)
def test_a_declaration_is_a_cron_expression_an_interval_or_fields(option: Any, definition: dict[str, Any]) -> None:
    assert read("report", option) == [("report", {"actor": "report", **definition})]


def test_an_actor_may_have_several_by_name() -> None:
    option = {"morning": "0 6 * * *", "evening": {"schedule": "0 18 * * *", "payload": {"late": True}}}
    assert [name for name, _ in read("report", option)] == ["morning", "evening"]
    assert {definition["actor"] for _, definition in read("report", option)} == {"report"}


@pytest.mark.parametrize(
    "option", ["0 0 31 2 *", "0 6 * * * Mars/Olympus", "often", "", {}, {"schedule": "nope"}, {"cron": "nope"}, 5, [1],
               {"overlap": "allow", "nope": 1}, {"": "@daily"}, {"timezone": "Nowhere"}],
)  # fmt: skip
def test_a_bad_declaration_is_refused_with_the_actors_name(option: Any) -> None:
    with pytest.raises(ValueError, match=r"actor 'report': .*expected"):
        read("report", option)
    with pytest.raises(ValueError, match=r"actor 'report': .*expected"):
        registry.check_options("report", {"schedule": option})


def test_an_actor_with_a_bad_schedule_cannot_be_declared() -> None:
    with pytest.raises(Exception, match=r"none of its months has that day"):
        dramatiq.actor(schedule="0 0 31 2 *", actor_name="never")(lambda: None)
    assert "never" not in dramatiq.get_broker().actors


@pytest.mark.parametrize(
    "given", [{"c": {"schedule": "@daily"}}, {"c": {"actor": "act", "schedule": "0 0 31 2 *"}}, {"c": 5}, "[]", "{"]
)
def test_a_wrong_setting_is_found_by_the_checks(settings, given: Any) -> None:
    settings.SCHEDULES = given
    (found,) = checks.check_schedules()
    assert found.id == "callboard.E021"
    assert "c" in str(found.msg) or "SCHEDULES" in str(found.msg)


def test_the_environment_gives_schedules_as_json(settings) -> None:
    settings.SCHEDULES = '{"c": {"actor": "act", "schedule": "@daily"}}'
    assert checks.check_schedules() == []
    assert all_declared()["c"]["cron"] == "@daily"


def test_declarations_of_actors_and_of_the_setting_are_collected(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    actors = {"a": SimpleNamespace(actor_name="a", options={"schedule": "@daily"}),
              "b": SimpleNamespace(actor_name="b", options={})}  # fmt: skip
    monkeypatch.setattr(dramatiq, "get_broker", lambda: SimpleNamespace(actors=actors))
    settings.SCHEDULES = {"c": {"actor": "b", "schedule": "0 6 * * *", "payload": {}}}
    found = all_declared()
    assert {name: one["actor"] for name, one in found.items()} == {"a": "a", "c": "b"}
    settings.SCHEDULES = {"a": {"actor": "b", "schedule": "@daily"}}
    with pytest.raises(ValueError, match="declared twice"):
        all_declared()
    settings.SCHEDULES = {"c": {"schedule": "@daily"}}
    with pytest.raises(ValueError, match="expected an actor for 'c'"):
        all_declared()
