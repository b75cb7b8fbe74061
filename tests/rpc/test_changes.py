"""What a message says in the place of null and of an empty list, and the versions that it expects."""

from typing import Any

import pytest

from tasks.lifecycle import schedules
from tasks.models import Operation, Schedule, Task
from tasks.rpc.generated import failure_pb2, operation_pb2, schedule_pb2, task_pb2
from tests import factories
from tests.callers import Caller
from tests.contract.doors import Outcome, answer, of_answer
from tests.contract.test_doors import assert_refused

pytestmark = pytest.mark.django_db


def call(name: str, message: Any, caller: Caller) -> Outcome:
    return of_answer(answer(name, message.SerializeToString(), caller))


def test_tags_are_taken_away(alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id, tags=["a"])
    change = task_pb2.TaskChange(clear_tags=True)
    assert not call("TaskService/EditTask", task_pb2.EditTaskRequest(id=str(task.pk), change=change), alice).code
    assert Task.objects.get().tags == []
    change = task_pb2.TaskChange(clear_tags=True, tags=["b"])
    refused = call("TaskService/EditTask", task_pb2.EditTaskRequest(id=str(task.pk), change=change), alice)
    assert_refused(refused, "invalid", "clear_tags")


def test_an_operation_that_takes_tags_away_says_so(staff: Caller) -> None:
    task = factories.submit(tags=["a"])
    asked = operation_pb2.BeginOperationRequest(
        verb=operation_pb2.OPERATION_VERB_EDIT, ids=[str(task.pk)], change=task_pb2.TaskChange(clear_tags=True)
    )
    begun = call("OperationService/BeginOperation", asked, staff).body["operation"]
    assert begun["change"] == {"clear_tags": True}
    assert Operation.objects.get().change == {"tags": []}


def test_a_field_is_given_or_cleared_and_not_both(staff: Caller) -> None:
    schedule = factories.make_schedule(options={"priority": 9})
    definition = schedule_pb2.ScheduleDefinition(priority=8)
    asked = schedule_pb2.EditScheduleRequest(id=str(schedule.pk), schedule=definition, clear=["priority"])
    refused = call("ScheduleService/EditSchedule", asked, staff)
    assert_refused(refused, "invalid", "clear")
    unknown = schedule_pb2.EditScheduleRequest(id=str(schedule.pk), clear=["nonsense"])
    assert call("ScheduleService/EditSchedule", unknown, staff).fields == {"nonsense"}
    assert Schedule.objects.get().options == {"priority": 9}


def test_an_edit_of_another_version_is_refused(staff: Caller) -> None:
    schedule = factories.make_schedule()
    definition = schedule_pb2.ScheduleDefinition(timezone="Europe/Berlin")
    asked = schedule_pb2.EditScheduleRequest(id=str(schedule.pk), schedule=definition, version=schedule.version)
    assert not call("ScheduleService/EditSchedule", asked, staff).code
    assert call("ScheduleService/EditSchedule", asked, staff).code == "version_mismatch"
    removal = schedule_pb2.RemoveScheduleRequest(id=str(schedule.pk), version=2**62)
    assert call("ScheduleService/RemoveSchedule", removal, staff).code == "version_mismatch"
    assert Schedule.objects.exists()


def test_a_schedule_that_is_removed_beside_an_edit_is_not_found(staff: Caller, monkeypatch) -> None:
    schedule = factories.make_schedule()
    monkeypatch.setattr(schedules, "edit", lambda pk, *_, **__: schedules.remove(pk))
    definition = schedule_pb2.ScheduleDefinition(timezone="Europe/Berlin")
    asked = schedule_pb2.EditScheduleRequest(id=str(schedule.pk), schedule=definition)
    assert call("ScheduleService/EditSchedule", asked, staff).code == "not_found"


def test_a_failure_that_is_not_there_is_not_changed(staff: Caller) -> None:
    asked = failure_pb2.ChangeFailureRequest(fingerprint="x", clear=["note"])
    assert call("FailureService/ChangeFailure", asked, staff).code == "not_found"
