"""Dependencies: a task waits for others, and learns of their ends and second lives from the leader."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from tasks import lifecycle
from tasks.errors import IllegalTransition, InvalidTask
from tasks.lifecycle import DependsOn, Submission, release
from tasks.lifecycle.prune import FIRST_ID
from tasks.models import Dependency, Task, Worker
from tasks.states import FINAL, DeathReason, EdgeState, OnFailure, Status
from tests.factories import Lead, age, failure, make_task, outcome, start, submit
from tests.scheduler.stage import born_earlier

pytestmark = pytest.mark.django_db

Names = dict[str, Task]


def child_of(*parents: Task, on_failure: OnFailure = OnFailure.CANCEL, **fields: Any) -> Task:
    return submit(depends_on=[DependsOn(parent.pk, on_failure) for parent in parents], **fields)


def status_of(task: Task) -> str:
    task.refresh_from_db()
    return str(task.status)


def states(child: Task) -> list[str]:
    return list(Dependency.objects.filter(child=child).order_by("parent_id").values_list("state", flat=True))


def end(task: Task, worker: Worker, lead: Lead, *, dies: bool = False) -> None:
    """Run a task, and let its children learn of it."""
    run(task, worker, dies=dies)
    lifecycle.settle_all(**lead)


def run(task: Task, worker: Worker, *, dies: bool = False) -> None:
    task.refresh_from_db()
    claimed = start(task, worker)
    death = failure(claimed, worker, death=DeathReason.NOT_RETRYABLE) if dies else None
    assert lifecycle.complete_many([death or outcome(claimed, worker, result=1)])


# --- Submission ---


def test_a_task_waits_until_the_one_it_depends_on_has_succeeded(worker, lead, announcements) -> None:
    parent = submit()
    child = child_of(parent)
    assert (child.status, child.pending_parents) == (Status.BLOCKED, 1)
    lifecycle.settle_all(**lead)
    assert status_of(child) == Status.BLOCKED
    with announcements() as heard:
        end(parent, worker, lead)
    assert status_of(child) == Status.PENDING
    assert (child.pending_parents, states(child)) == (0, [EdgeState.MET])
    assert [one.verb for one in heard] == ["dispatch", "claim", "complete", "release"]
    assert child.run_at > child.created_at


def test_a_parent_that_has_succeeded_before_blocks_nobody(worker, lead) -> None:
    parent = make_task(Status.SUCCEEDED)
    child = child_of(parent)
    assert (child.status, child.pending_parents, states(child)) == (Status.PENDING, 0, [EdgeState.MET])
    both = child_of(parent, submit())
    assert (both.status, both.pending_parents) == (Status.BLOCKED, 1)


@pytest.mark.parametrize(
    ("on_failure", "after", "edge"),
    [
        (OnFailure.CANCEL, Status.CANCELLED, EdgeState.FAILED),
        (OnFailure.RUN, Status.PENDING, EdgeState.MET),
        (OnFailure.BLOCK, Status.BLOCKED, EdgeState.OPEN),
    ],
)
@pytest.mark.parametrize("how", ["dies", "cancelled", "dead before"])
def test_a_failed_parent_does_to_its_child_what_the_child_asked_for(worker, lead, on_failure, after, edge, how) -> None:
    parent = submit()
    if how == "dead before":
        run(parent, worker, dies=True)
    child = child_of(parent, on_failure=on_failure)
    if how == "cancelled":
        lifecycle.cancel(parent.pk)
    elif how == "dies":
        run(parent, worker, dies=True)
    lifecycle.settle_all(**lead)
    assert (status_of(child), states(child)) == (after, [edge])
    assert child.cause_id == (parent.pk if after == Status.CANCELLED else None)


def test_the_tasks_of_a_bulk_may_depend_on_one_another_by_ref(worker, lead) -> None:
    last, first, middle = lifecycle.submit_many(
        [
            Submission(actor="act", payload={"do": "return"}, depends_on=[DependsOn("middle"), DependsOn("first")]),
            Submission(actor="act", payload={"do": "return"}, ref="first"),
            Submission(actor="act", payload={"do": "return"}, ref="middle", depends_on=[DependsOn("first")]),
        ]
    )
    assert [task.status for task in (first, middle, last)] == [Status.PENDING, Status.BLOCKED, Status.BLOCKED]
    assert (first.settled_as, middle.settled_as, last.settled_as) == ("WAITING", "WAITING", None)
    end(first, worker, lead)
    assert [status_of(task) for task in (middle, last)] == [Status.PENDING, Status.BLOCKED]
    end(middle, worker, lead)
    assert status_of(last) == Status.PENDING


def refused(*submissions: Submission) -> dict[str, str]:
    count = Task.objects.count()
    with pytest.raises(InvalidTask) as caught:
        lifecycle.submit_many(submissions)
    assert (Task.objects.count(), Dependency.objects.count()) == (count, 0)
    return {error.field: error.code for error in caught.value.errors}


def named(ref: str | None, *parents: str | UUID) -> Submission:
    return Submission(
        actor="act", payload={"do": "return"}, ref=ref, depends_on=[DependsOn(parent) for parent in parents]
    )


@pytest.mark.parametrize(
    ("submissions", "errors"),
    [
        ([named("a", "a")], {"depends_on": "cycle"}),
        ([named("a", "b"), named("b", "a"), named("c")], {"tasks.0.depends_on": "cycle"}),
        ([named("x", "a"), named("a", "b"), named("b", "c"), named("c", "a")], {"tasks.1.depends_on": "cycle"}),
        ([named("a"), named("b", "z")], {"tasks.1.depends_on": "unknown_ref"}),
        ([named("a"), named("a")], {}),
        ([named("a"), named("a"), named("b", "a")], {"tasks.1.ref": "duplicate"}),
        ([named("a"), named("b", "a", "a")], {"tasks.1.depends_on": "duplicate"}),
        ([named(None, uuid4())], {"depends_on": "unknown_task"}),
        ([named("a"), named(None, uuid4())], {"tasks.1.depends_on": "unknown_task"}),
        ([named(None, 7)], {"depends_on": "invalid"}),  # type: ignore[arg-type]
        ([named(None, *(uuid4() for _ in range(10_001)))], {"depends_on": "too_large"}),
    ],
    ids=lambda value: ",".join(value.values()) if isinstance(value, dict) else "",
)
def test_impossible_dependencies_are_refused_and_nothing_is_written(submissions, errors) -> None:
    if errors:
        assert refused(*submissions) == errors
    else:
        # A ref that nobody uses costs nothing, not even a look.
        assert len(lifecycle.submit_many(submissions)) == 2


def test_a_plain_task_writes_none_of_the_columns_and_no_edge() -> None:
    task = submit()
    task.refresh_from_db()
    assert (task.pending_parents, task.cause_id, task.settled_as) == (None, None, None)
    assert not Dependency.objects.exists()


# --- Second lives ---


def test_a_second_life_of_a_dead_parent_brings_back_what_its_death_cancelled_and_only_that(worker, lead) -> None:
    parent, other = submit(), submit()
    child, cancelled, grandchild = child_of(parent), child_of(parent), None
    both = child_of(parent, other)
    grandchild = child_of(child)
    lifecycle.settle_all(**lead)
    lifecycle.cancel(cancelled.pk)
    end(parent, worker, lead, dies=True)
    end(other, worker, lead, dies=True)
    assert {status_of(one) for one in (child, cancelled, grandchild, both)} == {Status.CANCELLED}
    assert (child.cause_id, grandchild.cause_id, cancelled.cause_id) == (parent.pk, child.pk, None)
    lifecycle.retry(parent.pk)
    lifecycle.settle_all(**lead)
    assert [status_of(one) for one in (child, grandchild)] == [Status.BLOCKED, Status.BLOCKED]
    assert [status_of(one) for one in (cancelled, both)] == [Status.CANCELLED, Status.CANCELLED]
    assert both.cause_id == other.pk
    end(parent, worker, lead)
    assert [status_of(one) for one in (child, grandchild)] == [Status.PENDING, Status.BLOCKED]
    lifecycle.retry(other.pk)
    end(other, worker, lead)
    assert status_of(both) == Status.PENDING


def test_a_diamond_with_one_dead_side_is_released_once_after_the_second_life(worker, lead, announcements) -> None:
    top = submit()
    left, right = child_of(top), child_of(top)
    bottom = child_of(left, right)
    end(top, worker, lead)
    end(left, worker, lead, dies=True)
    assert status_of(bottom) == Status.CANCELLED
    end(right, worker, lead)
    assert status_of(bottom) == Status.CANCELLED
    lifecycle.retry(left.pk)
    lifecycle.settle_all(**lead)
    assert (status_of(bottom), bottom.pending_parents) == (Status.BLOCKED, 1)
    with announcements() as heard:
        end(left, worker, lead)
    assert [one.moves[0].id for one in heard if one.verb == "release"] == [bottom.pk]


def test_a_parent_that_lives_and_dies_again_between_two_looks_leaves_no_child_behind(worker, lead) -> None:
    parent = submit()
    child = child_of(parent)
    end(parent, worker, lead, dies=True)
    lifecycle.retry(parent.pk)
    run(parent, worker, dies=True)
    late = child_of(parent)
    lifecycle.settle_all(**lead)
    assert [status_of(one) for one in (child, late)] == [Status.CANCELLED, Status.CANCELLED]
    parent.refresh_from_db()
    assert parent.settled_as == Status.DEAD


def test_a_release_in_parts_that_a_second_life_overtakes_is_done_again(worker, lead, monkeypatch) -> None:
    parent = submit()
    children = [child_of(parent) for _ in range(5)]
    lifecycle.settle_all(**lead)
    run(parent, worker, dies=True)
    # As if the statement had been cut after two children.
    with connection.cursor() as cursor:
        cut = release._RELEASE.replace(f"LIMIT {release.MOST_EDGES} + 1", "LIMIT 2").replace(
            f"> {release.MOST_EDGES}", "> 1"
        )
        cursor.execute(cut, lead)
    assert sorted(status_of(one) for one in children).count(Status.CANCELLED) == 2
    parent.refresh_from_db()
    assert parent.settled_as == "CHECK"
    lifecycle.retry(parent.pk)
    lifecycle.settle_all(**lead)
    assert {status_of(one) for one in children} == {Status.BLOCKED}
    end(parent, worker, lead)
    assert {status_of(one) for one in children} == {Status.PENDING}


def test_a_child_that_a_person_runs_again_no_longer_waits(worker, lead) -> None:
    parent = submit()
    child = child_of(parent)
    end(parent, worker, lead, dies=True)
    lifecycle.retry(child.pk)
    assert (status_of(child), child.cause_id) == (Status.PENDING, None)
    lifecycle.retry(parent.pk)
    lifecycle.settle_all(**lead)
    assert status_of(child) == Status.PENDING
    end(parent, worker, lead)
    assert (status_of(child), child.pending_parents) == (Status.PENDING, 0)


# --- Delete and prune ---


def test_a_task_that_others_wait_for_cannot_be_deleted_and_one_that_has_told_them_can(worker, lead) -> None:
    parent = submit()
    child = child_of(parent)
    lifecycle.settle_all(**lead)
    with pytest.raises(IllegalTransition, match="others wait for"):
        lifecycle.delete(parent.pk)
    run(parent, worker)
    with pytest.raises(IllegalTransition, match="others wait for"):
        lifecycle.delete(parent.pk)
    lifecycle.settle_all(**lead)
    lifecycle.delete(parent.pk)
    assert status_of(child) == Status.PENDING
    lifecycle.delete(child.pk)
    assert not Dependency.objects.exists()


def test_a_parent_that_was_deleted_before_it_was_linked_counts_as_failed(lead) -> None:
    parent = submit()
    cancelled, runs = child_of(parent), child_of(parent, on_failure=OnFailure.RUN)
    lifecycle.delete(parent.pk)
    lifecycle.settle_all(**lead)
    assert (status_of(cancelled), cancelled.cause_id) == (Status.CANCELLED, parent.pk)
    assert status_of(runs) == Status.PENDING


def test_a_stranger_to_the_term_settles_nothing(worker, lead) -> None:
    parent = submit()
    child = child_of(parent)
    run(parent, worker)
    assert lifecycle.settle_all(lease=lead["lease"], term=lead["term"] + 1).changed == 0
    assert status_of(child) == Status.BLOCKED


def prune(lead: Lead) -> set[UUID]:
    """Prune what has ended, whenever that was; return the ids that are left."""
    # Also what ends this very moment.
    keep = {str(status): -1.0 for status in FINAL}
    lifecycle.prune_many(FIRST_ID, keep_seconds=keep, batch=100, **lead)
    return set(Task.objects.values_list("pk", flat=True))


def test_the_pruner_keeps_a_parent_until_its_children_have_ended_and_removes_edges_with_them(worker, lead) -> None:
    parent = born_earlier(submit(), timedelta(days=1))
    child = born_earlier(child_of(parent), timedelta(days=1))
    # born_earlier gives a row another id.
    Dependency.objects.all().delete()
    Dependency.objects.create(child=child, parent=parent, on_failure="cancel", state=EdgeState.NEW)
    end(parent, worker, lead)
    assert prune(lead) == {parent.pk, child.pk}
    end(child, worker, lead)
    assert prune(lead) == set()
    assert not Dependency.objects.exists()


def test_the_pruner_keeps_a_parent_that_has_not_told_its_children_yet(worker, lead) -> None:
    parent = born_earlier(submit(), timedelta(days=1))
    child = child_of(parent)
    lifecycle.settle_all(**lead)
    lifecycle.cancel(child.pk)
    run(parent, worker)
    assert parent.pk in prune(lead)
    lifecycle.settle_all(**lead)
    assert parent.pk not in prune(lead)


def test_a_child_that_is_too_old_dies_while_it_waits_and_tells_its_own_children(worker, lead) -> None:
    parent = submit()
    child = child_of(parent, max_age_seconds=1000)
    last = child_of(child)
    lifecycle.settle_all(**lead)
    age(child, expires_at=timedelta(days=1))
    lifecycle.expire_many(**lead)
    lifecycle.settle_all(**lead)
    assert [status_of(one) for one in (child, last)] == [Status.DEAD, Status.CANCELLED]
    end(parent, worker, lead)
    assert [status_of(one) for one in (child, last)] == [Status.DEAD, Status.CANCELLED]
    assert child.pending_parents == 0


def test_the_statements_find_their_rows_by_index_whatever_the_tables_hold(worker, lead) -> None:
    parent = submit()
    for _ in range(20):
        child_of(parent)
    with connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
        )
        for statement, index in ((release._RELEASE, "task_unsettled_idx"), (release._LINK, "dependency_new_idx")):
            cursor.execute(f"EXPLAIN {statement}", lead)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert index in plan, plan
            assert "Seq Scan on callboard_" not in plan.replace("Seq Scan on callboard_term", ""), plan
