"""``current.parents``: what a child reads of the tasks that it depended on."""

from typing import Any

import pytest

import tests.actors
from tasks import current, lifecycle
from tasks.lifecycle import DependsOn, Submission
from tasks.models import Task
from tasks.queries import parents
from tasks.states import OnFailure, Status
from tasks.testing import drain

pytestmark = pytest.mark.django_db


def submit(actor: str, payload: dict[str, Any] | None = None, **fields: Any) -> Task:
    return lifecycle.submit(Submission(actor=actor, payload=payload or {}, **fields))


@pytest.mark.parametrize("actor", ["list_parents", "list_parents_async"])
def test_a_child_reads_its_parents_results_in_the_order_of_their_submission(actor: str, monkeypatch) -> None:
    monkeypatch.setattr(parents, "PAGE", 2)
    added = [submit("add", {"a": n}) for n in range(5)]
    failing = submit("login", {"user": "ann", "password": "x"})
    wanted = [DependsOn(one.pk) for one in reversed(added)]
    child = submit(actor, depends_on=[*wanted, DependsOn(failing.pk, OnFailure.RUN)])
    drain()
    child.refresh_from_db()
    assert child.status == Status.SUCCEEDED, child.error
    assert child.result == [[str(one.pk), Status.SUCCEEDED, n] for n, one in enumerate(added)] + [
        [str(failing.pk), Status.DEAD, None]
    ]


def test_a_task_without_parents_has_none_and_code_outside_of_actors_is_told_so() -> None:
    child = submit("list_parents")
    drain()
    child.refresh_from_db()
    assert child.result == []
    with pytest.raises(current.NotInActor):
        current.parents()


def test_a_drain_runs_a_workflow_to_its_end() -> None:
    first = submit("note", {"a": 1})
    second = submit("note", {"a": 2}, depends_on=[first.pk])
    submit("note", {"a": 3}, depends_on=[first.pk, second.pk])
    assert len(drain()) == 3
    assert [call[1]["a"] for call in tests.actors.noted] == [1, 2, 3]
