"""dispatch: due tasks go from the table to the broker."""

from datetime import timedelta

import pytest

from tasks import lifecycle
from tasks.hint import Hint
from tasks.lifecycle import Probe, Share
from tasks.models import Task, Term
from tasks.queries import due
from tasks.states import Status
from tests.factories import age, database_now, dispatch_due, make_due, make_lead, make_task, submit

pytestmark = pytest.mark.django_db

NOT_DUE = [status for status in Status if status not in (Status.PENDING, Status.RETRYING)]


def ids(hints: list[Hint]) -> list[object]:
    return [hint.task_id for hint in hints]


def test_a_due_task_becomes_queued_with_a_higher_dispatch_number() -> None:
    task = submit()
    (hint,) = dispatch_due()
    task.refresh_from_db()
    assert (task.status, task.dispatch, task.attempt) == (Status.QUEUED, 1, 0)
    assert hint == Hint(task.pk, 1)
    assert task.queued_at is not None


def test_a_retrying_task_is_dispatched_once_its_time_has_come() -> None:
    task = make_task(Status.RETRYING)
    assert dispatch_due() == []
    make_due(task)
    assert dispatch_due() == [Hint(task.pk, 2)]


@pytest.mark.parametrize("status", NOT_DUE)
def test_nothing_else_is_dispatched(status: Status) -> None:
    task = make_task(status)
    assert dispatch_due() == []
    task.refresh_from_db()
    assert task.status == status


def test_a_task_that_is_not_yet_due_waits() -> None:
    submit(delay_seconds=60)
    assert dispatch_due() == []


def test_high_before_low_and_old_before_young() -> None:
    order = [3, 10, 5, 7, 10, 1, 5]
    tasks = [submit(priority=priority) for priority in order]
    for minutes, task in enumerate(reversed(tasks)):
        age(task, run_at=timedelta(minutes=minutes))
    expected = sorted(tasks, key=lambda task: (-task.priority, task.run_at))
    assert ids(dispatch_due()) == [task.pk for task in expected]


def test_tasks_of_one_moment_go_by_id() -> None:
    moment = database_now()
    tasks = [submit() for _ in range(5)]
    Task.objects.update(run_at=moment)
    assert ids(dispatch_due()) == [task.pk for task in tasks]


def test_no_more_than_there_is_space_for() -> None:
    tasks = [submit(priority=5), submit(priority=9), submit(priority=9)]
    assert ids(dispatch_due(space=2)) == [tasks[1].pk, tasks[2].pk]
    assert ids(dispatch_due(space=2)) == [tasks[0].pk]


def test_a_probe_takes_only_its_priority_and_its_own_limit() -> None:
    fives = [submit(priority=5) for _ in range(3)]
    submit(priority=6)
    found = lifecycle.dispatch_many([Share("default", [Probe(5, "medium", 2)], 10)], actors=["act"], **make_lead())
    assert [one.hint.task_id for one in found] == [fives[0].pk, fives[1].pk]
    assert {one.band for one in found} == {"medium"}


def test_a_probe_starts_behind_its_position() -> None:
    first, second = submit(), submit()
    probe = Probe(5, "medium", 10, after_run_at=first.run_at, after_id=first.pk)
    found = lifecycle.dispatch_many([Share("default", [probe], 10)], actors=["act"], **make_lead())
    assert [one.hint.task_id for one in found] == [second.pk]


def test_only_the_asked_queue_and_known_actors() -> None:
    submit("elsewhere", payload={})
    stranger = submit("add", payload={"a": 1})
    mine = submit()
    assert ids(dispatch_due()) == [mine.pk]
    assert ids(dispatch_due(actors=("add",))) == [stranger.pk]


def test_a_task_past_its_age_limit_is_not_dispatched() -> None:
    task = submit(max_age_seconds=60)
    age(task, expires_at=timedelta(minutes=2))
    assert dispatch_due() == []


def test_a_deposed_leader_dispatches_nothing(lead) -> None:
    submit()
    Term.objects.update(term=2)
    probes = [Probe(5, "medium", 10)]
    assert lifecycle.dispatch_many([Share("default", probes, 10)], actors=["act"], **lead) == []
    assert Task.objects.get().status == Status.PENDING


def test_the_next_due_time_looks_only_ahead_and_only_at_the_asked_queues() -> None:
    assert due.next_due_in_seconds(["default"]) is None
    submit()
    submit(delay_seconds=100)
    submit("elsewhere", payload={}, delay_seconds=10)
    assert due.next_due_in_seconds(["default"]) == pytest.approx(100, abs=5)
    assert due.next_due_in_seconds(["default", "other"]) == pytest.approx(10, abs=5)
    assert due.next_due_in_seconds([]) is None
