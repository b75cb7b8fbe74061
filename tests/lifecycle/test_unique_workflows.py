"""Unique keys of tasks that depend on others, and of those that others depend on."""

from typing import Any

import pytest
from django.db import connection

from tasks import lifecycle
from tasks.errors import Duplicate, InvalidTask
from tasks.lifecycle import DependsOn, Submission
from tasks.models import Dependency, Task
from tasks.states import DeathReason, Status
from tests.factories import failure, outcome, start, submit
from tests.workflows import INVARIANTS

pytestmark = pytest.mark.django_db

KEY = {"key": "report"}


def one(**fields: Any) -> Submission:
    return Submission(actor="act", payload={"do": "return"}, **fields)


def check_invariants() -> None:
    with connection.cursor() as cursor:
        for rule, query in INVARIANTS.items():
            cursor.execute(query)
            assert not cursor.fetchall(), rule


def test_a_blocked_task_has_its_key_and_whoever_wants_it_follows_with_the_first_s_parents(worker, lead) -> None:
    first, second = submit(), submit()
    child = submit(unique=KEY, depends_on=[first.pk])
    assert (child.status, child.submitted_as) == (Status.BLOCKED, "created")
    again = submit(unique=KEY, depends_on=[second.pk])
    assert (again.pk, again.submitted_as) == (child.pk, "existing")
    assert list(Dependency.objects.values_list("child_id", "parent_id")) == [(child.pk, first.pk)]
    with pytest.raises(Duplicate):
        lifecycle.submit_many([one(ref="a"), one(unique={**KEY, "on_conflict": "reject"}, depends_on=["a"])])
    assert Task.objects.count() == 3
    lifecycle.complete_many([outcome(start(first, worker), worker)])
    lifecycle.settle_all(**lead)
    check_invariants()
    child.refresh_from_db()
    assert child.status == Status.PENDING
    # A replacement changes what the task does, not what it waits for.
    assert submit(unique={**KEY, "on_conflict": "replace"}, priority=9).submitted_as == "replaced"


def test_a_task_of_a_bulk_waits_for_the_task_that_has_its_parent_s_key(worker, lead, announcements) -> None:
    holder = start(submit(unique=KEY), worker)
    with announcements() as heard:
        parent, child = lifecycle.submit_many([one(ref="a", unique=KEY), one(depends_on=["a"])])
    assert [[move.id for move in one.moves] for one in heard] == [[child.pk]]
    assert (parent.pk, parent.submitted_as, child.status) == (holder.id, "existing", Status.BLOCKED)
    lifecycle.settle_all(**lead)
    check_invariants()
    lifecycle.complete_many([outcome(holder, worker)])
    lifecycle.settle_all(**lead)
    check_invariants()
    child.refresh_from_db()
    assert child.status == Status.PENDING


def test_a_key_goes_with_the_death_of_a_parent_and_a_second_life_has_none(worker, lead) -> None:
    parent = submit()
    child = submit(unique=KEY, depends_on=[parent.pk])
    lifecycle.complete_many([failure(start(parent, worker), worker, death=DeathReason.NOT_RETRYABLE)])
    lifecycle.settle_all(**lead)
    child.refresh_from_db()
    assert (child.status, child.unique_key) == (Status.CANCELLED, None)
    assert submit(unique=KEY).submitted_as == "created"
    lifecycle.retry(parent.pk)
    lifecycle.settle_all(**lead)
    check_invariants()
    child.refresh_from_db()
    assert (child.status, child.unique_key) == (Status.BLOCKED, None)


def test_what_does_not_go_together_is_refused_and_nothing_is_written() -> None:
    holder = submit(unique=KEY)
    replace = {**KEY, "on_conflict": "replace"}
    for submissions, field, wanted in (
        ([one(unique=replace, depends_on=[holder.pk])], "tasks.0.unique", "return or reject"),
        ([one(ref="a", unique={"key": "k"}), one(unique={"key": "k"}, depends_on=["a"])], "tasks.1.unique", "no other"),
        ([one(ref="a", unique=KEY), one(depends_on=["a", DependsOn(holder.pk)])], "depends_on", "by its id and by its"),
    ):
        with pytest.raises(InvalidTask, match=wanted) as refused:
            lifecycle.submit_many(submissions)
        assert [error.field for error in refused.value.errors] == [field]
        assert (Task.objects.count(), Dependency.objects.count()) == (1, 0)
