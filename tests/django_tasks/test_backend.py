"""Enqueueing and results, without a worker: what Django's own tests ask of a backend, and what Callboard adds."""

import asyncio
import logging
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import dramatiq
import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.test import override_settings
from dramatiq.middleware import TimeLimitExceeded

from tasks import lifecycle, registry
from tasks.django_tasks import CallboardBackend, TaskCancelled, TaskExpired, WorkerLost, actor_options, actors, results
from tasks.django_tasks.framework import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from tasks.errors import CallboardError
from tasks.lifecycle import Submission
from tasks.models import Task
from tasks.priority import from_django_priority, to_django_priority
from tasks.states import AttemptOutcome, Status
from tasks.worker.error_report import report_of
from tests import factories
from tests.django_tasks import functions
from tests.django_tasks.framework import NAME, TaskResultMismatch, backend, task, task_backends
from tests.factories import Lead

ROOT = Path(__file__).resolve().parents[2]
BACKEND = "tasks.django_tasks.CallboardBackend"
READY, RUNNING, FAILED, SUCCESSFUL = (TaskResultStatus[name] for name in ("READY", "RUNNING", "FAILED", "SUCCESSFUL"))
NOW = datetime.now(UTC)

pytestmark = pytest.mark.django_db


def row_of(result: Any) -> Task:
    return Task.objects.get(pk=result.id)


def with_tasks(**aliases: Any) -> Any:
    return override_settings(TASKS={name: {"BACKEND": BACKEND, **more} for name, more in aliases.items()})


@pytest.fixture
def _forget_actors():
    known = dramatiq.get_broker().actors
    before = dict(known)
    yield
    known.clear()
    known.update(before)


# --- Enqueueing ------------------------------------------------------------------------------------------------------


def test_the_backend_supports_everything() -> None:
    assert isinstance(task_backends["default"], CallboardBackend)
    flags = ("supports_defer", "supports_async_task", "supports_get_result", "supports_priority")
    assert all(getattr(backend, flag) is True for flag in flags)


@pytest.mark.parametrize("function", [functions.noop, functions.noop_async, functions.noop.using()])
def test_an_enqueued_task_is_ready(function: Any, django_assert_num_queries: Any) -> None:
    # The first submission of a session prepares its statement.
    function.enqueue()
    with django_assert_num_queries(1):
        result = backend.enqueue(function, (1,), {"two": 3})
    assert (result.status, result.is_finished, result.attempts) == (READY, False, 0)
    assert (result.started_at, result.last_attempted_at, result.finished_at) == (None, None, None)
    assert (result.task, result.args, result.kwargs, result.backend) == (function, [1], {"two": 3}, "default")
    assert (result.errors, result.worker_ids) == ([], [])
    assert timedelta(0) < result.enqueued_at - NOW < timedelta(minutes=10)
    with pytest.raises(ValueError, match="Task has not finished yet"):
        _ = result.return_value


def test_a_task_is_a_row_like_every_other() -> None:
    row = row_of(functions.noop.enqueue(1, two=3))
    assert (row.actor, row.queue, row.status) == ("tests.django_tasks.functions.noop", "default", Status.PENDING)
    assert (row.args, row.payload, row.priority, row.max_retries) == ([1], {"two": 3}, 5, 3)
    assert len(row.trace_id) == 32


def test_a_rolled_back_task_does_not_exist() -> None:
    with transaction.atomic():
        result = functions.noop.enqueue()
        assert functions.noop.get_result(result.id) == result
        transaction.set_rollback(True)
    with pytest.raises(TaskResultDoesNotExist):
        functions.noop.get_result(result.id)


@pytest.mark.django_db(transaction=True)
def test_a_task_can_be_enqueued_and_read_in_an_event_loop() -> None:
    async def view() -> None:
        result = await functions.noop_async.aenqueue("a")
        assert (await functions.noop_async.aget_result(result.id)) == result
        await result.arefresh()
        assert result.status == READY
        with pytest.raises(TaskResultDoesNotExist):
            await functions.noop.aget_result("123")
        with pytest.raises(SynchronousOnlyOperation):
            functions.noop_async.enqueue("a")

    asyncio.run(view())


@pytest.mark.parametrize("value", [object(), {1}, functions.noop, {"a": [functions.Custom()]}])
def test_arguments_that_are_not_json_are_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        functions.noop.enqueue(value)
    with pytest.raises(TypeError, match="Unsupported type"):
        functions.noop.enqueue(key=value)
    assert not Task.objects.exists()


def test_arguments_become_json_as_with_the_other_backends() -> None:
    result = functions.noop.enqueue((1, 2), b"text", key={"a": (3,)})
    assert (result.args, result.kwargs) == ([[1, 2], "text"], {"key": {"a": [3]}})
    assert functions.noop.get_result(result.id) == result


def test_annotations_of_a_function_check_nothing() -> None:
    assert row_of(functions.give_back.enqueue(1, "no date")).args == [1, "no date"]


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a",), {}), ((1, 2, 3), {}), ((), {"a": 1, "b": 2})])
def test_a_call_that_the_function_would_refuse_is_refused_at_once(args: Any, kwargs: Any) -> None:
    with pytest.raises(InvalidTask, match="does not fit"):
        functions.give_back.enqueue(*args, **kwargs)
    assert not Task.objects.exists()


def test_annotations_are_checked_if_the_function_says_strict() -> None:
    functions.convert.enqueue("2030-01-02", times=2)
    with pytest.raises(InvalidTask, match="times"):
        functions.convert.enqueue("2030-01-02", times="2")


@pytest.mark.parametrize("value", [math.nan, 2**63, "nul \0", "x" * 300_000])
def test_what_no_row_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTask, match="args"):
        functions.noop.enqueue(value)


def test_the_context_is_not_among_the_arguments() -> None:
    assert row_of(functions.repeat.enqueue("a", times=3)).args == ["a"]
    with pytest.raises(InvalidTask):
        functions.attempt_of.enqueue("one too many")


def test_the_signal_and_its_log_line_tell_of_the_task(caplog: Any) -> None:
    heard: list[Any] = []

    def hear(sender: Any, task_result: Any, **_: Any) -> None:
        heard.append((sender, task_result))

    task_enqueued.connect(hear)
    try:
        with caplog.at_level(logging.DEBUG, NAME):
            result = functions.noop.enqueue()
    finally:
        task_enqueued.disconnect(hear)
    assert heard == [(CallboardBackend, result)]
    path = "tests.django_tasks.functions.noop"
    assert f"Task id={result.id} path={path} enqueued backend=default" in caplog.messages


# --- Priority, queue, time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [-100, -76, -75, -1, 0, 1, 20, 21, 99, 100])
def test_a_priority_comes_back_as_it_was_given(priority: int) -> None:
    result = functions.noop.using(priority=priority).enqueue()
    assert result.task.priority == backend.get_result(result.id).task.priority == priority
    assert row_of(result).priority == from_django_priority(priority, default=5)


@pytest.mark.parametrize("default", range(1, 11))
def test_priorities_keep_their_order_and_their_ends(default: int) -> None:
    read = [from_django_priority(one, default=default) for one in range(-100, 101)]
    assert read == sorted(read)
    assert (read[0], read[100], read[200]) == (1, default, 10)
    for priority in range(1, 11):
        there = to_django_priority(priority, default=default)
        assert from_django_priority(there, default=default) == priority
        assert -100 <= there <= 100


def test_the_page_says_which_priority_is_which() -> None:
    page = (ROOT / "docs" / "django-tasks.md").read_text().replace("−", "-")
    found = re.findall(r"(-?\d+)(?:–| to )(-?\d+) is (\d+)", page)
    assert len(found) == 4
    for first, last, mine in found:
        assert {from_django_priority(int(one), default=5) for one in (first, last)} == {int(mine)}
        assert from_django_priority(int(first) - (1 if int(first) > 0 else -1), default=5) != int(mine)


def test_an_edited_priority_is_shown_as_it_is_now() -> None:
    result = functions.noop.using(priority=33).enqueue()
    Task.objects.filter(pk=result.id).update(priority=10)
    assert functions.noop.get_result(result.id).task.priority == 100


@pytest.mark.parametrize("priority", [-101, 101, 1.5])
def test_a_priority_out_of_range_is_refused(priority: Any) -> None:
    with pytest.raises(InvalidTask, match="priority"):
        functions.noop.using(priority=priority)


def test_an_unknown_queue_is_refused_by_using_and_by_enqueue() -> None:
    with pytest.raises(InvalidTask, match="Queue 'unknown' is not valid for backend"):
        functions.noop.using(queue_name="unknown")
    with with_tasks(default={"QUEUES": ["default", "mail"]}):
        mail = functions.noop.using(queue_name="mail")
        result = mail.enqueue()
        assert row_of(result).queue == "mail"
        assert functions.noop.get_result(result.id) == result
    with pytest.raises(InvalidTask, match="Queue 'mail' is not valid for backend"):
        mail.enqueue()
    # The task exists, and so does its result.
    assert functions.noop.get_result(result.id).task == functions.noop


def test_queues_of_the_settings_are_declared_so_that_workers_serve_them() -> None:
    with with_tasks(default={"QUEUES": ["default", "only_in_settings"]}):
        assert task_backends["default"].queues == {"default", "only_in_settings"}
        assert "only_in_settings" in registry.queue_names()


def test_a_queue_that_cannot_exist_is_refused_with_the_settings() -> None:
    with with_tasks(default={"QUEUES": ["a.high"]}), pytest.raises(InvalidTaskBackend, match="QUEUES of the backend"):
        _ = task_backends["default"]


def test_without_queue_names_every_declared_queue_is_valid() -> None:
    with with_tasks(default={"QUEUES": []}):
        assert row_of(functions.noop.using(queue_name="other").enqueue()).queue == "other"
        with pytest.raises(InvalidTask, match="no queue is called 'unknown'"):
            functions.noop.using(queue_name="unknown").enqueue()


def test_run_after_is_kept_and_has_a_zone() -> None:
    later = NOW + timedelta(hours=1)
    result = functions.noop.using(run_after=later).enqueue()
    assert row_of(result).run_at == later
    assert functions.noop.get_result(result.id).task.run_after == result.task.run_after == later
    assert row_of(functions.noop.using(run_after=NOW - timedelta(days=1)).enqueue()).run_at > NOW
    with pytest.raises(InvalidTask, match="run_after must be an aware datetime"):
        functions.noop.using(run_after=datetime(2099, 1, 1))  # noqa: DTZ001


def test_a_second_backend_is_remembered() -> None:
    with with_tasks(default={}, other={}):
        result = functions.noop.using(backend="other").enqueue()
        again = backend.get_result(result.id)
        assert (again.backend, again.task.backend) == ("other", "other")
    # An alias that the settings have lost.
    assert functions.noop.get_result(result.id).task == functions.noop


# --- Results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["123", "", str(UUID(int=0)), None])
def test_an_unknown_id_is_no_result(id: Any) -> None:
    with pytest.raises(TaskResultDoesNotExist):
        backend.get_result(id)


def test_a_result_of_another_function_is_a_mismatch() -> None:
    result = functions.noop.enqueue()
    with pytest.raises(TaskResultMismatch):
        functions.bare.get_result(result.id)


def test_a_task_of_another_kind_of_actor_is_no_result() -> None:
    row = lifecycle.submit(Submission(actor="add", payload={"a": 1}))
    with pytest.raises(TaskResultDoesNotExist, match="no task function is declared as add"):
        backend.get_result(str(row.pk))


@pytest.mark.usefixtures("_forget_actors")
def test_a_result_is_found_before_its_module_was_imported(monkeypatch: Any) -> None:
    result = functions.noop.enqueue()
    imported: list[str] = []

    def declaring(path: str) -> Any:
        imported.append(path)
        functions.noop.get_backend().validate_task(functions.noop)

    del dramatiq.get_broker().actors[functions.noop.module_path]
    monkeypatch.setattr("tasks.django_tasks.backend.import_string", declaring)
    assert backend.get_result(result.id) == result
    assert imported == ["tests.django_tasks.functions.noop"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PENDING, READY),
        (Status.QUEUED, READY),
        (Status.RUNNING, RUNNING),
        (Status.RETRYING, READY),
        (Status.SUCCEEDED, SUCCESSFUL),
        (Status.DEAD, FAILED),
        (Status.CANCELLED, FAILED),
    ],
)
def test_each_status_has_one_of_django(status: Status, expected: Any, worker: Any) -> None:
    row = factories.make_task(status, worker=worker, actor="tests.django_tasks.functions.noop")
    result = functions.noop.get_result(str(row.pk))
    assert (result.status, result.is_finished) == (expected, expected in (FAILED, SUCCESSFUL))
    assert (result.finished_at is None) == (not result.is_finished)
    attempts = {Status.PENDING: 0, Status.QUEUED: 0, Status.CANCELLED: 0}.get(status, 1)
    assert (result.attempts, result.worker_ids) == (attempts, [str(worker.pk)] * attempts)
    assert (result.started_at is None) == (result.last_attempted_at is None) == (attempts == 0)
    if expected == FAILED:
        with pytest.raises(ValueError, match="Task failed"):
            _ = result.return_value


def test_a_result_follows_its_task(worker: Any, django_assert_num_queries: Any) -> None:
    result = functions.noop.enqueue()
    with django_assert_num_queries(1):
        result.refresh()
    claimed = factories.start(row_of(result), worker)
    result.refresh()
    assert (result.status, result.attempts, result.worker_ids) == (RUNNING, 1, [str(worker.pk)])
    assert result.started_at == result.last_attempted_at == claimed.claimed_at
    lifecycle.complete_many([factories.outcome(claimed, worker, result={"a": [1]})])
    with django_assert_num_queries(2):
        result.refresh()
    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, {"a": [1]}, 1)
    assert result.finished_at > result.started_at > result.enqueued_at


def test_each_failed_attempt_is_an_error() -> None:
    first, second = factories.make_worker(), factories.make_worker()
    result = functions.noop.enqueue()
    claimed = factories.start(row_of(result), first)
    boom = {
        "error_type": "Custom",
        "error_message": "one",
        "traceback": "x\ntests.django_tasks.functions.Custom: one\n",
    }
    lifecycle.complete_many([factories.failure(claimed, first, **boom)])
    result.refresh()
    assert (result.status, result.attempts, result.finished_at) == (READY, 1, None)
    factories.make_due(row_of(result))
    claimed = factories.start(row_of(result), second)
    lifecycle.complete_many([factories.failure(claimed, second, death="max_retries_exceeded")])
    result.refresh()
    assert (result.status, result.attempts) == (FAILED, 2)
    assert result.worker_ids == [str(first.pk), str(second.pk)]
    assert [one.exception_class for one in result.errors] == [functions.Custom, RuntimeError]
    assert result.errors[0].traceback == boom["traceback"]
    assert result.started_at < result.last_attempted_at


@pytest.mark.parametrize(
    ("outcome", "error_type", "expected"),
    [
        (AttemptOutcome.CRASHED, "WorkerCrashed", [WorkerLost]),
        (AttemptOutcome.LOST, "WorkerLost", [WorkerLost]),
        (AttemptOutcome.TIMED_OUT, "Stuck", [TimeLimitExceeded]),
        (AttemptOutcome.SNOOZED, "", []),
        (AttemptOutcome.INTERRUPTED, "Shutdown", []),
    ],
)
def test_an_attempt_that_raised_nothing_is_an_error_if_it_failed(
    worker: Any, outcome: AttemptOutcome, error_type: str, expected: list[Any]
) -> None:
    result = functions.noop.enqueue()
    claimed = factories.start(row_of(result), worker)
    fields = {"ended_as": outcome, "error_type": error_type, "error_message": "why"}
    lifecycle.complete_many([factories.outcome(claimed, worker, **fields)])
    result.refresh()
    assert (result.status, result.attempts) == (READY, 1)
    assert [one.exception_class for one in result.errors] == expected
    assert all(one.traceback == f"{error_type}: why" for one in result.errors)


def test_a_cancelled_task_says_so() -> None:
    result = functions.noop.enqueue()
    lifecycle.cancel(UUID(result.id))
    result.refresh()
    assert result.status == FAILED
    assert [(one.exception_class, one.traceback) for one in result.errors] == [
        (TaskCancelled, "TaskCancelled: the task was cancelled")
    ]


def test_a_task_that_was_too_old_to_start_says_so(lead: Lead) -> None:
    result = functions.noop.enqueue()
    Task.objects.filter(pk=result.id).update(expires_at=NOW - timedelta(days=1))
    lifecycle.expire_many(**lead)
    result.refresh()
    assert result.status == FAILED
    (error,) = result.errors
    assert error.exception_class is TaskExpired
    assert "before it started" in error.traceback or "old" in error.traceback


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        ValueError(),
        KeyError("quoted"),
        functions.Custom("two\nlines"),
        functions.Custom("a\nbuiltins.SystemExit: b\nos.Custom: c"),
        functions.Custom("x" * 20_000),
        ExceptionGroup("several", [ValueError(1), functions.Custom(2)]),
        functions.Several("several", [ValueError(1)]),
        SyntaxError("wrong"),
        CallboardError("of another module"),
        SystemExit(3),
    ],
    ids=lambda error: f"{type(error).__name__}-{len(str(error))}",
)
def test_the_class_of_an_error_is_found_in_its_traceback(error: BaseException) -> None:
    try:
        try:
            raise functions.Custom("the cause")
        except functions.Custom as cause:
            raise error from cause
    except BaseException as caught:  # noqa: BLE001
        report = report_of(caught)
    found = results.error_of(report.error_type, report.message, report.traceback)
    assert found.exception_class is type(error)
    assert found.traceback == report.traceback


# --- Declaring -------------------------------------------------------------------------------------------------------


def test_operators_see_the_function_and_the_api_does_not_unless_it_is_opened(alice: Any) -> None:
    assert registry.get("tests.django_tasks.functions.noop").description.startswith("Do nothing;")
    answer = alice.submit("tests.django_tasks.functions.noop")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_actor")
    answer = alice.submit("tests.django_tasks.functions.open_to_api", payload={"name": "a"}, priority=10)
    assert answer.status_code == 201
    result = functions.open_to_api.get_result(answer.json()["id"])
    assert (result.status, result.kwargs, result.task.priority) == (READY, {"name": "a"}, 100)


def test_options_of_a_function_take_precedence_over_those_of_the_backend() -> None:
    assert row_of(functions.open_to_api.enqueue("a")).max_retries == 7
    assert row_of(functions.fail_twice.enqueue()).time_limit_seconds == 60


def _declared_here(x: int) -> None:
    """Is declared by tests."""


@actor_options(max_retries=2)
def _declared_with_options() -> None:
    """Is declared by tests."""


@actor_options(max_retries="many")
def _declared_wrongly() -> None:
    """Is refused."""


@pytest.mark.usefixtures("_forget_actors")
def test_options_of_the_backend_are_those_of_its_functions() -> None:
    with with_tasks(default={"OPTIONS": {"max_retries": 0, "time_limit": 5_000}}):
        plain, own = task(_declared_here).enqueue(1), task(_declared_with_options).enqueue()
    assert (row_of(plain).max_retries, row_of(plain).time_limit_seconds) == (0, 5)
    assert (row_of(own).max_retries, row_of(own).time_limit_seconds) == (2, 5)


@pytest.mark.usefixtures("_forget_actors")
def test_a_wrong_option_is_refused_with_the_function() -> None:
    with pytest.raises(InvalidTask, match="expected max_retries as a whole number"):
        task(_declared_wrongly)
    with with_tasks(default={"OPTIONS": {"no_option": 1}}), pytest.raises(InvalidTask, match="no_option"):
        task(_declared_here)


def test_options_above_the_decorator_are_refused() -> None:
    with pytest.raises(TypeError, match="below @task"):
        actor_options(max_retries=1)(functions.noop)


@pytest.mark.usefixtures("_forget_actors")
def test_what_upstream_refuses_is_refused() -> None:
    def local() -> None: ...

    def context_is_missing() -> None: ...

    context_is_missing.__qualname__ = "context_is_missing"
    for function in (local, len, functions.Outer):
        with pytest.raises(InvalidTask, match="module level"):
            task(function)
    with pytest.raises(InvalidTask, match="takes context"):
        task(takes_context=True)(context_is_missing)


@pytest.mark.usefixtures("_forget_actors")
def test_two_functions_of_one_path_are_refused() -> None:
    def other(x: int) -> None: ...

    other.__qualname__, other.__module__ = "_declared_here", __name__
    task(_declared_here)
    task(_declared_here)
    with pytest.raises(InvalidTask, match="declared already"):
        task(other)


# --- Checks ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_forget_actors")
def test_a_function_that_workers_may_not_know_is_named_by_the_check(monkeypatch: Any) -> None:
    monkeypatch.setattr(actors, "_declared_late", set())
    assert task_backends["default"].check() == []
    task(_declared_here)
    (warning,) = task_backends["default"].check()
    assert warning.id == "callboard.W005"
    assert f"{__name__}._declared_here" in warning.msg
    with with_tasks(default={}, other={}):
        assert task_backends["other"].check() == []


def test_a_backend_without_its_app_is_an_error() -> None:
    with override_settings(INSTALLED_APPS=["django.contrib.contenttypes"]):
        (error,) = task_backends["default"].check()
    assert error.id == "callboard.E008"
