"""The bounds of retries: what a caller who is not staff may ask for, at every door of the API."""

import pytest

from tasks.models import Task
from tasks.states import Status
from tests import factories
from tests.callers import TASKS, assert_problem

BEYOND = {
    "max_retries": 101,
    "min_backoff_seconds": 0.9,
    "max_backoff_seconds": 59,
}
GOOD = {"actor": "act", "payload": {"do": "return"}}
AT = {"max_retries": 100, "min_backoff_seconds": 1, "max_backoff_seconds": 60}


@pytest.mark.parametrize("value", [BEYOND, dict.fromkeys(BEYOND, 0) | {"max_retries": 10_000}])
@pytest.mark.parametrize("name", BEYOND)
def test_a_submission_beyond_a_bound_is_told_the_bound(alice, name, value):
    (error,) = assert_problem(alice.submit(**{name: value[name]}), 400, field=name)["errors"]
    assert error["code"] == "out_of_range"
    assert f"{AT[name]}" in error["message"]
    bulk = alice.send(f"{TASKS}/bulk", {"tasks": [GOOD, GOOD | {name: value[name]}]})
    assert_problem(bulk, 400, field=f"tasks.1.{name}")
    assert not Task.objects.exists()


def test_values_at_the_bounds_are_taken(alice):
    assert {name: alice.submit(**AT).json()[name] for name in AT} == AT


def test_staff_is_not_bound(staff):
    values = {"max_retries": 10_000, "min_backoff_seconds": 0, "max_backoff_seconds": 0}
    task = staff.submit(**values).json()
    assert {name: task[name] for name in values} == values
    assert staff.patch(task["url"], {"max_retries": 9_999}, content_type="application/json").status_code == 200


def test_the_bounds_are_settings(alice, settings):
    settings.SUBMIT_MOST_RETRIES, settings.SUBMIT_LEAST_MIN_BACKOFF_SECONDS = 5, 10
    assert_problem(alice.submit(max_retries=6), 400, field="max_retries")
    # An actor's own delay, 2 s by default and 1 s of "limited", is its author's decision.
    assert_problem(alice.submit(min_backoff_seconds=1.5), 400, field="min_backoff_seconds")
    assert alice.submit("limited", min_backoff_seconds=1).status_code == 201


def test_what_an_actor_declares_may_be_asked_for(alice, settings):
    settings.SUBMIT_MOST_RETRIES = 0
    assert alice.submit("never_gives_up", max_retries=10_000).status_code == 201
    assert alice.submit(max_retries=3).status_code == 201, "the default of all actors"
    assert_problem(alice.submit(max_retries=4), 400, field="max_retries")


@pytest.mark.parametrize("method", ["patch", "put"])
def test_an_edit_beyond_the_bound_is_refused_and_the_value_it_has_may_stay(alice, method):
    task = factories.make_task(Status.PENDING, owner_id=alice.user.pk, max_retries=5_000)
    url = f"{TASKS}/{task.pk}"

    def edit(retries):
        known = alice.get(url).json()
        names = ("priority", "run_at", "payload", "queue", "tags") if method == "put" else ()
        body = {name: known[name] for name in names} | {"max_retries": retries}
        return getattr(alice, method)(url, body, content_type="application/json")

    (error,) = assert_problem(edit(5_001), 400, field="max_retries")["errors"]
    assert "5000" in error["message"]
    for retries in (5_000, 100):
        assert edit(retries).json()["max_retries"] == retries
    assert_problem(edit(101), 400, field="max_retries")
    assert Task.objects.get().max_retries == 100


def test_the_list_of_actors_says_the_bounds_of_its_caller(alice, staff, settings):
    settings.SUBMIT_MOST_RETRIES = 7
    found = {actor["name"]: actor["bounds"] for actor in alice.get("/api/v1/actors").json()["results"]}
    backoffs = {"min_backoff_seconds": {"minimum": 1}, "max_backoff_seconds": {"minimum": 60}}
    assert found["act"] == {"max_retries": {"maximum": 7}, **backoffs}
    assert found["never_gives_up"] == backoffs
    assert {str(actor["bounds"]) for actor in staff.get("/api/v1/actors").json()["results"]} == {"{}"}
