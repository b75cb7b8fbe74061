"""Batches: whatever moves a task is counted, and what a batch calls back is submitted once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models import Count, F

from tasks import lifecycle
from tasks.errors import BatchClosed, IdempotencyKeyReused, IllegalTransition, InvalidTask, NotFound
from tasks.lifecycle import Author, DependsOn, NewBatch, Submission, batches
from tasks.lifecycle.prune import FIRST_ID
from tasks.models import Batch, BatchDelta, Journal, Task, Worker
from tasks.models.batch import CALLBACKS, COUNTS
from tasks.states import FINAL, BatchStatus, DeathReason, Door, OnFailure, Status
from tests.factories import Lead, age, failure, open_letter, outcome, start, submit
from tests.scheduler.stage import born_earlier

pytestmark = pytest.mark.django_db

BY = Author("ada", Door.API, "not needed")


def act(**fields: Any) -> Submission:
    return Submission(actor="act", payload={"do": "return"}, **fields)


def make_batch(tasks: int = 2, **fields: Any) -> tuple[Batch, list[Task]]:
    """Make a batch of tasks that return, which calls back on everything."""
    callbacks = {name: act(tags=[name]) for name in CALLBACKS}
    wanted = NewBatch(**{"tasks": [act() for _ in range(tasks)], "callbacks": callbacks, **fields})
    batch, ids, _ = batches.create(wanted)
    found = Task.objects.in_bulk(ids)
    return batch, [found[id] for id in ids]


def run(task: Task, worker: Worker, *, dies: bool = False) -> None:
    task.refresh_from_db()
    claimed = start(task, worker)
    death = failure(claimed, worker, death=DeathReason.NOT_RETRYABLE) if dies else None
    assert lifecycle.complete_many([death or outcome(claimed, worker)])


def settle(batch: Batch, lead: Lead) -> str:
    """Let the leader do what there is to do, and tell the batch's status."""
    lifecycle.settle_all(**lead)
    while lifecycle.settle_batches(**lead).changed:
        pass
    batch.refresh_from_db()
    batch.news = None
    assert not BatchDelta.objects.exists()
    return str(batch.status)


def counts(batch: Batch) -> dict[str, int]:
    return {name: batch.count(name) for name in COUNTS if batch.count(name)}


def called() -> list[str]:
    """List the callbacks that were submitted, by their tags, oldest first."""
    return [tags[0] for tags in Task.objects.exclude(tags=[]).order_by("pk").values_list("tags", flat=True)]


# --- Life ---


def test_a_batch_of_successes_succeeds_and_calls_back_once(worker, lead) -> None:
    batch, tasks = make_batch()
    assert (batch.status, counts(batch)) == (BatchStatus.RUNNING, {"total": 2})
    run(tasks[0], worker)
    assert (settle(batch, lead), called()) == (BatchStatus.RUNNING, [])
    run(tasks[1], worker)
    # Before the leader has counted it, a reader sees it.
    assert counts(batches.find(batch.pk)) == {"total": 2, "succeeded": 2}
    assert (settle(batch, lead), counts(batch)) == (BatchStatus.SUCCEEDED, {"total": 2, "succeeded": 2})
    assert called() == ["on_complete", "on_success"]
    assert set(batch.called) == {"on_complete", "on_success"}
    callback = Task.objects.get(pk=batch.called["on_success"])
    assert (callback.options["callback_of"], callback.trace_id, callback.batch_id) == (
        str(batch.pk), batch.trace_id, None
    )  # fmt: skip
    assert settle(batch, lead) == BatchStatus.SUCCEEDED
    assert len(called()) == 2


def test_the_first_death_calls_back_at_once_and_the_batch_fails_in_the_end(worker, lead) -> None:
    batch, tasks = make_batch(3)
    run(tasks[0], worker, dies=True)
    assert (settle(batch, lead), called()) == (BatchStatus.RUNNING, ["on_death"])
    run(tasks[1], worker, dies=True)
    run(tasks[2], worker)
    assert settle(batch, lead) == BatchStatus.FAILED
    assert (called(), counts(batch)) == (["on_death", "on_complete"], {"total": 3, "dead": 2, "succeeded": 1})


def test_a_re_drive_lets_an_ended_batch_run_again_and_its_success_then_calls_back(worker, lead) -> None:
    batch, (task,) = make_batch(1)
    run(task, worker, dies=True)
    assert settle(batch, lead) == BatchStatus.FAILED
    lifecycle.redrive(open_letter(task).pk)
    assert (settle(batch, lead), counts(batch), batch.ended_at) == (BatchStatus.RUNNING, {"total": 1}, None)
    run(task, worker)
    assert settle(batch, lead) == BatchStatus.SUCCEEDED
    assert called() == ["on_death", "on_complete", "on_success"]


def test_a_re_drive_that_ends_before_the_leader_looks_counts_too(worker, lead) -> None:
    batch, (task,) = make_batch(1)
    run(task, worker, dies=True)
    assert settle(batch, lead) == BatchStatus.FAILED
    lifecycle.redrive(open_letter(task).pk)
    run(task, worker)
    assert (settle(batch, lead), called()[-1]) == (BatchStatus.SUCCEEDED, "on_success")


def test_an_open_batch_takes_tasks_until_it_is_closed(worker, lead) -> None:
    batch, _ = make_batch(0)
    first = submit(batch=batch.pk)
    run(first, worker)
    assert (settle(batch, lead), counts(batch)) == (BatchStatus.OPEN, {"total": 1, "succeeded": 1})
    later = submit(batch=batch.pk)
    assert batches.close(batch.pk, by=BY).status == BatchStatus.RUNNING
    assert batches.close(batch.pk, by=BY).status == BatchStatus.RUNNING
    with pytest.raises(BatchClosed, match="RUNNING"):
        submit(batch=batch.pk)
    assert settle(batch, lead) == BatchStatus.RUNNING
    run(later, worker)
    assert settle(batch, lead) == BatchStatus.SUCCEEDED
    assert list(Journal.objects.filter(kind="batch").values_list("verb", "object_id", "by")) == [
        ("close", str(batch.pk), "ada")
    ]
    with pytest.raises(BatchClosed):
        submit(batch=batch.pk)
    assert Task.objects.of_batch(batch.pk).count() == 2


def test_a_batch_without_tasks_ends_once_it_is_closed(lead) -> None:
    batch, _ = make_batch(0)
    assert settle(batch, lead) == BatchStatus.OPEN
    batches.close(batch.pk)
    assert (settle(batch, lead), called()) == (BatchStatus.SUCCEEDED, ["on_complete", "on_success"])


def test_nothing_is_left_of_a_batch_that_cannot_be_made(settings) -> None:
    settings.MAX_BATCH_TASKS = 2
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"tasks": [act()] * 3}, ["batch"]),
        (
            {"tasks": [act(), Submission(actor="act", payload={"nonsense": 1})]},
            ["tasks.1.payload.do", "tasks.1.payload.nonsense"],
        ),
        ({"tasks": [act(batch=uuid4())]}, ["tasks.0.batch"]),
        ({"callbacks": {"on_success": act(depends_on=[uuid4()])}}, ["on_success.depends_on"]),
        (
            {"callbacks": {"on_success": Submission(actor="act", payload={"nonsense": 1})}},
            ["on_success.payload.do", "on_success.payload.nonsense"],
        ),
        ({"callbacks": {"on_failure": act()}}, ["on_failure"]),
        ({"name": "x" * 201}, ["name"]),
    ]
    for fields, expected in cases:
        with pytest.raises(InvalidTask) as caught:
            batches.create(NewBatch(**fields))
        assert [error.field for error in caught.value.errors] == expected
    with pytest.raises(NotFound):
        submit(batch=uuid4())
    assert [model.objects.count() for model in (Batch, Task, BatchDelta)] == [0, 0, 0]


def test_the_bound_of_a_batch_counts_what_the_leader_has_not_added(settings) -> None:
    settings.MAX_BATCH_TASKS = 2
    batch, _ = make_batch(2, is_open=True)
    with pytest.raises(InvalidTask, match="at most 2 tasks"):
        submit(batch=batch.pk)


def test_a_batch_is_made_once_under_a_key() -> None:
    wanted = NewBatch(name="import", tasks=[act(), act()])
    first = batches.create_once(wanted, key="k")
    again = batches.create_once(wanted, key="k")
    assert (again.batch, again.task_ids, again.is_replayed) == (first.batch, first.task_ids, True)
    assert len(first.task_ids) == Task.objects.of_batch(first.batch.pk).count() == 2
    with pytest.raises(IdempotencyKeyReused):
        batches.create_once(NewBatch(name="another", tasks=[act(), act()]), key="k")


def test_only_a_new_task_of_a_unique_key_is_counted(worker, lead) -> None:
    there = submit(unique="k")
    batch, _ = make_batch(0)
    assert lifecycle.submit(act(unique="k", batch=batch.pk)).pk == there.pk
    lifecycle.submit(act(unique="other", batch=batch.pk))
    assert (settle(batch, lead), counts(batch)) == (BatchStatus.OPEN, {"total": 1})


# --- Whatever moves a task is counted ---


def cancel(task: Task, _: Worker, __: Lead) -> None:
    lifecycle.cancel(task.pk)


def cancel_running(task: Task, worker: Worker, __: Lead) -> None:
    claimed = start(task, worker)
    lifecycle.cancel(task.pk)
    assert lifecycle.complete_many([failure(claimed, worker)])


def put_back(task: Task, worker: Worker, _: Lead) -> None:
    lifecycle.put_back_many([(task.pk, start(task, worker).attempt)], worker_id=worker.pk)


def put_back_cancelled(task: Task, worker: Worker, _: Lead) -> None:
    claimed = start(task, worker)
    lifecycle.cancel(task.pk)
    lifecycle.put_back_many([(task.pk, claimed.attempt)], worker_id=worker.pk)


def expire(task: Task, _: Worker, lead: Lead) -> None:
    age(task, expires_at=timedelta(days=1))
    assert lifecycle.expire_many(**lead)


def delete(task: Task, _: Worker, __: Lead) -> None:
    lifecycle.delete(task.pk)


def succeed(task: Task, worker: Worker, _: Lead) -> None:
    run(task, worker)


def die(task: Task, worker: Worker, _: Lead) -> None:
    run(task, worker, dies=True)


def retry_the_cancelled(task: Task, worker: Worker, lead: Lead) -> None:
    cancel(task, worker, lead)
    lifecycle.retry(task.pk)


def cancel_its_parent(task: Task, worker: Worker, lead: Lead) -> None:
    lifecycle.cancel(task.parent_edges.get().parent_id)
    lifecycle.settle_all(**lead)


def cancel_its_parent_and_retry_that(task: Task, worker: Worker, lead: Lead) -> None:
    parent = task.parent_edges.get().parent_id
    cancel_its_parent(task, worker, lead)
    lifecycle.retry(parent)
    lifecycle.settle_all(**lead)


WAYS: dict[Callable[[Task, Worker, Lead], None], dict[str, int]] = {
    succeed: {"total": 1, "succeeded": 1},
    die: {"total": 1, "dead": 1},
    cancel: {"total": 1, "cancelled": 1},
    cancel_running: {"total": 1, "cancelled": 1},
    put_back: {"total": 1},
    put_back_cancelled: {"total": 1, "cancelled": 1},
    expire: {"total": 1, "dead": 1},
    delete: {},
    retry_the_cancelled: {"total": 1},
    cancel_its_parent: {"total": 1, "cancelled": 1},
    cancel_its_parent_and_retry_that: {"total": 1},
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_moves_a_task_is_counted(way, worker, lead) -> None:
    batch, _ = make_batch(0)
    is_child = "parent" in way.__name__
    edges = [DependsOn(submit().pk, OnFailure.CANCEL)] if is_child else []
    task = submit(batch=batch.pk, depends_on=edges, max_age_seconds=60)
    settle(batch, lead)
    way(task, worker, lead)
    assert counts(batches.find(batch.pk)) == WAYS[way]
    settle(batch, lead)
    assert counts(batch) == WAYS[way] == recount(batch)


def recount(batch: Batch) -> dict[str, int]:
    found = dict(Task.objects.of_batch(batch.pk).order_by().values_list("status").annotate(n=Count("*")))
    ended = {str(status).lower(): n for status, n in found.items() if status in FINAL}
    total = sum(found.values())
    return {name: n for name, n in {"total": total, **ended}.items() if n}


def test_a_task_that_ended_stays_counted_when_it_is_deleted(worker, lead) -> None:
    batch, (task,) = make_batch(1)
    run(task, worker)
    lifecycle.delete(task.pk)
    assert (settle(batch, lead), counts(batch)) == (BatchStatus.SUCCEEDED, {"total": 1, "succeeded": 1})


def test_tasks_without_a_batch_leave_no_delta(worker, lead) -> None:
    run(submit(), worker)
    run(submit(), worker, dies=True)
    lifecycle.cancel(submit().pk)
    lifecycle.delete(submit().pk)
    assert not BatchDelta.objects.exists()


def test_one_statement_leaves_one_delta_for_each_batch(worker) -> None:
    batch, tasks = make_batch(3)
    BatchDelta.objects.all().delete()
    claimed = [start(task, worker) for task in tasks]
    lifecycle.complete_many([outcome(one, worker) for one in claimed])
    assert [(one.batch_id, one.succeeded) for one in BatchDelta.objects.all()] == [(batch.pk, 3)]


# --- Cancel ---


def test_cancel_ends_what_waits_asks_what_runs_and_says_who_and_why(worker, lead, monkeypatch) -> None:
    batch, tasks = make_batch(3)
    claimed = start(tasks[0], worker)
    found = batches.cancel(batch.pk, by=BY)
    assert (found.status, found.cancelled_by, found.cancel_reason) == (BatchStatus.RUNNING, "ada", "not needed")
    assert settle(batch, lead) == BatchStatus.RUNNING
    assert counts(batch) == {"total": 3, "cancelled": 2}
    lifecycle.complete_many([failure(claimed, worker)])
    assert (settle(batch, lead), called()) == (BatchStatus.CANCELLED, ["on_complete"])
    entries = Journal.objects.filter(operation_id=batch.pk)
    assert {(one.verb, one.by, one.reason, one.door) for one in entries} == {("cancel", "ada", "not needed", Door.API)}
    assert entries.count() == 3
    with pytest.raises(IllegalTransition, match="it is CANCELLED"):
        batches.cancel(batch.pk)
    with pytest.raises(NotFound):
        batches.cancel(uuid4())


def test_the_leader_goes_on_with_a_cancel_that_was_cut_short(lead, monkeypatch) -> None:
    monkeypatch.setattr(batches, "_NEXT", batches._NEXT.replace("500", "2"))
    batch, _ = make_batch(5)
    batches.cancel(batch.pk, by=BY)
    # The newest go first.
    assert [task.status for task in Task.objects.of_batch(batch.pk).order_by("pk")] == [
        *[Status.PENDING] * 3, *[Status.CANCELLED] * 2
    ]  # fmt: skip
    assert (settle(batch, lead), counts(batch)) == (BatchStatus.CANCELLED, {"total": 5, "cancelled": 5})


def test_an_open_batch_that_is_cancelled_takes_no_more_tasks(lead) -> None:
    batch, _ = make_batch(1, is_open=True)
    batches.cancel(batch.pk)
    with pytest.raises(BatchClosed):
        submit(batch=batch.pk)
    assert settle(batch, lead) == BatchStatus.CANCELLED


def test_a_success_that_comes_first_wins_over_the_cancel(worker, lead) -> None:
    batch, (task,) = make_batch(1)
    claimed = start(task, worker)
    batches.cancel(batch.pk)
    lifecycle.complete_many([outcome(claimed, worker)])
    assert settle(batch, lead) == BatchStatus.SUCCEEDED


# --- Retention ---


def prune(lead: Lead, seconds: float) -> tuple[int, int]:
    keep: Any = {"keep_seconds": {str(status): seconds for status in FINAL}, "batch": 100, **lead}
    return lifecycle.prune_many(FIRST_ID, **keep).removed, lifecycle.prune_batches(FIRST_ID, **keep).removed


def test_tasks_stay_until_their_batch_has_ended_as_long_ago_and_the_batch_goes_after_them(worker, lead) -> None:
    batch, (first, second) = make_batch(2, callbacks={})
    run(first, worker)
    age(born_earlier(first, timedelta(days=1)), finished_at=timedelta(days=1))
    assert prune(lead, 3600) == (0, 0)
    run(second, worker)
    assert settle(batch, lead) == BatchStatus.SUCCEEDED
    assert prune(lead, 3600) == (0, 0)
    Batch.objects.update(ended_at=F("ended_at") - timedelta(days=1))
    assert prune(lead, 3600) == (1, 0)
    lifecycle.delete(second.pk)
    assert prune(lead, 2 * 86_400) == (0, 0)
    assert prune(lead, 3600) == (0, 1)
