"""Tasks that wait for batches: what the end of a batch does to them, and which of them are refused."""

from typing import Any
from uuid import uuid4

import pytest

from tasks import lifecycle
from tasks.errors import InvalidTask
from tasks.lifecycle import Author, DependsOn, NewBatch, Submission, batches
from tasks.lifecycle.prune import FIRST_ID
from tasks.models import Batch, Dependency, Task
from tasks.states import BatchStatus, Door, EdgeState, OnFailure, Status
from tests.factories import open_letter, submit
from tests.lifecycle.test_batches import act, run, settle

pytestmark = pytest.mark.django_db


def make_batch(tasks: int = 1, **fields: Any) -> tuple[Batch, list[Task]]:
    batch, ids, _ = batches.create(NewBatch(tasks=[act() for _ in range(tasks)], **fields))
    found = Task.objects.in_bulk(ids)
    return batch, [found[id] for id in ids]


def child_of(batch: Batch, on_failure: OnFailure = OnFailure.CANCEL, **fields: Any) -> Task:
    return submit(depends_on=[DependsOn(batch=batch.pk, on_failure=on_failure)], **fields)


def now(task: Task) -> str:
    task.refresh_from_db()
    return str(task.status)


def edge_of(child: Task) -> str:
    return Dependency.objects.get(child=child).state


def test_a_task_waits_until_all_tasks_of_a_batch_have_ended(worker, lead, announcements) -> None:
    batch, (first, last) = make_batch(2)
    child = child_of(batch)
    assert (child.status, child.pending_parents, edge_of(child)) == (Status.BLOCKED, 1, EdgeState.NEW)
    run(first, worker)
    assert (settle(batch, lead), now(child), edge_of(child)) == (BatchStatus.RUNNING, Status.BLOCKED, EdgeState.OPEN)
    run(last, worker)
    with announcements() as heard:
        assert settle(batch, lead) == BatchStatus.SUCCEEDED
    assert (now(child), child.pending_parents, edge_of(child)) == (Status.PENDING, 0, EdgeState.MET)
    assert [one.verb for one in heard] == ["release"]
    assert batch.settled_as == BatchStatus.SUCCEEDED


def test_a_task_waits_for_a_batch_that_still_takes_tasks(worker, lead) -> None:
    batch, _ = make_batch(0)
    child = child_of(batch)
    member = submit(batch=batch.pk)
    run(member, worker)
    assert (settle(batch, lead), now(child)) == (BatchStatus.OPEN, Status.BLOCKED)
    batches.close(batch.pk)
    assert (settle(batch, lead), now(child)) == (BatchStatus.SUCCEEDED, Status.PENDING)


def test_a_batch_that_has_succeeded_blocks_nobody(worker, lead) -> None:
    batch, (task,) = make_batch()
    run(task, worker)
    settle(batch, lead)
    child = child_of(batch)
    assert (child.status, child.pending_parents, edge_of(child)) == (Status.PENDING, 0, EdgeState.MET)
    assert (settle(batch, lead), batch.settled_as) == (BatchStatus.SUCCEEDED, None)


@pytest.mark.parametrize("is_late", [False, True], ids=["before the end", "after the end"])
@pytest.mark.parametrize(
    ("on_failure", "after", "edge"),
    [
        (OnFailure.CANCEL, Status.CANCELLED, EdgeState.FAILED),
        (OnFailure.RUN, Status.PENDING, EdgeState.MET),
        (OnFailure.BLOCK, Status.BLOCKED, EdgeState.OPEN),
    ],
)
def test_a_batch_with_a_death_counts_as_failed(worker, lead, on_failure, after, edge, is_late) -> None:
    batch, (dies, succeeds) = make_batch(2)
    child = None if is_late else child_of(batch, on_failure)
    run(dies, worker, dies=True)
    run(succeeds, worker)
    assert settle(batch, lead) == BatchStatus.FAILED
    if child is None:
        child = child_of(batch, on_failure)
        assert now(child) == Status.BLOCKED
        settle(batch, lead)
    assert (now(child), edge_of(child)) == (after, edge)
    assert child.cause_id == (batch.pk if after == Status.CANCELLED else None)


def test_a_cancelled_batch_cancels_what_waits_for_it_once_its_tasks_have_ended(lead) -> None:
    batch, _ = make_batch(2)
    child, other = child_of(batch), child_of(batch, OnFailure.RUN)
    batches.cancel(batch.pk, by=Author("ada", Door.API, "wrong data"))
    assert settle(batch, lead) == BatchStatus.CANCELLED
    assert (now(child), child.cause_id, now(other)) == (Status.CANCELLED, batch.pk, Status.PENDING)
    assert child.finished_at is not None


def test_a_second_life_of_a_batch_blocks_again_what_its_failure_cancelled(worker, lead) -> None:
    batch, (task,) = make_batch()
    child = child_of(batch)
    cancelled = child_of(batch)
    lifecycle.cancel(cancelled.pk)
    run(task, worker, dies=True)
    settle(batch, lead)
    assert now(child) == Status.CANCELLED
    lifecycle.redrive(open_letter(task).pk)
    assert (settle(batch, lead), now(child), edge_of(child)) == (BatchStatus.RUNNING, Status.BLOCKED, EdgeState.OPEN)
    run(task, worker)
    assert (settle(batch, lead), now(child)) == (BatchStatus.SUCCEEDED, Status.PENDING)
    assert now(cancelled) == Status.CANCELLED


def test_a_child_counts_in_its_own_batch(worker, lead) -> None:
    first, (task,) = make_batch()
    second, ids, _ = batches.create(NewBatch(tasks=[act(depends_on=[DependsOn(batch=first.pk)])]))
    run(task, worker, dies=True)
    assert settle(first, lead) == BatchStatus.FAILED
    assert (settle(second, lead), second.cancelled) == (BatchStatus.FAILED, 1)
    assert Task.objects.get(pk=ids[0]).cause_id == first.pk


def test_many_children_are_released_in_parts(worker, lead, monkeypatch) -> None:
    batch, (task,) = make_batch()
    children = lifecycle.submit_many([act(depends_on=[DependsOn(batch=batch.pk)]) for _ in range(1_100)])
    run(task, worker)
    settle(batch, lead)
    released = Task.objects.filter(pk__in=[child.pk for child in children], status=Status.PENDING, pending_parents=0)
    assert released.count() == 1_100
    assert batch.settled_as == BatchStatus.SUCCEEDED


def test_an_old_leader_tells_nobody(worker, lead) -> None:
    batch, (task,) = make_batch()
    child = child_of(batch)
    run(task, worker)
    settle(batch, lead)
    Task.objects.filter(pk=child.pk).update(status=Status.BLOCKED, pending_parents=1)
    Dependency.objects.filter(child=child).update(state=EdgeState.NEW)
    old = {**lead, "term": lead["term"] - 1}
    assert lifecycle.settle_batches(**old).changed == 0
    assert edge_of(child) == EdgeState.NEW


def test_a_batch_that_was_removed_before_it_was_linked_counts_as_failed(lead) -> None:
    batch, _ = make_batch(0)
    child, other = child_of(batch), child_of(batch, OnFailure.RUN)
    Batch.objects.filter(pk=batch.pk).delete()
    lifecycle.settle_all(**lead)
    assert now(child) == Status.BLOCKED
    lifecycle.settle_batches(**lead)
    assert (now(child), now(other)) == (Status.CANCELLED, Status.PENDING)


def test_a_batch_is_kept_while_a_task_waits_for_it(worker, lead) -> None:
    batch, (task,) = make_batch()
    child = child_of(batch, OnFailure.BLOCK)
    run(task, worker, dies=True)
    settle(batch, lead)
    Task.objects.filter(pk=task.pk).delete()
    Batch.objects.filter(pk=batch.pk).update(ended_at=batch.created_at)

    def prune() -> int:
        keep = {"DEAD": 0.0, "SUCCEEDED": 0.0}
        return lifecycle.prune_batches(FIRST_ID, keep_seconds=keep, batch=10, **lead).removed

    assert prune() == 0
    lifecycle.cancel(child.pk)
    assert prune() == 1


# --- Refused ---


def refusal(*submissions: Submission) -> tuple[str, str, str]:
    with pytest.raises(InvalidTask) as refused:
        lifecycle.submit_many(submissions)
    (error,) = refused.value.errors
    return error.field, error.code, error.message


def test_a_batch_that_does_not_exist_is_refused() -> None:
    id = uuid4()
    field, code, message = refusal(act(depends_on=[DependsOn(batch=id)]))
    assert (field, code) == ("depends_on", "unknown_batch")
    assert f"there is no batch {id}" in message
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (DependsOn(), "invalid"),
        (DependsOn(batch="nightly"), "invalid"),  # type: ignore[arg-type]
        (DependsOn("first", batch=uuid4()), "invalid"),
        (DependsOn(batch=uuid4(), on_failure="stop"), "invalid"),  # type: ignore[arg-type]
    ],
)
def test_a_dependency_that_says_something_else_is_refused(given, code) -> None:
    assert refusal(act(depends_on=[given]))[1] == code


def test_a_batch_is_named_once() -> None:
    batch, _ = make_batch(0)
    assert refusal(act(depends_on=[DependsOn(batch=batch.pk)] * 2))[1] == "duplicate"
