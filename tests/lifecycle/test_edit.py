"""edit: a waiting task is changed."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tasks import lifecycle
from tasks.errors import IllegalTransition, InvalidTask, NotFound
from tasks.lifecycle import Author
from tasks.models import Journal
from tasks.states import WAITING, Status
from tests.factories import dispatch, make_task, submit

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", sorted(WAITING))
def test_a_waiting_task_can_be_changed(status: Status) -> None:
    task = make_task(status)
    moment = datetime(2200, 1, 1, tzinfo=UTC)
    change = {
        "priority": 10,
        "queue": "other",
        "run_at": moment,
        "payload": {"do": "return", "value": 7},
        "max_retries": 9,
        "tags": ["x", "y"],
    }
    after = lifecycle.edit(task.pk, change, by=Author("ann"))
    task.refresh_from_db()
    assert {name: getattr(task, name) for name in change} == change
    assert after == task.status == (Status.PENDING if status is Status.QUEUED else status)
    assert task.version == 2
    event = Journal.objects.get()
    assert (event.verb, event.by, event.detail) == ("edit", "ann", {"fields": sorted(change)})


def test_fields_that_are_not_named_stay() -> None:
    task = submit(priority=3, tags=["a"])
    lifecycle.edit(task.pk, {"max_retries": 0})
    task.refresh_from_db()
    assert (task.priority, task.tags, task.max_retries, task.payload) == (3, ["a"], 0, {"do": "return"})


def test_an_edit_of_a_queued_task_makes_its_old_hint_stale(worker) -> None:
    task = submit()
    old = dispatch(task)
    lifecycle.edit(task.pk, {"priority": 9})
    assert lifecycle.claim_many([old], worker_id=worker.pk) == []
    task.refresh_from_db()
    new = dispatch(task)
    assert new.dispatch == old.dispatch + 1
    assert lifecycle.claim_many([old], worker_id=worker.pk) == []
    assert [one.priority for one in lifecycle.claim_many([new], worker_id=worker.pk)] == [9]


@pytest.mark.parametrize("status", [status for status in Status if status not in WAITING])
def test_a_task_that_does_not_wait_is_refused_by_its_status(status: Status) -> None:
    task = make_task(status)
    events = Journal.objects.count()
    with pytest.raises(IllegalTransition, match=f"cannot edit a task that is {status}"):
        lifecycle.edit(task.pk, {"priority": 9})
    task.refresh_from_db()
    assert (task.priority, task.version, Journal.objects.count()) == (5, 1, events)


def test_another_version_is_refused() -> None:
    task = submit()
    lifecycle.edit(task.pk, {"priority": 9}, version=1)
    with pytest.raises(IllegalTransition, match="version 1 of a task that is at version 2; read it again"):
        lifecycle.edit(task.pk, {"priority": 1}, version=1)
    task.refresh_from_db()
    assert task.priority == 9


def test_a_payload_that_does_not_fit_is_refused() -> None:
    task = submit()
    with pytest.raises(InvalidTask):
        lifecycle.edit(task.pk, {"payload": {"do": 1}})
    task.refresh_from_db()
    assert (task.payload, task.version) == ({"do": "return"}, 1)


@pytest.mark.parametrize("change", [{"priority": 9}, {"payload": {"do": "return"}}])
def test_a_missing_row_is_not_found(change) -> None:
    with pytest.raises(NotFound):
        lifecycle.edit(uuid4(), change)


def test_a_payload_that_does_not_fit_beside_the_tasks_positional_arguments_is_refused() -> None:
    task = submit("add", args=[1])
    for payload in ({"a": 2}, {"a": 2, "b": 3}, {"b": "text"}, {"c": 1}):
        with pytest.raises(InvalidTask):
            lifecycle.edit(task.pk, {"payload": payload})
    task.refresh_from_db()
    assert (task.args, task.payload, task.version) == ([1], {}, 1)


def test_a_payload_that_fits_beside_the_tasks_positional_arguments_is_taken() -> None:
    task = submit("add", args=[1])
    lifecycle.edit(task.pk, {"payload": {"b": 2}})
    task.refresh_from_db()
    assert (task.args, task.payload) == ([1], {"b": 2})


def test_a_model_that_came_by_position_takes_no_payload_beside_it() -> None:
    task = submit("ship", args=[{"number": 7, "placed_on": "2030-02-03"}])
    with pytest.raises(InvalidTask):
        lifecycle.edit(task.pk, {"payload": {"number": 8, "placed_on": "2030-02-03"}})


@pytest.mark.parametrize(
    "change",
    [
        {"max_retries": 2**40},
        {"max_retries": -2},
        {"run_at": datetime(9999, 1, 1, tzinfo=UTC)},
        {"tags": ["nul \0"]},
        {"priority": 11},
        {"queue": "nowhere"},
    ],
)
def test_a_value_that_no_column_can_hold_is_refused_by_its_field(change) -> None:
    task = submit()
    with pytest.raises(InvalidTask) as refused:
        lifecycle.edit(task.pk, change)
    assert [error.field.split(".")[0] for error in refused.value.errors] == list(change)


def test_for_ever_is_a_number_of_retries() -> None:
    task = submit()
    lifecycle.edit(task.pk, {"max_retries": lifecycle.FOR_EVER})
    task.refresh_from_db()
    assert task.max_retries is None
