"""The database refuses every row that the lifecycle would never write."""

from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from dlq.models import DeadLetter
from tasks.models import Attempt, Queue, Task, Worker, new_id
from tasks.states import DeathReason, Resolution, Status
from tests.factories import make_task, make_worker, open_letter

pytestmark = pytest.mark.django_db

BROKEN_TASKS = [
    ("task_status_known", Status.PENDING, {"status": "LOST"}),
    ("task_priority_in_range", Status.PENDING, {"priority": 0}),
    ("task_priority_in_range", Status.PENDING, {"priority": 11}),
    ("task_worker_iff_running", Status.RUNNING, {"worker_id": None}),
    ("task_worker_iff_running", Status.PENDING, {"worker_id": uuid4()}),
    ("task_finished_at_iff_final", Status.SUCCEEDED, {"finished_at": None}),
    ("task_finished_at_iff_final", Status.PENDING, {"finished_at": Now()}),
    ("task_running_was_dispatched", Status.RUNNING, {"started_at": None}),
    ("task_running_was_dispatched", Status.RUNNING, {"attempt": 0}),
    ("task_running_was_dispatched", Status.RUNNING, {"dispatch": 0}),
    ("task_failures_within_attempts", Status.PENDING, {"failures": 1}),
    ("task_failures_within_attempts", Status.PENDING, {"crashes": 1}),
    ("task_cancel_request_only_while_running", Status.PENDING, {"cancel_requested_at": Now()}),
    ("task_limits_not_negative", Status.PENDING, {"min_backoff_seconds": -1}),
    ("task_limits_not_negative", Status.PENDING, {"max_backoff_seconds": -1}),
    ("task_limits_not_negative", Status.PENDING, {"time_limit_seconds": -1}),
    ("callboard_task_attempt_check", Status.PENDING, {"attempt": -1}),
    ("callboard_task_dispatch_check", Status.PENDING, {"dispatch": -1}),
]


@pytest.mark.parametrize(("constraint", "status", "change"), BROKEN_TASKS)
def test_a_broken_task_is_refused(constraint: str, status: Status, change) -> None:
    task = make_task(status)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Task.objects.filter(pk=task.pk).update(**change)


def test_every_check_on_tasks_has_a_broken_row_here() -> None:
    # test_submit_unique.py has the rows that collide.
    declared = {constraint.name for constraint in Task._meta.constraints} - {"task_unique_key"}
    assert declared <= {constraint for constraint, _, _ in BROKEN_TASKS}


def test_a_task_without_finished_at_is_refused_in_every_final_state() -> None:
    for status in (Status.DEAD, Status.CANCELLED, Status.SUCCEEDED):
        task = make_task(status)
        with pytest.raises(IntegrityError), transaction.atomic():
            Task.objects.filter(pk=task.pk).update(finished_at=None)


def test_a_second_open_letter_of_a_task_is_refused() -> None:
    letter = open_letter(make_task(Status.DEAD))
    with pytest.raises(IntegrityError, match="deadletter_one_open_per_task"), transaction.atomic():
        DeadLetter.objects.create(
            task_id=letter.task_id, attempt=1, actor="act", queue="default", reason=DeathReason.GAVE_UP
        )


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("deadletter_reason_known", {"reason": "bored"}),
        ("deadletter_resolved_at_iff_resolved", {"resolution": Resolution.DISCARDED}),
        ("deadletter_resolved_at_iff_resolved", {"resolved_at": Now()}),
    ],
)
def test_a_broken_letter_is_refused(constraint: str, change) -> None:
    letter = open_letter(make_task(Status.DEAD))
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        DeadLetter.objects.filter(pk=letter.pk).update(**change)


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("worker_status_known", {"status": "TIRED"}),
        ("worker_stopped_at_iff_gone", {"status": "GONE"}),
        ("worker_stopped_at_iff_gone", {"stopped_at": Now()}),
    ],
)
def test_a_broken_worker_is_refused(constraint: str, change) -> None:
    worker = make_worker()
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Worker.objects.filter(pk=worker.pk).update(**change)


def test_a_second_record_of_one_attempt_is_refused() -> None:
    task = make_task(Status.SUCCEEDED)
    (attempt,) = Attempt.objects.filter(task_id=task.pk)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO callboard_attempt (task_id, number, outcome, worker_id, finished_at)"
            " VALUES (%s, 1, 'SUCCEEDED', %s, now())",
            [task.pk, attempt.worker_id],
        )
    with pytest.raises(IntegrityError, match="attempt_outcome_known"), transaction.atomic():
        Attempt.objects.filter(task_id=task.pk).update(outcome="FINE")


def test_no_foreign_key_hangs_on_the_hot_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE contype = 'f' AND (conrelid = ANY(%(hot)s::regclass[])"
            " OR confrelid = ANY(%(hot)s::regclass[]))",
            {"hot": ["callboard_task", "callboard_attempt", "callboard_worker", "callboard_deadletter"]},
        )
        assert cursor.fetchall() == []


def test_ids_and_queues_are_unique() -> None:
    Queue.objects.get_or_create(name="default")
    with pytest.raises(IntegrityError), transaction.atomic():
        Queue.objects.create(name="default")
    worker = make_worker()
    with pytest.raises(IntegrityError), transaction.atomic():
        Worker.objects.create(
            pk=worker.pk, host="h", pid=1, queues=[], actors=[], threads=1, lease_expires_at=worker.lease_expires_at
        )
    assert new_id() != new_id()
