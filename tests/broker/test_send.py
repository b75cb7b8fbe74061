"""``actor.send()`` with Dramatiq's options writes a task in the caller's transaction."""

import asyncio
from contextlib import closing
from datetime import timedelta
from typing import Any

import dramatiq
import psycopg2
import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from dramatiq import group, pipeline

from tasks import lifecycle
from tasks.broker.results import TaskResults
from tasks.errors import InvalidTask, NotSupported
from tasks.models import Task
from tasks.states import Status
from tests import actors
from tests.factories import make_worker, outcome, start
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


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


def test_a_group_can_be_delayed() -> None:
    group([actors.add.message(1)]).run(delay=60_000)
    assert waits_for(Task.objects.get()) > timedelta(seconds=50)


def test_a_group_with_a_completion_callback_is_refused_and_sends_nothing() -> None:
    work = group([actors.add.message(1)])
    work.add_completion_callback(actors.note.message())
    with pytest.raises(RuntimeError, match="GroupCallbacks"):
        work.run()
    assert not Task.objects.exists()


@pytest.mark.parametrize("ask", [lambda work: list(work.get_results()), lambda work: work.completed])
def test_results_of_a_group_are_refused_by_name(ask: Any) -> None:
    work = group([actors.add.message(1)]).run()
    with pytest.raises(NotSupported, match="groups and pipelines"):
        ask(work)


def test_the_result_of_a_pipeline_is_refused_by_name() -> None:
    work = pipeline([actors.add.message(1), actors.add.message(2)]).run()
    with pytest.raises(NotSupported, match="groups and pipelines"):
        work.get_result()


def test_only_the_first_of_a_pipeline_is_a_task_before_it_has_run() -> None:
    pipeline([actors.add.message(1), actors.add.message(10)]).run()
    task = Task.objects.get()
    assert task.args == [1]
    assert task.options["pipe_target"]["args"] == [10]


def test_a_delay_inside_a_pipeline_is_kept(engine) -> None:
    second = actors.add.message_with_options(args=(10,), delay=3_600_000)
    pipeline([actors.add.message(1, 2), second]).run()
    wait_until(lambda: Task.objects.count() == 2)
    waiting = Task.objects.latest("pk")
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


def test_a_message_that_never_was_a_task_has_no_result() -> None:
    with pytest.raises(NotSupported):
        TaskResults().get_result(actors.add.message(1))
