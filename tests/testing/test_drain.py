"""drain: due tasks run in the test's thread and transaction, by the verbs of production."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.models import Attempt, Queue, Task
from tasks.states import AttemptOutcome, Status
from tasks.testing import Busy, EndlessDrain, drain, travel
from tests import factories
from tests.actors import act, act_async, elsewhere, limited, note, noted
from tests.testing import deeds
from tests.testing.deeds import groups, path

pytestmark = pytest.mark.django_db


def test_a_task_runs_and_its_row_is_that_of_production() -> None:
    message = act.send("return", {"answer": 42})
    (task,) = drain()
    assert (task.status, task.result, task.attempt, task.dispatch) == (Status.SUCCEEDED, {"answer": 42}, 1, 1)
    assert message.get_result() == {"answer": 42}
    attempt = Attempt.objects.get(task=task)
    assert (attempt.outcome, attempt.number) == (AttemptOutcome.SUCCEEDED, 1)


def test_nothing_due_is_nothing_to_run() -> None:
    act.send_with_options(args=("return",), delay=60_000)
    assert drain() == []
    assert Task.objects.get().status == Status.PENDING


def test_the_highest_priority_runs_first_and_then_what_is_due_longest() -> None:
    for name, priority in [("a", 5), ("b", 9), ("c", 1), ("d", 5)]:
        factories.submit("note", args=[name], priority=priority)
    drain()
    assert [args[0] for args, _ in noted] == ["b", "a", "d", "c"]


def test_what_an_actor_submits_runs_after_it() -> None:
    act.send("call", path(deeds.submit_two))
    ran = drain()
    assert [task.actor for task in ran] == ["act", "add", "note"]
    assert [task.result for task in ran] == ["0 noted", 3, None]


def test_follow_ups_run_too() -> None:
    act.send_with_options(args=("return", "x"), on_success="note")
    assert [task.actor for task in drain()] == ["act", "note"]
    assert noted[0][0][1] == "x"


def test_only_the_tasks_of_a_queue_run_if_one_is_named() -> None:
    act.send("return")
    elsewhere.send(1)
    assert [task.actor for task in drain("other")] == ["elsewhere"]
    assert [task.actor for task in drain(queue="default")] == ["act"]


def test_a_paused_queue_stands_still() -> None:
    elsewhere.send(1)
    Queue.objects.filter(name="other").update(paused_at=factories.database_now())
    assert drain() == []


def test_a_failure_waits_for_its_retry_as_in_production() -> None:
    act.send("raise", "broken")
    (task,) = drain()
    assert (task.status, task.failures) == (Status.RETRYING, 1)
    assert "broken" in task.error
    assert task.run_at > factories.database_now()


def test_until_runs_retries_in_the_order_of_their_times() -> None:
    act.send_with_options(args=("call", path(deeds.fail_twice)), min_backoff=60_000, max_backoff=600_000)
    note.send_with_options(args=("between",), delay=100_000)
    ran = drain(until=timedelta(minutes=10))
    assert [task.status for task in ran] == ["RETRYING", "RETRYING", "SUCCEEDED", "SUCCEEDED"]
    assert noted == [1, 2, (("between",), {}), 3]
    assert ran[-1].result == "at last"


def test_until_goes_no_further() -> None:
    act.send_with_options(args=("return", 1), delay=60_000)
    act.send_with_options(args=("return", 2), delay=120_000)
    assert [task.result for task in drain(until=timedelta(seconds=61))] == [1]
    assert [task.result for task in drain(until=factories.database_now() + timedelta(seconds=121))] == [2]


def test_a_task_dies_when_its_retries_are_over() -> None:
    limited.send("raise")
    ran = drain(until=timedelta(hours=1))
    assert [task.status for task in ran] == [Status.RETRYING, Status.DEAD]
    assert DeadLetter.objects.get().reason == "max_retries_exceeded"


def test_a_task_that_is_too_old_dies_without_a_run() -> None:
    act.send_with_options(args=("return",), max_age=60_000, delay=120_000)
    assert drain(until=timedelta(minutes=5)) == []
    assert Task.objects.get().status == Status.DEAD


def test_a_task_that_gets_too_old_before_the_end_dies_although_its_time_is_later() -> None:
    act.send_with_options(args=("return",), max_age=60_000, delay=3_600_000)
    drain(until=timedelta(minutes=5))
    assert Task.objects.get().status == Status.DEAD


def test_a_task_that_got_too_old_on_a_journey_dies() -> None:
    act.send_with_options(args=("return",), max_age=60_000)
    with travel(by=timedelta(minutes=5)):
        assert drain() == []
    assert Task.objects.get().status == Status.DEAD


def test_a_task_of_an_actor_that_nobody_declares_waits() -> None:
    act.send("return")
    Task.objects.update(actor="gone")
    assert drain(until=timedelta(hours=1)) == []


def test_a_snooze_is_no_failure() -> None:
    act.send("snooze", 30)
    (task,) = drain()
    assert (task.status, task.failures) == (Status.PENDING, 0)
    assert len(drain(until=timedelta(seconds=100))) == 3


def test_raise_errors_raises_the_actor_s_own_exception_with_its_traceback() -> None:
    act.send("raise", "mine")
    with pytest.raises(RuntimeError, match="mine") as caught:
        drain(raise_errors=True)
    assert [entry.name for entry in caught.traceback][-2:] == ["<lambda>", "_raise"]
    assert Task.objects.get().status == Status.RETRYING


@pytest.mark.parametrize("deed", ["snooze", "retry"])
def test_raise_errors_leaves_alone_what_the_actor_asked_for(deed: str) -> None:
    act.send(deed, 1000)
    assert len(drain(raise_errors=True)) == 1


def test_ctrl_c_ends_the_test_and_not_only_the_task() -> None:
    act.send("keyboard")
    with pytest.raises(KeyboardInterrupt):
        drain()
    assert Task.objects.get().status == Status.RETRYING


def test_an_endless_chain_is_an_error_that_names_the_actor() -> None:
    act.send("call", path(deeds.submit_itself))
    with pytest.raises(EndlessDrain, match=r"ran 6 tasks .* 6 of them were of actor 'act'.*most=…"):
        drain(most=5)


def test_an_actor_cannot_drain() -> None:
    act.send("call", path(deeds.drain_inside))
    act.send("return")
    with pytest.raises(Busy, match="run when it has ended"):
        drain(raise_errors=True)


@pytest.mark.parametrize(("until", "error"), [(datetime(2030, 1, 1), ValueError), ("tomorrow", TypeError)])  # noqa: DTZ001
def test_until_is_a_time_with_a_zone_or_a_duration(until, error) -> None:
    with pytest.raises(error, match="expected a datetime"):
        drain(until=until)


# --- The test's transaction ---


def test_an_actor_writes_in_the_test_s_transaction() -> None:
    act.send("call", path(deeds.on_commit))
    drain()
    assert connection.in_atomic_block
    assert groups() == ["first"]


def test_hooks_of_an_actor_run_as_if_it_had_committed() -> None:
    act.send("call", path(deeds.on_commit))
    transaction.on_commit(lambda: noted.append("the test's own"))
    drain()
    assert noted == ["committed"]


def test_hooks_of_the_test_stay(django_capture_on_commit_callbacks) -> None:
    act.send("call", path(deeds.on_commit))
    with django_capture_on_commit_callbacks(execute=True) as hooks:
        transaction.on_commit(lambda: noted.append("the test's own"))
        drain()
    assert (noted, len(hooks)) == (["committed", "the test's own"], 1)


def test_hooks_of_an_actor_that_broke_the_transaction_are_dropped() -> None:
    act.send("call", path(deeds.hook_and_break))
    drain()
    assert noted == []


def test_an_exception_of_a_hook_reaches_the_test() -> None:
    act.send("call", path(deeds.failing_hook))
    with pytest.raises(RuntimeError, match="in a hook"):
        drain()


def test_what_an_actor_wrote_before_it_failed_stays_as_in_production() -> None:
    act.send("call", path(deeds.write_and_fail))
    drain()
    assert groups() == ["written"]


def test_an_error_of_the_database_ends_the_attempt_and_not_the_test_s_transaction() -> None:
    act.send("call", path(deeds.break_the_transaction))
    (task,) = drain()
    assert task.status == Status.RETRYING
    assert "IntegrityError" in task.error
    assert groups() == []


def test_an_actor_s_own_savepoints_work() -> None:
    act.send("call", path(deeds.survive_an_integrity_error))
    (task,) = drain()
    assert (task.status, task.result) == (Status.SUCCEEDED, 1)


@pytest.mark.parametrize("depth", [0, 1])
def test_an_actor_may_commit_its_own_success(depth: int) -> None:
    act.send("call", path(deeds.complete))
    if depth:
        with transaction.atomic():
            (task,) = drain()
    else:
        (task,) = drain()
    assert (task.status, task.result) == (Status.SUCCEEDED, "durable")
    assert groups() == ["durable"]


def test_a_transaction_that_an_actor_leaves_open_is_rolled_back_alone() -> None:
    Group.objects.create(name="the test's")
    act.send("call", path(deeds.leave_open))
    (task,) = drain()
    assert "left a transaction open" in Attempt.objects.get(task=task).note
    assert groups() == ["the test's"]


def test_a_result_that_the_database_refuses_is_dropped_as_in_production() -> None:
    act.send("return nul")
    (task,) = drain()
    assert (task.status, task.result) == (Status.SUCCEEDED, None)


@pytest.mark.django_db(transaction=True)
def test_it_works_without_a_transaction_around_the_test() -> None:
    act.send_with_options(args=("call", path(deeds.fail_twice)), min_backoff=60_000)
    act.send("call", path(deeds.complete))
    ran = drain(until=timedelta(hours=1))
    assert [task.status for task in ran] == ["RETRYING", "SUCCEEDED", "RETRYING", "SUCCEEDED"]
    assert not connection.in_atomic_block
    assert factories.database_now() < datetime.now(UTC) + timedelta(minutes=1)


# --- The executor ---


def test_a_coroutine_uses_the_test_s_connection() -> None:
    Group.objects.create(name="the test's")
    act_async.send("call", path(deeds.create_group))
    (task,) = drain()
    assert (task.status, task.result) == (Status.SUCCEEDED, ["the test's", "async"]), task.error


@pytest.mark.parametrize(("actor", "deed"), [(act, deeds.busy_for_long), (act_async, deeds.sleep_for_long)])
def test_time_limits_hold(actor, deed) -> None:
    actor.send_with_options(args=("call", path(deed)), time_limit=200)
    (task,) = drain()
    assert (task.status, Attempt.objects.get(task=task).outcome) == (Status.RETRYING, AttemptOutcome.TIMED_OUT)


def test_an_attempt_after_a_failure_has_its_marks() -> None:
    from dramatiq.middleware import CurrentMessage

    seen = []

    def look() -> None:
        message: Any = CurrentMessage.get_current_message()
        seen.append(message.options.get("retries"))
        raise RuntimeError

    deeds.look = look  # type: ignore[attr-defined]
    act.send_with_options(args=("call", f"{deeds.HERE}.look"), max_retries=1, min_backoff=1)
    drain(until=timedelta(minutes=1))
    del deeds.look  # type: ignore[attr-defined]
    assert seen == [None, 1]


def test_times_of_an_attempt_are_those_of_the_journey() -> None:
    act.send_with_options(args=("return",), delay=3_600_000)
    (task,) = drain(until=timedelta(hours=2))
    ahead = task.finished_at - factories.database_now()
    assert timedelta(minutes=59) < ahead < timedelta(minutes=61)


def test_a_task_can_be_re_driven_and_drained() -> None:
    act.send_with_options(args=("raise",), max_retries=0)
    drain()
    lifecycle.retry(Task.objects.get().pk)
    assert [task.status for task in drain()] == [Status.DEAD]


def test_the_clock_of_the_test_counts(monkeypatch) -> None:
    act.send_with_options(args=("return",), delay=86_400_000)
    with travel(by=timedelta(days=2)):
        assert len(drain()) == 1
