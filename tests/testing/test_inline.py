"""inline: tasks run where they are submitted."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction

from tasks import lifecycle
from tasks.lifecycle import Submission
from tasks.models import Task
from tasks.states import Status
from tasks.testing import drain, inline, travel
from tests.actors import act, add, note, noted
from tests.testing import deeds
from tests.testing.deeds import groups, path

pytestmark = pytest.mark.django_db


def test_a_task_has_run_when_send_returns() -> None:
    with inline():
        message = add.send(1, 2)
        assert message.get_result() == 3


def test_nothing_runs_after_the_block() -> None:
    with inline():
        pass
    add.send(1, 2)
    assert Task.objects.get().status == Status.PENDING


@inline()
def test_it_is_a_decorator_too() -> None:
    assert add.send(1, 2).get_result() == 3


def test_every_way_of_submitting_counts() -> None:
    with inline():
        lifecycle.submit_many([Submission(actor="note", args=[n]) for n in range(3)])
    assert [args for args, _ in noted] == [(0,), (1,), (2,)]


def test_what_an_actor_submits_runs_after_it_and_not_inside_it() -> None:
    with inline():
        message = act.send("call", path(deeds.submit_two))
    assert message.get_result() == "0 noted"
    assert noted == [(("second",), {})]


def test_follow_ups_run_too() -> None:
    with inline():
        act.send_with_options(args=("return", "x"), on_success="note")
    assert noted[0][0][1] == "x"


def test_a_group_s_callback_runs_after_its_last_task() -> None:
    from dramatiq import group

    with inline():
        work = group([add.message(1, 2), add.message(3, 4)])
        work.add_completion_callback(note.message("all"))
        work.run()
    assert noted == [(("all",), {})]


def test_a_task_with_a_delay_waits_for_its_time() -> None:
    with inline():
        note.send_with_options(args=("later",), delay=60_000)
        assert noted == []
        drain(until=timedelta(minutes=2))
    assert noted == [(("later",), {})]


def test_a_failure_is_recorded_and_not_raised_as_in_production() -> None:
    with inline():
        act.send("raise", "broken")
    assert Task.objects.get().status == Status.RETRYING


def test_raise_errors_raises_from_send_once_the_outcome_is_written() -> None:
    with inline(raise_errors=True), pytest.raises(RuntimeError, match="mine"):
        act.send("raise", "mine")
    assert Task.objects.get().status == Status.RETRYING


def test_a_retry_is_not_run_inline() -> None:
    with inline():
        act.send_with_options(args=("call", path(deeds.fail_twice)), min_backoff=0)
        note.send("other")
    assert noted == [1, (("other",), {})]


def test_it_runs_inside_a_transaction_and_is_rolled_back_with_it() -> None:
    with inline():
        with transaction.atomic():
            act.send("call", path(deeds.complete))
            assert groups() == ["durable"]
            transaction.set_rollback(True)
        assert groups() == []


def test_a_hook_that_submits_runs_its_task_when_the_hook_runs(django_capture_on_commit_callbacks) -> None:
    with inline(), django_capture_on_commit_callbacks(execute=True):
        transaction.on_commit(lambda: note.send("committed"))
        assert noted == []
    assert noted == [(("committed",), {})]


def test_a_view_of_the_api_runs_its_task(alice) -> None:
    with inline():
        answer = alice.submit(payload={"do": "return", "value": 7})
    assert answer.status_code == 201
    assert Task.objects.get().result == 7


def test_drain_inside_inline_runs_each_task_once() -> None:
    with inline():
        note.send_with_options(args=("later",), delay=1_000)
        with travel(by=timedelta(minutes=1)):
            drain()
            add.send(1)
    assert noted == [(("later",), {})]
    assert Task.objects.filter(status=Status.SUCCEEDED).count() == 2


@pytest.mark.django_db(transaction=True)
def test_submissions_of_other_threads_are_left_alone() -> None:
    def submit() -> None:
        add.send(1, 2)
        connection.close()

    with inline():
        thread = threading.Thread(target=submit)
        thread.start()
        thread.join()
    assert Task.objects.get().status == Status.PENDING
