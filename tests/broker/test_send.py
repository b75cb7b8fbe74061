"""``actor.send()`` with Dramatiq's options writes a task in the caller's transaction."""

import asyncio
import time
from contextlib import closing
from datetime import timedelta
from math import inf, nan
from typing import Any
from uuid import UUID

import dramatiq
import psycopg2
import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone
from dramatiq import PickleEncoder, group, pipeline

from tasks import lifecycle
from tasks.broker.results import TaskResults
from tasks.errors import InvalidTask, NotSupported
from tasks.lifecycle import DependsOn, Submission, batches
from tasks.models import Barrier, Task
from tasks.models.ids import first_id_at
from tasks.states import BatchStatus, DeathReason, OnFailure, Status
from tasks.worker.execution import Execution
from tasks.worker.middleware import InvalidOption
from tasks.worker.outcomes import outcome_of
from tests import actors
from tests.factories import make_worker, outcome, start
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def send_with(options: dict[str, Any]) -> Any:
    return actors.add.send_with_options(args=(1,), **options)


def declare(broker: Any, options: dict[str, Any]) -> Any:
    return dramatiq.actor(broker=broker, actor_name="work", **options)(lambda: None)


def sent(message: Any) -> Task:
    return Task.objects.get(pk=message.message_id)


def waits_for(task: Task) -> timedelta:
    return task.run_at - task.created_at


# --- The task of a message ---


def test_send_makes_a_task_and_returns_the_message_with_its_id() -> None:
    task = sent(actors.add.send(a=1, b=2))
    assert (task.actor, task.payload, task.args, task.status) == ("add", {"a": 1, "b": 2}, [], Status.PENDING)
    assert (task.queue, task.priority, task.owner_id) == ("default", 5, None)


def test_positional_arguments_stay_positional() -> None:
    task = sent(actors.note.send(1, "two", three=3))
    assert (task.args, task.payload) == ([1, "two"], {"three": 3})


def test_one_message_may_be_sent_twice_and_makes_two_tasks() -> None:
    message, broker = actors.add.message(1), dramatiq.get_broker()
    first, second = broker.enqueue(message), broker.enqueue(message)
    assert first.message_id != second.message_id
    assert Task.objects.count() == 2


def test_arguments_that_do_not_fit_are_refused_and_nothing_is_written() -> None:
    with pytest.raises(InvalidTask) as refused:
        actors.add.send("one", c=3)  # type: ignore[call-arg, arg-type]
    assert refused.value.errors
    assert not Task.objects.exists()


@pytest.mark.parametrize("delay", [5_000, timedelta(seconds=5)])
def test_a_delay_is_in_milliseconds_and_a_run_at(delay: Any) -> None:
    task = sent(actors.add.send_with_options(args=(1,), delay=delay))
    assert waits_for(task) == pytest.approx(timedelta(seconds=5), abs=timedelta(seconds=1))
    assert (task.queue, task.options) == ("default", {})


def test_limits_are_columns_and_in_seconds() -> None:
    task = sent(
        actors.add.send_with_options(
            args=(1,), max_retries=7, min_backoff=1_500, max_backoff=60_000, time_limit=2_500, max_age=9_000, priority=8
        )
    )
    assert (task.max_retries, task.min_backoff_seconds, task.max_backoff_seconds) == (7, 1.5, 60)
    assert (task.time_limit_seconds, task.max_age_seconds, task.priority) == (2.5, 9, 8)
    assert task.options == {}


def test_none_as_max_retries_means_for_ever_as_in_dramatiq() -> None:
    assert sent(actors.add.send_with_options(args=(1,), max_retries=None)).max_retries is None


def test_other_options_stay_with_the_message() -> None:
    assert sent(actors.add.send_with_options(args=(1,), on_success="note", mine=3)).options == {
        "on_success": "note", "mine": 3,
    }  # fmt: skip


def test_options_that_are_no_json_are_refused_by_name() -> None:
    with pytest.raises(InvalidTask, match="mine"):
        actors.add.send_with_options(args=(1,), mine=object())
    assert not Task.objects.exists()


# --- The caller's transaction ---


def test_a_rollback_leaves_no_task() -> None:
    with transaction.atomic():
        actors.add.send(1)
        transaction.set_rollback(True)
    assert not Task.objects.exists()


def test_a_task_is_there_for_the_caller_at_once_and_for_others_after_the_commit(direct_database) -> None:
    with closing(psycopg2.connect(direct_database)) as other, other.cursor() as cursor:
        other.autocommit = True

        def seen_by_others() -> int:
            cursor.execute("SELECT count(*) FROM callboard_task")
            return int(cursor.fetchone()[0])  # type: ignore[index]

        with transaction.atomic():
            message = actors.add.send(1)
            assert sent(message).status == Status.PENDING
            assert seen_by_others() == 0
        assert seen_by_others() == 1


# --- Inside an event loop ---


def test_inside_an_event_loop_the_error_says_what_to_write_instead() -> None:
    async def call() -> None:
        actors.add.send(1)

    with pytest.raises(NotSupported, match=r"sync_to_async\(actor\.send\)"):
        asyncio.run(call())
    assert not Task.objects.exists()


def test_the_suggested_call_works(transactional_db) -> None:
    async def call() -> Any:
        message = await sync_to_async(actors.add.send)(1)
        # Its thread has its own connection.
        await sync_to_async(connections.close_all)()
        return message

    assert sent(asyncio.run(call())).args == [1]


# --- Groups and pipelines ---


def test_a_group_sends_each_of_its_messages() -> None:
    group([actors.add.message(1), actors.note.message(2)]).run()
    assert sorted(Task.objects.values_list("actor", "args")) == [("add", [1]), ("note", [2])]


def test_a_group_and_the_rest_of_its_pipelines_can_be_counted_as_a_batch(engine) -> None:
    batch = batches.create(batches.NewBatch()).batch

    def message(*args: int) -> Any:
        return actors.add.message_with_options(args=args, batch=batch.pk)

    work = group([message(1, 1), message(1, 2) | message(10)]).run()
    assert list(work.get_results(block=True)) == [2, 13]
    batches.close(batch.pk)
    wait_until(lambda: batches.find(batch.pk).ended_at is not None)
    found = batches.find(batch.pk)
    assert (found.status, found.total, found.succeeded) == (BatchStatus.SUCCEEDED, 3, 3)


def test_a_group_can_be_delayed() -> None:
    group([actors.add.message(1)]).run(delay=60_000)
    assert waits_for(Task.objects.get()) > timedelta(seconds=50)


def grouped(*messages: Any) -> Any:
    work = group(messages)
    work.add_completion_callback(actors.note.message("all"))
    work.add_completion_callback(actors.note.message("done"))
    return work


def test_completion_callbacks_follow_the_success_of_the_last_task_of_a_group_once() -> None:
    worker = make_worker()
    grouped(*[actors.add.message(n) for n in range(3)]).run()
    assert Barrier.objects.get().waiting_for == 3
    for left in (2, 1):
        succeed_one(worker)
        assert (Barrier.objects.get().waiting_for, Task.objects.filter(actor="note").count()) == (left, 0)
    succeed_one(worker)
    assert sorted(Task.objects.filter(actor="note").values_list("args", flat=True)) == [["all"], ["done"]]
    assert not Barrier.objects.exists()


def succeed_one(worker: Any) -> None:
    """Run one task of ``add`` as the worker does, with what its options say follows."""
    task = Task.objects.filter(actor="add", status=Status.PENDING).order_by("pk")[0]
    claimed = start(task, worker)
    execution = Execution(claimed, claimed_monotonic=0.0)
    execution.started_monotonic = execution.finished_monotonic = 1.0
    execution.is_captured = True
    assert lifecycle.complete_many([outcome_of(execution, worker.pk)])


def test_a_batch_of_successes_counts_each_of_them() -> None:
    worker = make_worker()
    grouped(actors.add.message(1), actors.add.message(2)).run()
    outcomes = []
    for task in Task.objects.order_by("pk"):
        callbacks = [Submission(actor="note", args=["all"])]
        key = task.options["group_completion_uuid"]
        outcomes.append(outcome(start(task, worker), worker, barrier=key, at_the_end_of_group=callbacks))
    lifecycle.complete_many(outcomes)
    assert Task.objects.filter(actor="note").count() == 1


def test_a_group_with_a_task_that_dies_never_completes_until_it_is_redriven(engine) -> None:
    grouped(actors.add.message(1), actors.act.message_with_options(args=("raise",), max_retries=0)).run()
    wait_until(lambda: Task.objects.filter(status__in=(Status.SUCCEEDED, Status.DEAD)).count() == 2)
    assert Barrier.objects.get().waiting_for == 1
    assert not Task.objects.filter(actor="note").exists()
    Task.objects.filter(status=Status.DEAD).update(args=["return"])
    lifecycle.retry(Task.objects.get(status=Status.DEAD).pk)
    wait_until(lambda: Task.objects.filter(actor="note", status=Status.SUCCEEDED).count() == 2)


def test_a_group_of_pipelines_completes_with_the_last_of_each(engine) -> None:
    grouped(actors.add.message(1) | actors.add.message(10), actors.add.message(2)).run()
    wait_until(lambda: Task.objects.filter(actor="note", status=Status.SUCCEEDED).count() == 2)
    assert Task.objects.filter(actor="add", status=Status.SUCCEEDED).count() == 3


def test_a_group_that_is_rolled_back_leaves_nothing() -> None:
    with transaction.atomic():
        grouped(actors.add.message(1)).run()
        transaction.set_rollback(True)
    assert not Task.objects.exists()
    assert not Barrier.objects.exists()


def test_a_group_whose_time_is_over_is_forgotten() -> None:
    grouped(actors.add.message(1)).run()
    Barrier.objects.update(expires_at=F("expires_at") - timedelta(days=2))
    grouped(actors.add.message(2)).run()
    assert Barrier.objects.count() == 1


@pytest.mark.parametrize("option", ["on_success", "on_failure", "on_retry_exhausted"])
def test_a_callback_that_nobody_declares_is_refused_when_it_is_sent(option: str) -> None:
    with pytest.raises(InvalidTask, match=option):
        send_with({option: "nobody"})
    assert not Task.objects.exists()


def test_results_of_groups_and_pipelines_are_those_of_their_tasks(engine) -> None:
    work = group([actors.add.message(1, 1), actors.add.message(1, 2) | actors.add.message(10)]).run()
    assert list(work.get_results(block=True)) == [2, 13]
    assert (work.completed, work.completed_count) == (True, 2)
    pipe = pipeline([actors.add.message(1, 2), actors.add.message(10), actors.add.message(100)]).run()
    assert pipe.get_result(block=True) == 113
    assert list(pipe.get_results()) == [3, 13, 113]
    assert (pipe.completed, pipe.completed_count) == (True, 3)


def test_a_group_that_has_not_ended_counts_what_has() -> None:
    work, worker = group([actors.add.message(1), actors.add.message(2)]).run(), make_worker()
    assert (work.completed, work.completed_count) == (False, 0)
    with pytest.raises(dramatiq.results.ResultTimeout):
        work.wait(timeout=50)
    lifecycle.succeed(outcome(start(Task.objects.get(args=[2]), worker), worker, result=2))
    assert (work.completed, work.completed_count) == (False, 1)


def test_a_group_that_runs_again_has_the_results_of_its_last_run() -> None:
    work, worker = group([actors.add.message(1)]), make_worker()
    work.run()
    lifecycle.succeed(outcome(start(Task.objects.get(), worker), worker, result=1))
    work.run()
    assert not work.completed
    lifecycle.succeed(outcome(start(Task.objects.get(status=Status.PENDING), worker), worker, result=2))
    assert list(work.get_results()) == [2]


def test_one_message_in_several_pipelines_is_several_tasks(engine) -> None:
    last = actors.add.message(10)
    work = group([actors.add.message(1) | last, actors.add.message(2) | last]).run()
    wait_until(lambda: Task.objects.filter(status=Status.SUCCEEDED).count() == 4)
    assert set(Task.objects.filter(args__0=10).values_list("result", flat=True)) == {11, 12}
    assert set(work.get_results()) <= {11, 12}


# --- Ids ---


def test_a_message_has_its_tasks_id_from_the_beginning() -> None:
    message = actors.add.message(1)
    assert dramatiq.get_broker().enqueue(message).message_id == message.message_id
    assert sent(message).message_id is None


@pytest.mark.parametrize(
    "id", ["order-17", "8c1b1c5e-6f0c-4f5e-9a4e-0d2c6a1f3b11", "01000000-0000-7000-8000-000000000000"]
)
def test_a_message_id_that_no_task_can_have_is_kept_beside_the_tasks(id: str) -> None:
    message = dramatiq.get_broker().enqueue(actors.add.message(1).copy(message_id=id))
    task, worker = Task.objects.get(), make_worker()
    assert (message.message_id, task.message_id) == (id, id)
    lifecycle.succeed(outcome(start(task, worker), worker, result=3))
    assert message.get_result() == 3


@pytest.mark.parametrize("age", [timedelta(minutes=4), timedelta(minutes=30), timedelta(hours=11)])
def test_the_task_of_a_message_that_was_made_earlier_is_in_the_lists_of_its_time(age: timedelta) -> None:
    now = timezone.now()
    made = str(UUID(int=(first_id_at(now - age).int | 7 << 76 | 2 << 62)))
    message = dramatiq.get_broker().enqueue(actors.add.message(1).copy(message_id=made))
    assert message.message_id == made
    assert [task.args for task in Task.objects.created_after(now - timedelta(minutes=1))] == [[1]]


def test_a_message_id_without_end_is_refused() -> None:
    with pytest.raises(InvalidTask, match="message_id"):
        dramatiq.get_broker().enqueue(actors.add.message(1).copy(message_id="x" * 256))


# --- When, where and how urgently ---


def in_seconds(seconds: float) -> float:
    return (time.time() + seconds) * 1000


@pytest.mark.parametrize("kind", [int, float])
def test_an_eta_is_not_before_its_time(kind: Any) -> None:
    task = sent(actors.add.send_with_options(args=(1,), eta=kind(in_seconds(60))))
    assert timedelta(seconds=50) < waits_for(task) < timedelta(seconds=70)
    assert task.options == {}


@pytest.mark.parametrize(
    "options",
    [
        *({"delay": delay} for delay in (0, -5_000, 0.0, -0.5, timedelta(0), timedelta(days=-1), None)),
        *({"eta": eta} for eta in (0, -1, 1.5, -1e300, None, False)),
        # As in Dramatiq, a delay takes an eta's place.
        {"delay": 0, "eta": 4_000_000_000_000},
    ],
)
def test_a_past_or_no_delay_means_now(options: dict[str, Any]) -> None:
    assert waits_for(sent(actors.add.send_with_options(args=(1,), **options))) <= timedelta(0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        *(({"eta": eta}, "eta") for eta in ("soon", "2030-01-01", nan, inf, 1e300, [1])),
        *(({"delay": delay}, "delay") for delay in ("soon", nan, inf, 1e300)),
        *(({name: "soon"}, name) for name in ("time_limit", "min_backoff", "max_age", "priority", "broker_priority")),
        ({"broker_priority": -1}, "priority"),
        ({"priority": 11}, "priority"),
        # True is 1 to Python; -1 is "for ever" in a submission, and "never" to Dramatiq.
        *(({name: True}, name) for name in ("max_retries", "priority", "delay", "time_limit", "max_age", "tags")),
        *(({"max_retries": retries}, "max_retries") for retries in (-1, 1.5, nan)),
        ({"priority": 5.5}, "priority"),
        *(({"depends_on": parents}, "depends_on") for parents in ("", b"", 5)),
        *(({"tags": tags}, "tags") for tags in ("abc", [1], [""], ["\0"], ["\ud800"], ["t" * 101], ["t"] * 51)),
        ({"throws": ValueError}, "throws"),
    ],
)
def test_an_option_that_means_nothing_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidTask, match=named):
        actors.add.send_with_options(args=(1,), **options)
    assert not Task.objects.exists()


def test_the_eta_of_the_next_message_of_a_pipeline_is_kept(engine) -> None:
    pipeline([actors.add.message(1, 2), actors.add.message_with_options(args=(10,), eta=in_seconds(3_600))]).run()
    wait_until(lambda: Task.objects.count() == 2)
    assert waits_for(Task.objects.get(args__0=10)) > timedelta(minutes=50)


@pytest.mark.parametrize(
    ("declared", "sent_with", "priority"),
    [
        ({}, {}, 5),
        ({"priority": 0}, {}, 5),
        ({"priority": 1}, {}, 4),
        ({"priority": 100}, {}, 1),
        ({"priority": -2}, {}, 7),
        ({"broker_priority": 9}, {}, 9),
        ({"broker_priority": 0}, {}, 5),
        ({"default_priority": 3, "priority": -9, "broker_priority": 9}, {}, 3),
        ({"default_priority": 3}, {"broker_priority": 9}, 9),
        ({}, {"broker_priority": 255}, 10),
        ({}, {"broker_priority": 9, "priority": 2}, 2),
    ],
)
def test_dramatiqs_priorities_are_ours(inprocess_broker, declared: Any, sent_with: Any, priority: int) -> None:
    work = declare(inprocess_broker, declared)
    assert sent(work.send_with_options(**sent_with)).priority == priority


@pytest.mark.parametrize(
    "declared", [{"priority": "high"}, {"priority": 1.5}, {"broker_priority": -1}, {"strict": "no"}]
)
def test_a_priority_that_is_none_is_refused_at_the_declaration(inprocess_broker, declared: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(declared))):
        declare(inprocess_broker, declared)


def test_a_message_goes_to_the_queue_that_it_names(inprocess_broker) -> None:
    inprocess_broker.declare_queue("declared_by_hand")
    for queue in ("other", "declared_by_hand"):
        message = inprocess_broker.enqueue(actors.add.message(1).copy(queue_name=queue))
        assert (sent(message).queue, message.queue_name) == (queue, queue)
    assert sent(inprocess_broker.enqueue(actors.add.message(1).copy(queue_name="other.DQ"))).queue == "other"


@pytest.mark.parametrize("queue", ["nowhere", "default.high", ""])
def test_a_queue_that_nobody_declares_is_refused(queue: str) -> None:
    if not queue:
        assert sent(dramatiq.get_broker().enqueue(actors.add.message(1).copy(queue_name=queue))).queue == "default"
        return
    with pytest.raises(InvalidTask, match="no queue is called"):
        dramatiq.get_broker().enqueue(actors.add.message(1).copy(queue_name=queue))
    assert not Task.objects.exists()


def test_an_encoder_that_makes_no_json_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(dramatiq.message, "global_encoder", PickleEncoder())
    with pytest.raises(NotSupported, match="PickleEncoder"):
        actors.add.send(1)
    assert not Task.objects.exists()


def test_only_the_first_of_a_pipeline_is_a_task_before_it_has_run() -> None:
    pipeline([actors.add.message(1), actors.add.message(10)]).run()
    task = Task.objects.get()
    assert task.args == [1]
    assert task.options["pipe_target"]["args"] == [10]


def test_a_delay_inside_a_pipeline_is_kept(engine) -> None:
    second = actors.add.message_with_options(args=(10,), delay=3_600_000)
    pipeline([actors.add.message(1, 2), second]).run()
    wait_until(lambda: Task.objects.count() == 2)
    waiting = Task.objects.get(args__0=10)
    assert (waiting.status, waiting.args) == (Status.PENDING, [10, 3])
    assert waits_for(waiting) > timedelta(minutes=50)


# --- Results ---


def test_results_are_read_from_the_message_that_send_returned() -> None:
    message, worker = actors.add.send(1, b=2), make_worker()
    with pytest.raises(dramatiq.results.ResultMissing):
        message.get_result()
    lifecycle.succeed(outcome(start(sent(message), worker), worker, result=3))
    assert message.get_result() == 3


def test_a_death_is_a_failure_that_says_why() -> None:
    message = actors.add.send(1)
    lifecycle.cancel(sent(message).pk)
    with pytest.raises(dramatiq.results.ResultFailure, match="CANCELLED"):
        message.get_result()


def test_a_failure_says_type_and_message_as_in_dramatiq() -> None:
    message, worker = actors.add.send_with_options(args=(1,), max_retries=0), make_worker()
    lifecycle.fail(
        outcome(
            start(sent(message), worker),
            worker,
            error_type="RuntimeError",
            error_message="failed: badly",
            death=DeathReason.MAX_RETRIES_EXCEEDED,
        )
    )
    with pytest.raises(dramatiq.results.ResultFailure) as told:
        message.get_result()
    assert str(told.value) == "actor raised RuntimeError: failed: badly"
    assert (told.value.orig_exc_type, told.value.orig_exc_msg) == ("RuntimeError", "failed: badly")


def test_a_result_is_missing_after_its_ttl() -> None:
    message, worker = actors.add.send_with_options(args=(1,), result_ttl=60_000), make_worker()
    lifecycle.succeed(outcome(start(sent(message), worker), worker, result=3))
    assert message.get_result() == 3
    Task.objects.update(finished_at=F("finished_at") - timedelta(seconds=61))
    with pytest.raises(dramatiq.results.ResultMissing):
        message.get_result()


def test_a_message_that_never_was_a_task_has_no_result() -> None:
    with pytest.raises(dramatiq.results.ResultMissing):
        TaskResults().get_result(actors.add.message(1))


def test_a_message_may_depend_on_others_that_were_sent() -> None:
    first = actors.note.send()
    second = actors.note.send_with_options(depends_on=[first])
    third = actors.note.send_with_options(
        depends_on=[first.message_id, DependsOn(UUID(second.message_id), OnFailure.RUN)]
    )
    task = Task.objects.get(pk=third.message_id)
    assert (task.status, task.pending_parents, task.options) == ("BLOCKED", 2, {})
    edges = task.parent_edges.order_by("parent_id").values_list("parent_id", "on_failure")
    assert [(str(id), on_failure) for id, on_failure in edges] == [
        (first.message_id, "cancel"),
        (second.message_id, "run"),
    ]


@pytest.mark.parametrize("depends_on", [7, ["x"], [None], [[]]])
def test_what_is_no_list_of_messages_is_refused(depends_on) -> None:
    with pytest.raises(InvalidTask, match="expected depends_on as a list of ids"):
        actors.note.send_with_options(depends_on=depends_on)
