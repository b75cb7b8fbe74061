"""submit: the one way in."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from tasks import lifecycle
from tasks.errors import InvalidTask, UnknownActor
from tasks.lifecycle import Submission
from tasks.models import Task
from tasks.states import Status
from tests.factories import database_now, submit

pytestmark = pytest.mark.django_db


def test_a_task_starts_pending_with_all_four_numbers_at_zero() -> None:
    task = submit()
    stored = Task.objects.get(pk=task.pk)
    assert stored.status == Status.PENDING
    assert (stored.dispatch, stored.attempt, stored.failures, stored.crashes) == (0, 0, 0, 0)


def test_the_answer_is_the_stored_row() -> None:
    task = submit(
        payload={"do": "return", "value": ["ü", None, 1.5, {"a": True}]},
        tags=["a", "b"],
        max_age_seconds=60,
        priority=9,
    )
    stored = Task.objects.get(pk=task.pk)
    names = {field.attname for field in Task._meta.concrete_fields}
    assert {name: getattr(task, name) for name in names} == {name: getattr(stored, name) for name in names}
    assert task._state.adding is False


def test_ids_are_version_7_and_grow() -> None:
    tasks = lifecycle.submit_many([Submission(actor="add", payload={"a": n}) for n in range(50)])
    assert {task.pk.version for task in tasks} == {7}
    assert [task.pk for task in tasks] == sorted(task.pk for task in tasks)


def test_many_keep_their_order() -> None:
    tasks = lifecycle.submit_many([Submission(actor="add", payload={"a": n}) for n in range(20)])
    assert [task.payload["a"] for task in tasks] == list(range(20))
    assert lifecycle.submit_many([]) == []


def test_the_actors_options_fill_the_fields_that_were_not_given() -> None:
    task = submit("limited", payload={})
    assert (task.max_retries, task.min_backoff_seconds, task.max_backoff_seconds) == (1, 1.0, 4.0)
    assert (task.time_limit_seconds, task.max_age_seconds, task.retry_for_seconds) == (2.5, 60.0, 9.0)
    assert submit("elsewhere", payload={}).queue == "other"
    assert submit("elsewhere", payload={}).priority == 8
    assert submit("never_gives_up", payload={}).max_retries is None


def test_the_settings_fill_the_rest(settings) -> None:
    task = submit()
    assert (task.max_retries, task.min_backoff_seconds, task.max_backoff_seconds) == (3, 2, 3600)
    assert (task.time_limit_seconds, task.max_age_seconds, task.priority, task.queue) == (300, None, 5, "default")


def test_a_given_field_wins_even_if_it_is_zero() -> None:
    task = submit("limited", payload={}, max_retries=0, min_backoff_seconds=0, time_limit_seconds=0, priority=1)
    assert (task.max_retries, task.min_backoff_seconds, task.time_limit_seconds, task.priority) == (0, 0, 0, 1)


def test_a_run_at_in_the_past_means_now() -> None:
    before = database_now()
    task = submit(run_at=datetime(2001, 1, 1, tzinfo=UTC))
    assert before <= task.run_at <= database_now()


def test_a_run_at_in_the_future_is_kept() -> None:
    moment = datetime(2200, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    assert submit(run_at=moment).run_at == moment


def test_a_delay_counts_from_the_databases_now() -> None:
    before = database_now()
    assert timedelta(seconds=89) < submit(delay_seconds=90).run_at - before < timedelta(seconds=91)


def test_the_age_limit_counts_from_submission() -> None:
    task = submit("limited", payload={}, delay_seconds=30)
    assert task.expires_at is not None
    assert abs(task.expires_at - task.created_at - timedelta(seconds=60)) < timedelta(seconds=1)


def test_each_task_gets_a_trace_id_unless_it_has_one() -> None:
    assert submit(trace_id="ab" * 16).trace_id == "ab" * 16
    first, second = submit().trace_id, submit().trace_id
    assert len(first) == len(second) == 32
    assert first != second


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"payload": {"do": "return", "valve": 1}}, "payload.valve", "unknown_field"),
        ({"payload": {}}, "payload.do", "required"),
        ({"payload": {"do": 7}}, "payload.do", "invalid"),
        ({"payload": {"do": "nul \0"}}, "payload.do", "bad_text"),
        ({"payload": {"do": "\ud800"}}, "payload.do", "bad_text"),
        ({"payload": {"do": "x", "value": float("nan")}}, "payload.value", "out_of_range"),
        ({"payload": {"do": "x", "value": 2**64}}, "payload.value", "out_of_range"),
        ({"payload": {"do": "x", "value": "y" * 300_000}}, "payload", "too_large"),
        ({"payload": {"do": "x", "value": object()}}, "payload.value", "not_json"),
        ({"queue": "nowhere"}, "queue", "unknown_queue"),
        ({"run_at": datetime(2030, 1, 31, 12)}, "run_at", "no_zone"),  # noqa: DTZ001
        ({"priority": 11}, "priority", "out_of_range"),
        ({"priority": 0}, "priority", "out_of_range"),
        ({"priority": -1}, "priority", "out_of_range"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_field(fields, field: str, code: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        submit(**fields)
    assert [(error.field, error.code) for error in caught.value.errors] == [(field, code)]
    assert not Task.objects.exists()


def test_an_unknown_actor_is_refused_by_name() -> None:
    with pytest.raises(UnknownActor, match="no actor is declared as 'nobody'") as caught:
        submit("nobody")
    assert caught.value.errors[0].field == "actor"


def test_a_library_s_own_actor_is_unknown() -> None:
    with pytest.raises(UnknownActor):
        submit("delete_old_tasks")


def test_of_many_with_faults_none_is_written_and_every_fault_is_named() -> None:
    good, wrong = (Submission(actor="add", payload={"a": a}) for a in (1, "1"))
    batch = [good, wrong, good, Submission(actor="nobody"), Submission(actor="add")]
    with pytest.raises(InvalidTask) as caught:
        lifecycle.submit_many(batch)
    assert [error.field for error in caught.value.errors] == ["tasks.1.payload.a", "tasks.3.actor", "tasks.4.payload.a"]
    assert not Task.objects.exists()


def test_a_rollback_leaves_no_task_and_no_signal(announcements) -> None:
    with announcements() as heard, transaction.atomic():
        submit()
        transaction.set_rollback(True)
    assert heard == []
    assert not Task.objects.exists()


def test_one_signal_for_a_batch_after_the_commit(announcements) -> None:
    with announcements() as heard:
        lifecycle.submit_many([Submission(actor="add", payload={"a": n}) for n in range(3)])
        assert heard == []
    assert [(one.verb, len(one.moves)) for one in heard] == [("submit", 3)]
    assert {move.status for move in heard[0].moves} == {Status.PENDING}


def test_a_queue_that_an_older_process_declared_is_known() -> None:
    from tasks.models import Queue

    Queue.objects.create(name="retired")
    assert submit(queue="retired").queue == "retired"
