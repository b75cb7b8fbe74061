"""The registry of workers: heartbeats, departures, and the declaration that a worker is gone."""

from datetime import timedelta

import pytest

from tasks import lifecycle
from tasks.lifecycle import workers
from tasks.models import Journal, Task, Term
from tasks.states import Door, WorkerStatus
from tests.factories import age, let_lease_run_out, make_worker, start, submit

pytestmark = pytest.mark.django_db


def test_only_the_silent_are_declared_gone_and_they_cannot_come_back(worker, lead) -> None:
    silent = make_worker()
    let_lease_run_out(silent)
    assert workers.declare_silent_gone(**lead) == [silent.pk]
    silent.refresh_from_db()
    worker.refresh_from_db()
    assert (silent.status, worker.status) == (WorkerStatus.GONE, WorkerStatus.ALIVE)
    assert not workers.beat(silent.pk).is_present
    assert workers.beat(worker.pk).is_present


def test_a_lease_that_has_ended_can_be_renewed_until_its_worker_is_declared_gone(worker, lead) -> None:
    let_lease_run_out(worker)
    assert workers.beat(worker.pk).is_present
    assert workers.declare_silent_gone(**lead) == []


def test_a_deposed_leader_declares_no_worker_gone(worker, lead) -> None:
    let_lease_run_out(worker)
    Term.objects.update(term=2)
    assert workers.declare_silent_gone(**lead) == []


def test_a_worker_learns_of_cancels_drains_and_rows_that_it_does_not_hold(worker) -> None:
    held, unheld, fresh, cancelled = (start(submit(), worker) for _ in range(4))
    age(Task.objects.get(pk=held.id), started_at=timedelta(seconds=10))
    age(Task.objects.get(pk=unheld.id), started_at=timedelta(seconds=10))
    lifecycle.cancel(cancelled.id)
    found = workers.reconcile(worker.pk, [(held.id, 1), (cancelled.id, 1)])
    assert found.cancelled == [(cancelled.id, 1)]
    assert found.unheld == [(unheld.id, 1)]
    assert not workers.beat(worker.pk).is_draining
    assert fresh.attempt == 1
    workers.ask_to_drain([worker.pk])
    assert workers.beat(worker.pk).is_draining


def test_a_worker_that_holds_an_older_attempt_does_not_hold_the_row(worker) -> None:
    task = submit()
    lifecycle.put_back_many([(task.pk, start(task, worker).attempt)], worker_id=worker.pk)
    assert start(task, worker).attempt == 2
    age(task, started_at=timedelta(seconds=10))
    assert workers.reconcile(worker.pk, [(task.pk, 1)]).unheld == [(task.pk, 2)]
    assert workers.reconcile(worker.pk, [(task.pk, 2)]).unheld == []


def test_an_orderly_end_is_reported_once(worker) -> None:
    workers.leave(worker.pk)
    assert not workers.report_end(worker.pk, kind="crashed", detail="late", records=[])
    worker.refresh_from_db()
    assert worker.crash is None


def deploys() -> list[str]:
    return [entry.object_id for entry in Journal.objects.of_verb("deploy").order_by("id")]


def test_a_heartbeat_tells_the_memory(worker) -> None:
    assert worker.memory_bytes is None
    workers.beat(worker.pk, memory_bytes=123_000_000)
    worker.refresh_from_db()
    assert worker.memory_bytes == 123_000_000


def test_the_first_worker_of_a_build_is_a_deploy_and_its_others_are_none() -> None:
    first, second = make_worker(build="a1"), make_worker(build="a1")
    assert [one.build for one in (first, second)] == ["a1", "a1"]
    entry = Journal.objects.of_verb("deploy").get()
    assert (entry.object_id, entry.kind, entry.door, entry.by) == ("a1", "build", Door.WORKER, "")
    for one in (first, second):
        workers.leave(one.pk)
    make_worker(build="a1")
    assert deploys() == ["a1"], "a restart of all workers is no deploy"


def test_a_worker_of_the_old_build_that_restarts_while_a_new_one_comes_is_no_deploy() -> None:
    one, _ = make_worker(build="a1"), make_worker(build="a1")
    make_worker(build="b2")
    workers.leave(one.pk)
    make_worker(build="a1")
    assert deploys() == ["a1", "b2"]


def test_a_return_to_an_older_build_is_a_deploy() -> None:
    for build in ("a1", "b2", "a1"):
        workers.leave(make_worker(build=build).pk)
    assert deploys() == ["a1", "b2", "a1"]


def test_workers_without_a_build_deploy_nothing() -> None:
    assert make_worker().build == ""
    assert deploys() == []
