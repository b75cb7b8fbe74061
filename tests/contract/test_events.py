"""The events of a task: what is told, in which order, and what a reader gets who comes back."""

import json
from typing import Any

import pytest

from tasks import lifecycle
from tasks.contract.events import Position, events_since, read_id
from tasks.contract.fields import InvalidValue
from tasks.contract.sight import Lens, Sight
from tasks.lifecycle import Author
from tasks.models import Task, Worker
from tasks.queries import happenings as happenings_module
from tasks.queries.happenings import happenings, versions
from tasks.states import Door, Status
from tests import factories

pytestmark = pytest.mark.django_db


def told(task: Task, known: str | None = None, *, sight: Sight = Sight.CLEAR) -> list[dict[str, Any]]:
    """Tell a reader what is new; check that whoever comes back after each event gets the rest, and nothing twice."""
    events = _told(task, known, sight)
    for place, event in enumerate(events, start=1):
        assert _told(task, event["id"], sight) == events[place:]
    return events


def _told(task: Task, known: str | None, sight: Sight) -> list[dict[str, Any]]:
    position = None if known is None else read_id(known)
    since = (position or Position()).since
    found = happenings({task.pk: since})[task.pk]
    return [one.event for one in events_since(position, found, lens=Lens(sight, found.task))]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [f"{one['type']} {one['status'] or one['outcome'] or one['verb'] or ''}".strip() for one in events]


def test_the_life_of_a_task_is_told_as_it_goes(worker: Worker) -> None:
    task = factories.submit()
    first = told(task)
    assert kinds(first) == ["submitted", "status PENDING"]
    claimed = factories.start(task, worker)
    second = told(task, first[-1]["id"])
    assert kinds(second) == ["status RUNNING"]
    assert second[0]["attempt"] == 1
    lifecycle.complete_many([factories.outcome(claimed, worker, result={"n": 1})])
    third = told(task, second[-1]["id"])
    assert kinds(third) == ["attempt SUCCEEDED", "status SUCCEEDED"]
    assert third[-1]["result"] == {"n": 1}
    assert told(task, third[-1]["id"]) == []


def test_a_reader_who_comes_late_gets_all_facts(worker: Worker) -> None:
    task = factories.submit()
    lifecycle.complete_many([factories.failure(factories.start(task, worker), worker)])
    factories.make_due(task)
    lifecycle.complete_many([factories.outcome(factories.start(task, worker), worker)])
    events = told(task)
    assert kinds(events) == ["submitted", "attempt FAILED", "attempt SUCCEEDED", "status SUCCEEDED"]
    assert [one["attempt"] for one in events] == [None, 1, 2, 2]


def test_acts_are_told_between_attempts(worker: Worker) -> None:
    task = factories.make_task(Status.DEAD, worker=worker)
    before = told(task)[-1]["id"]
    lifecycle.retry(task.pk, by=Author("olga", Door.API, "mended"))
    events = told(task, before)
    assert kinds(events) == ["act redrive", "status PENDING"]
    assert (events[0]["by"], events[0]["door"], events[0]["reason"]) == ("olga", "api", "mended")
    lifecycle.cancel(task.pk, by=Author("olga", Door.API))
    assert kinds(told(task, events[-1]["id"])) == ["act cancel", "status CANCELLED"]


def test_a_second_death_without_an_attempt_is_told(worker: Worker) -> None:
    task = factories.make_task(Status.CANCELLED)
    known = told(task)[-1]["id"]
    lifecycle.retry(task.pk, by=Author("olga", Door.API))
    lifecycle.cancel(task.pk, by=Author("olga", Door.API))
    assert kinds(told(task, known)) == ["act retry", "act cancel", "status CANCELLED"]


def test_progress_is_told_as_it_stands(worker: Worker) -> None:
    task = factories.submit()
    factories.start(task, worker)
    known = told(task)[-1]["id"]
    Task.objects.update(progress={"done": 1})
    Task.objects.update(progress={"done": 2})
    (event,) = told(task, known)
    assert (event["type"], event["progress"]) == ("progress", {"done": 2})


def test_many_attempts_come_in_parts(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happenings_module, "MOST_AT_ONCE", 2)
    task = factories.submit(max_retries=10)
    for _ in range(5):
        factories.make_due(task)
        lifecycle.complete_many([factories.failure(factories.start(task, worker), worker)])
    found: list[dict[str, Any]] = []
    while more := told_in_part(task, found[-1]["id"] if found else None):
        found += more
    assert kinds(found) == ["submitted", *["attempt FAILED"] * 5, "status RETRYING"]
    assert [one["attempt"] for one in found[1:]] == [1, 2, 3, 4, 5, 5]


def told_in_part(task: Task, known: str | None) -> list[dict[str, Any]]:
    return _told(task, known, Sight.CLEAR)


def test_data_is_shown_as_the_reader_may_see_it(worker: Worker) -> None:
    task = factories.submit()
    claimed = factories.start(task, worker)
    lifecycle.complete_many([factories.outcome(claimed, worker, result={"password": "hunter2", "n": 1})])
    (masked,) = (one for one in told(task, sight=Sight.MASKED) if one["type"] == "status")
    assert "hunter2" not in json.dumps(masked)
    assert masked["result"]["n"] == 1
    (hidden,) = (one for one in told(task, sight=Sight.NOTHING) if one["type"] == "status")
    assert (hidden["result"], hidden["hidden"]) == (None, ["result", "error.message"])


@pytest.mark.parametrize("text", ["", "1", "1-2-3", "a-0-0-0", "-1-0-0-0", "0-0-0-0\n", "0-0-0-x", f"{2**31}-0-0-0"])
def test_an_id_that_no_event_has_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        read_id(text)


def test_each_change_is_another_version(worker: Worker) -> None:
    task, other = factories.submit(), factories.submit()
    ids = [str(task.pk), str(other.pk)]
    seen = [versions(ids)]
    factories.start(task, worker)
    seen.append(versions(ids))
    Task.objects.filter(pk=task.pk).update(progress={"done": 1})
    seen.append(versions(ids))
    lifecycle.cancel(task.pk)
    seen.append(versions(ids))
    assert len({one[ids[0]] for one in seen}) == 4
    assert len({one[ids[1]] for one in seen}) == 1
    Task.objects.filter(pk=other.pk).delete()
    assert list(versions(ids)) == ids[:1]
