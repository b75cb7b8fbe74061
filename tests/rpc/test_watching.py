"""WatchTask and WatchTasks on the wire."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from django.contrib.auth.models import User

from tasks import lifecycle
from tasks.conf import conf
from tasks.contract import watching
from tasks.contract.watching import hub
from tasks.models import Task
from tasks.rpc import server as server_module
from tasks.rpc.generated import task_pb2 as pb
from tasks.rpc.generated.task_pb2_grpc import TaskServiceStub
from tests import factories
from tests.callers import Caller
from tests.rpc.serving import code_of, metadata_of, refused, served
from tests.waiting import wait_until


@pytest.fixture
def owner(transactional_db: None) -> Caller:
    return Caller(User.objects.create_user("owner"))


@pytest.fixture
def stub(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskServiceStub]:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.05)
    with served() as address, grpc.insecure_channel(address) as channel:
        yield TaskServiceStub(channel)
    wait_until(lambda: not len(hub))
    wait_until(lambda: hub._thread is None)


def watch(stub: TaskServiceStub, task: Task, caller: Caller, **options: Any) -> Any:
    asked = pb.WatchTaskRequest(id=str(task.pk), last_event_id=options.pop("last", ""))
    return stub.WatchTask(asked, metadata=metadata_of(caller), **options)


def test_a_task_is_watched_to_its_end(stub: TaskServiceStub, owner: Caller) -> None:
    task, worker = factories.submit(owner_id=owner.id), factories.make_worker()
    call = watch(stub, task, owner)
    first = [next(call).event, next(call).event]
    assert [one.type for one in first] == [pb.EVENT_TYPE_SUBMITTED, pb.EVENT_TYPE_STATUS]
    claimed = factories.start(task, worker)
    # A look may come between the dispatch and the claim.
    running = next(one.event for one in call if one.event.status != pb.TASK_STATUS_QUEUED)
    assert running.status == pb.TASK_STATUS_RUNNING
    lifecycle.complete_many([factories.outcome(claimed, worker, result=[1])])
    rest = [one.event for one in call]
    assert [one.type for one in rest] == [pb.EVENT_TYPE_ATTEMPT, pb.EVENT_TYPE_STATUS]
    assert json.loads(rest[-1].result) == [1]
    again = [one.event for one in watch(stub, task, owner, last=first[0].id)]
    assert [one.type for one in again] == [pb.EVENT_TYPE_ATTEMPT, pb.EVENT_TYPE_STATUS]
    assert not list(watch(stub, task, owner, last=rest[-1].id))
    assert dict(call.trailing_metadata())["x-trace-id"]


def test_several_tasks_are_watched_at_once(stub: TaskServiceStub, owner: Caller) -> None:
    tasks = [factories.submit(owner_id=owner.id) for _ in range(3)]
    asked = pb.WatchTasksRequest(tasks=[pb.WatchTaskRequest(id=str(one.pk)) for one in tasks])
    call = stub.WatchTasks(asked, metadata=metadata_of(owner))
    for _ in range(6):
        next(call)
    for one in tasks:
        lifecycle.cancel(one.pk)
    ends = [one.task_id for one in call if one.event.status == pb.TASK_STATUS_CANCELLED]
    assert set(ends) == {str(one.pk) for one in tasks}


def test_all_are_watched_or_none(stub: TaskServiceStub, owner: Caller) -> None:
    task, other = factories.submit(owner_id=owner.id), factories.submit()
    mine, theirs = (pb.WatchTaskRequest(id=str(one.pk)) for one in (task, other))

    def status(*asked: pb.WatchTaskRequest) -> str:
        return code_of(stub.WatchTasks, pb.WatchTasksRequest(tasks=asked), metadata=metadata_of(owner))

    assert status(mine, theirs) == "NOT_FOUND"
    assert status() == "INVALID_ARGUMENT"
    assert status(mine, mine) == "INVALID_ARGUMENT"
    assert status(*[mine] * 101) == "INVALID_ARGUMENT"
    assert len(hub) == 0


def test_watchers_hold_no_thread_and_free_their_places(stub: TaskServiceStub, owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    calls = [watch(stub, task, owner) for _ in range(2 * conf.GRPC_THREADS)]
    for one in calls:
        next(one)
    assert len(hub) == len(calls)
    # Others are answered.
    found = stub.GetTask(pb.GetTaskRequest(id=str(task.pk)), metadata=metadata_of(owner), timeout=10)
    assert found.task.id == str(task.pk)
    for one in calls:
        one.cancel()
    wait_until(lambda: len(hub) == 0)


def test_a_deadline_ends_the_watch(stub: TaskServiceStub, owner: Caller) -> None:
    task = factories.submit(owner_id=owner.id)
    asked = pb.WatchTaskRequest(id=str(task.pk))
    assert code_of(stub.WatchTask, asked, metadata=metadata_of(owner), timeout=0.7) == "DEADLINE_EXCEEDED"
    wait_until(lambda: len(hub) == 0)


def test_a_watch_that_has_lasted_long_enough_says_so(stub: TaskServiceStub, owner: Caller, settings: Any) -> None:
    settings.MAX_WATCH_SECONDS = 1
    task = factories.submit(owner_id=owner.id)
    with pytest.raises(grpc.RpcError) as caught:
        list(watch(stub, task, owner))
    ended = refused(caught.value)
    assert ended.status == "UNAVAILABLE"
    assert ended.retry_seconds > 0


def test_too_many_watchers_are_refused(stub: TaskServiceStub, owner: Caller, settings: Any) -> None:
    settings.MAX_WATCHERS_PER_USER = 1
    task = factories.submit(owner_id=owner.id)
    call = watch(stub, task, owner)
    next(call)
    with pytest.raises(grpc.RpcError) as caught:
        next(watch(stub, task, owner))
    found = refused(caught.value)
    assert found[:2] == ("RESOURCE_EXHAUSTED", "TOO_MANY_WATCHERS")
    assert found.retry_seconds > 0
    call.cancel()


def test_a_client_that_never_reads_is_ended(
    stub: TaskServiceStub, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STREAM_SECONDS", 0.5)
    worker = factories.make_worker()
    tasks = [factories.submit(owner_id=owner.id) for _ in range(60)]
    for one in tasks:
        claimed = factories.start(one, worker)
        lifecycle.complete_many([factories.outcome(claimed, worker, result="x" * 200_000)])
    # The call is not read, so its window fills.
    asked = pb.WatchTasksRequest(tasks=[pb.WatchTaskRequest(id=str(one.pk)) for one in tasks])
    call = stub.WatchTasks(asked, metadata=metadata_of(owner))
    wait_until(lambda: len(hub) > 0)
    wait_until(lambda: len(hub) == 0, timeout=20)
    call.cancel()
