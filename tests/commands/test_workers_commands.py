"""``callboard workers``: list, show, drain."""

import pytest

from tasks.models import Worker, new_id
from tasks.states import Status, WorkerStatus
from tests.commands.cli import callboard, callboard_json, refused
from tests.factories import let_lease_run_out, make_task, make_worker

pytestmark = pytest.mark.django_db


def test_workers_that_are_present_are_listed_and_all_when_asked(worker) -> None:
    silent = make_worker()
    let_lease_run_out(silent)
    (listed,) = callboard_json("workers", "list")["results"]
    assert (listed["id"], listed["pid"], listed["status"]) == (str(worker.pk), worker.pid, "ALIVE")
    assert len(callboard_json("workers", "list", "--all")["results"]) == 2
    assert callboard("workers", "list", "-q").split() == [str(worker.pk)]
    assert callboard("workers", "list", "-q", "--status", "gone") == ""
    assert len(callboard("workers", "list", "-q", "--status", "alive").split()) == 2


def test_a_worker_is_shown_with_what_it_runs(worker) -> None:
    task = make_task(Status.RUNNING, worker=worker)
    shown = callboard_json("workers", "show", str(worker.pk))
    assert shown["running"] == [one["id"] for one in shown["tasks"]] == [str(task.pk)]
    assert str(task.pk) in callboard("workers", "show", str(worker.pk))


def test_a_worker_is_drained_once(worker) -> None:
    (done,) = callboard_json("workers", "drain", str(worker.pk))["results"]
    assert done["status"] == "DRAINING"
    assert Worker.objects.get(pk=worker.pk).status == WorkerStatus.DRAINING
    assert "cannot drain a worker that is DRAINING" in refused("workers", "drain", str(worker.pk))[1]


def test_an_unknown_worker_is_refused() -> None:
    id = str(new_id())
    assert refused("workers", "show", id)[0] == f"there is no worker {id}"
