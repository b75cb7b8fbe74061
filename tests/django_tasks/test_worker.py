"""Functions on a real worker: results, errors of each attempt, contexts and signals."""

import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import lifecycle
from tasks.django_tasks import CallboardBackend, UnsupportedResult
from tasks.django_tasks.framework import TaskResultStatus, task_finished, task_started
from tasks.models import Task
from tasks.states import Status
from tests.django_tasks import functions
from tests.django_tasks.framework import NAME
from tests.engines import Engine
from tests.waiting import wait_until

FAILED, SUCCESSFUL = TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL


@pytest.fixture
def run(engine: Engine) -> Callable[..., Any]:
    """Enqueue a task, wait for its end and return its result as it is then."""

    def run(task: Any, *args: Any, **kwargs: Any) -> Any:
        result = task.enqueue(*args, **kwargs)
        engine.wait_for(Task.objects.get(pk=result.id))
        result.refresh()
        return result

    return run


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """Collect the worker's signals: name, sender, status, and what the result tells at that time."""
    found: list[Any] = []

    def hear(name: str) -> Any:
        def receiver(sender: Any, task_result: Any, **_: Any) -> None:
            copy = {name: getattr(task_result, name) for name in ("id", "status", "attempts", "finished_at")}
            found.append(SimpleNamespace(name=name, sender=sender, result=task_result, **copy))

        return receiver

    receivers = {task_started: hear("started"), task_finished: hear("finished")}
    for signal, receiver in receivers.items():
        signal.connect(receiver)
    yield found
    for signal, receiver in receivers.items():
        signal.disconnect(receiver)


@pytest.mark.parametrize("function", [functions.answer, functions.answer_async])
def test_a_function_runs_and_returns(run: Any, heard: Any, function: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, NAME)
    result = run(function.using(priority=42))
    assert (result.status, result.return_value, result.attempts, result.errors) == (SUCCESSFUL, 42, 1, [])
    assert result.enqueued_at <= result.started_at <= result.finished_at
    started, finished = heard
    assert (started.name, started.sender, started.id) == ("started", CallboardBackend, result.id)
    assert (started.status, started.attempts, started.finished_at) == (TaskResultStatus.RUNNING, 1, None)
    assert (finished.name, finished.status, finished.sender) == ("finished", SUCCESSFUL, CallboardBackend)
    assert (finished.result.return_value, finished.result.task, finished.result.worker_ids) == (
        42,
        function.using(priority=42),
        result.worker_ids,
    )
    assert abs((finished.finished_at - result.finished_at).total_seconds()) < 0.001
    path = f"Task id={result.id} path={function.module_path} state="
    assert [one.removeprefix(path) for one in caplog.messages if one.startswith(path)] == ["RUNNING", "SUCCESSFUL"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("", ValueError), ("custom", functions.Custom), ("exit", SystemExit)],
)
def test_a_failure_has_its_class_and_traceback(run: Any, heard: Any, path: str, kind: Any, caplog: Any) -> None:
    result = run(functions.fail, path)
    assert (result.status, result.attempts) == (FAILED, 1)
    (error,) = result.errors
    assert error.exception_class is kind
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    # It begins with the function, not with what has called it.
    assert "functions.py" in error.traceback.splitlines()[1]
    assert [(one.name, str(one.status)) for one in heard] == [("started", "RUNNING"), ("finished", "FAILED")]
    assert heard[1].result.errors == result.errors
    (record,) = [one for one in caplog.records if one.name == NAME and one.levelno == logging.ERROR]
    assert record.exc_info
    assert record.exc_info[0] is kind


def test_the_class_of_an_inner_class_is_named(run: Any) -> None:
    (error,) = run(functions.fail, "nested").errors
    assert error.exception_class_path.endswith("Boom")


def test_each_failed_attempt_is_an_error_and_only_the_last_attempt_finishes(run: Any, heard: Any) -> None:
    result = run(functions.fail_twice)
    assert (result.status, result.return_value, result.attempts, len(result.worker_ids)) == (SUCCESSFUL, 3, 3, 3)
    assert [one.exception_class for one in result.errors] == [functions.Custom] * 2
    assert ["attempt 1" in result.errors[0].traceback, "attempt 2" in result.errors[1].traceback] == [True, True]
    assert result.started_at < result.last_attempted_at
    assert [(one.name, one.attempts) for one in heard] == [
        ("started", 1),
        ("started", 2),
        ("started", 3),
        ("finished", 3),
    ]
    assert heard[-1].result.errors == result.errors


def test_a_result_that_is_not_json_fails_the_task_and_runs_nothing_again(run: Any) -> None:
    result = run(functions.return_unsupported)
    assert (result.status, result.attempts) == (FAILED, 1)
    (error,) = result.errors
    assert error.exception_class is UnsupportedResult
    assert issubclass(error.exception_class, TypeError)
    assert "Unsupported type" in error.traceback


def test_a_result_becomes_json_as_with_the_other_backends(run: Any) -> None:
    assert run(functions.return_mapping).return_value == {"tuple": [1, 2], "bytes": "text"}


def test_arguments_arrive_as_json_unless_the_function_says_strict(run: Any) -> None:
    assert run(functions.give_back, "a", "2030-01-02", c=[1]).return_value == {"a": "a", "b": "2030-01-02", "c": [1]}
    assert run(functions.convert, "2030-01-02").return_value == ["date", 2030, 1]


def test_a_function_gets_its_context(run: Any) -> None:
    result = run(functions.attempt_of.using(priority=-7))
    assert result.return_value == [1, result.id, "RUNNING", -7, 1]
    assert run(functions.repeat, "ab", times=3).return_value == "ababab1"
    assert run(functions.tell_errors).return_value == [2, ["Custom"]]


def test_a_snoozed_task_finishes_once(run: Any, heard: Any) -> None:
    result = run(functions.snooze_once)
    assert (result.status, result.attempts, result.errors) == (SUCCESSFUL, 2, [])
    assert [one.name for one in heard] == ["started", "started", "finished"]


def test_a_receiver_that_raises_harms_neither_the_run_nor_other_receivers(run: Any) -> None:
    called: list[str] = []

    def receiver(**_: Any) -> None:
        called.append("raises")
        raise RuntimeError("as asked")

    def other(**_: Any) -> None:
        called.append("other")

    for signal in (task_started, task_finished):
        signal.connect(receiver)
        signal.connect(other)
    try:
        assert run(functions.answer).return_value == 42
    finally:
        for signal in (task_started, task_finished):
            signal.disconnect(receiver)
            signal.disconnect(other)
    assert called == ["raises", "other"] * 2


def test_a_cancelled_function_finishes_as_failed(engine: Engine, heard: Any) -> None:
    result = functions.nap.enqueue(30)
    row = Task.objects.get(pk=result.id)
    wait_until(lambda: Task.objects.get(pk=row.pk).status == Status.RUNNING)
    wait_until(lambda: heard)
    lifecycle.cancel(row.pk)
    engine.wait_for(row)
    result.refresh()
    assert (result.status, [one.exception_class.__name__ for one in result.errors]) == (FAILED, ["TaskCancelled"])
    assert [(one.name, str(one.status)) for one in heard] == [("started", "RUNNING"), ("finished", "FAILED")]
    assert heard[1].result.errors == result.errors


def test_a_success_that_the_function_commits_itself_finishes_with_its_result(run: Any, heard: Any) -> None:
    result = run(functions.commit_itself)
    # Here alone the row is written first.
    wait_until(lambda: len(heard) == 2)
    assert (result.return_value, heard[-1].result.return_value, heard[-1].status) == ("kept", "kept", SUCCESSFUL)
