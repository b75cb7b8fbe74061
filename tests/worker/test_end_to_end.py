"""The whole engine in this process: submit, dispatch, claim, run, complete."""

from datetime import timedelta

import dramatiq
import pytest
from django.db import transaction
from dramatiq import pipeline

import tests.actors as actors
from dlq.models import DeadLetter
from tasks import current, lifecycle
from tasks.models import Attempt, Task
from tasks.states import AttemptOutcome, DeathReason, Status
from tasks.worker import event_loop
from tests.factories import submit
from tests.waiting import wait_until

KINDS = ["act", "act_async"]


@pytest.mark.parametrize("actor", KINDS)
def test_a_task_runs_and_its_result_is_stored(engine, actor: str) -> None:
    (task,) = engine.wait_for(submit(actor, payload={"do": "return", "value": {"a": [1, "ü"]}}))
    assert (task.status, task.result) == (Status.SUCCEEDED, {"a": [1, "ü"]})
    assert (task.dispatch, task.attempt, task.failures, task.crashes) == (1, 1, 0, 0)
    attempt = task.attempts.get()
    assert (attempt.outcome, attempt.worker_id) == (AttemptOutcome.SUCCEEDED, engine.runtime.inflight.worker_id)
    assert attempt.started_at is not None
    assert attempt.started_at <= attempt.finished_at


def test_high_runs_before_low_in_the_exact_order_of_priorities(scheduled) -> None:
    order = [1, 10, 4, 7, 8, 2, 9, 5, 3, 6] * 2
    tasks = [submit("note", args=[priority], priority=priority) for priority in order]
    scheduled.start_worker(threads=1)
    scheduled.wait_for(*tasks)
    assert [args[0] for args, _ in actors.noted] == sorted(order, reverse=True)


def test_a_high_task_overtakes_a_backlog_of_low_ones(scheduled) -> None:
    low = lifecycle.submit_many([lifecycle.Submission(actor="note", args=["low"], priority=1) for _ in range(200)])
    scheduled.start_worker(threads=1)
    wait_until(lambda: len(actors.noted) > 5)
    high = submit("note", args=["high"], priority=10)
    scheduled.wait_for(high, *low)
    assert ("high",) in [args for args, _ in actors.noted[:-20]]


def test_every_one_of_many_tasks_runs_once(engine) -> None:
    tasks = lifecycle.submit_many([lifecycle.Submission(actor="note", args=[n]) for n in range(1000)])
    engine.wait_for(*tasks, timeout=40)
    assert sorted(args[0] for args, _ in actors.noted) == list(range(1000))
    assert set(Task.objects.values_list("status", "dispatch", "attempt")) == {(Status.SUCCEEDED, 1, 1)}
    wait_until(lambda: engine.runtime.inflight.keys == [])
    wait_until(lambda: engine.runtime.inflight.slots.held == 0)


def test_a_pydantic_model_and_other_actors_functions(engine) -> None:
    order = {"number": 7, "placed_on": "2030-02-03", "lines": ["a", "b"]}
    shipped, added = engine.wait_for(
        submit("ship", payload=order), submit("add_through_another", payload={"a": 1, "b": 2})
    )
    assert (shipped.result, added.result) == ("7/2030/2", 6)
    assert Attempt.objects.count() == 2


@pytest.mark.parametrize("actor", KINDS)
def test_a_running_actor_knows_its_task(engine, actor: str) -> None:
    task, number = engine.wait_for(submit(actor, payload={"do": "task_id"}), submit(actor, payload={"do": "attempt"}))
    assert task.result == str(task.pk)
    assert number.result == 1


def test_outside_an_actor_there_is_no_current_task() -> None:
    with pytest.raises(current.NotInActor):
        current.task_id()
    with pytest.raises(current.NotInActor):
        current.snooze(seconds=1)


# --- Whatever an actor does ---

DEEDS = [
    ("raise", "RuntimeError"),
    ("exit", "SystemExit"),
    ("rude", "Rude"),
    ("keyboard", "KeyboardInterrupt"),
    ("unprintable", "Unprintable"),
    ("hostile text", "ValueError"),
    ("exiting text", "ExitingText"),
    ("exiting name", "ExitingName"),
    ("exiting methods", "ExitingMethods"),
]
#: Each is called once, whatever its task's retries.
UNSTORABLE = [
    "return object", "return date", "return nan", "return huge", "return deep", "return nul", "return bigint",
    "return exiting result", "return exiting kind",
]  # fmt: skip


@pytest.mark.parametrize(("deed", "error_type"), DEEDS)
@pytest.mark.parametrize("actor", KINDS)
def test_whatever_an_actor_does_leaves_a_clear_record_and_a_healthy_worker(
    engine, actor: str, deed: str, error_type: str
) -> None:
    task = submit(actor, payload={"do": deed}, max_retries=0)
    neighbours = [submit(kind, payload={"do": "return", "value": n}) for n, kind in enumerate(KINDS * 3)]
    (dead,) = engine.wait_for(task)
    assert (dead.status, dead.failures) == (Status.DEAD, 1)
    attempt = dead.attempts.get()
    assert (attempt.outcome, attempt.error_type) == (AttemptOutcome.FAILED, error_type)
    assert DeadLetter.objects.open().get().error_type == error_type
    later = [submit(kind, payload={"do": "return", "value": n}) for n, kind in enumerate(KINDS)]
    for one in engine.wait_for(*neighbours, *later):
        assert one.status == Status.SUCCEEDED
    assert engine.exits == engine.signals == []
    assert all(thread.is_alive() for thread in engine.worker.workers)


@pytest.mark.parametrize("deed", UNSTORABLE)
@pytest.mark.parametrize("actor", KINDS)
def test_a_result_that_cannot_be_kept_is_a_success_that_is_not_run_again(engine, actor: str, deed: str) -> None:
    task = submit(actor, payload={"do": deed}, max_retries=5, min_backoff_seconds=0)
    (done,) = engine.wait_for(task)
    assert (done.status, done.result, done.attempt, done.failures) == (Status.SUCCEEDED, None, 1, 0)
    assert done.attempts.get().note.startswith("the result was not kept: ")
    for one in engine.wait_for(*[submit(kind, payload={"do": "return"}) for kind in KINDS * 4]):
        assert one.status == Status.SUCCEEDED
    assert engine.exits == engine.signals == []
    assert all(thread.is_alive() for thread in engine.worker.workers)


@pytest.mark.parametrize(
    "deed", ["raise", "exiting text", "exiting class", "exiting attributes", "exiting name", "exiting cause"]
)
@pytest.mark.parametrize("actor", [*KINDS, "throws_what_exits"])
def test_no_exception_ends_the_thread_it_was_raised_in(engine, actor: str, deed: str) -> None:
    for _ in range(2):
        (dead,) = engine.wait_for(submit(actor, payload={"do": deed}, max_retries=0))
        assert (dead.status, dead.attempts.get().outcome) == (Status.DEAD, AttemptOutcome.FAILED)
    wait_until(lambda: engine.runtime.inflight.keys == [])
    wait_until(lambda: engine.runtime.inflight.slots.held == 0)
    assert engine.exits == engine.signals == []
    assert engine.runtime.completer.is_alive
    # Coroutines run in it.
    assert event_loop.is_alive()
    assert all(thread.is_alive() for thread in engine.worker.workers)


def test_a_stop_iteration_in_a_plain_actor_is_recorded_as_what_it_is(engine) -> None:
    (task,) = engine.wait_for(submit(payload={"do": "stop"}, max_retries=0))
    assert task.attempts.get().error_type == "StopIteration"


@pytest.mark.parametrize("actor", KINDS)
def test_a_time_limit_interrupts(engine, actor: str) -> None:
    task = submit(actor, payload={"do": "sleep", "value": 30}, time_limit_seconds=0.1, max_retries=0)
    (task,) = engine.wait_for(task)
    assert task.status == Status.DEAD
    assert task.attempts.get().outcome == AttemptOutcome.TIMED_OUT
    assert DeadLetter.objects.get().reason == DeathReason.TIME_LIMIT_EXCEEDED


@pytest.mark.parametrize("actor", KINDS)
def test_a_cancel_interrupts_what_runs(engine, actor: str) -> None:
    task = submit(actor, payload={"do": "sleep", "value": 30})
    wait_until(lambda: Task.objects.running().filter(pk=task.pk).exists())
    lifecycle.cancel(task.pk)
    (task,) = engine.wait_for(task)
    assert task.status == Status.CANCELLED
    assert task.attempts.get().outcome == AttemptOutcome.CANCELLED


@pytest.mark.parametrize("actor", KINDS)
def test_a_snooze_puts_the_task_off_without_a_failure(engine, actor: str) -> None:
    task = submit(actor, payload={"do": "snooze", "value": 3600}, max_retries=0)
    wait_until(lambda: Attempt.objects.filter(task_id=task.pk).exists())
    task.refresh_from_db()
    assert (task.status, task.failures, task.attempt) == (Status.PENDING, 0, 1)
    assert task.run_at - task.created_at > timedelta(minutes=59)
    assert Attempt.objects.get().outcome == AttemptOutcome.SNOOZED


def test_a_failing_task_is_retried_until_it_dies(engine) -> None:
    task = submit(payload={"do": "raise"}, max_retries=2, min_backoff_seconds=0.01)
    (task,) = engine.wait_for(task)
    assert (task.status, task.dispatch, task.attempt, task.failures) == (Status.DEAD, 3, 3, 3)
    assert list(task.attempts.values_list("number", "outcome")) == [(n, "FAILED") for n in (1, 2, 3)]
    assert DeadLetter.objects.get().reason == DeathReason.MAX_RETRIES_EXCEEDED


def test_a_redriven_task_runs_again(engine) -> None:
    (task,) = engine.wait_for(submit(payload={"do": "raise"}, max_retries=0))
    lifecycle.redrive(DeadLetter.objects.open().get().pk)
    wait_until(lambda: DeadLetter.objects.open().exists())
    task.refresh_from_db()
    assert (task.status, task.attempt, task.failures) == (Status.DEAD, 2, 1)
    assert DeadLetter.objects.count() == 2


def test_a_coroutine_that_resists_its_limit_ends_the_worker_and_its_attempt_stays_open(engine) -> None:
    task = submit("resist", payload={"seconds": 15}, time_limit_seconds=0.1)
    wait_until(lambda: engine.signals, timeout=10)
    assert engine.runtime.drain.has_begun
    assert engine.runtime.inflight.keys == [(task.pk, 1)]
    task.refresh_from_db()
    assert task.status == Status.RUNNING
    assert not Attempt.objects.exists()


# --- Callbacks, pipelines, results ---


def test_callbacks_run_with_the_outcome(engine) -> None:
    engine.wait_for(submit("with_callbacks", payload={"do": "return", "value": 7}))
    wait_until(lambda: len(actors.noted) == 1)
    ((message, result), _) = actors.noted[0]
    assert (message["actor_name"], result) == ("with_callbacks", 7)
    engine.wait_for(submit("with_callbacks", payload={"do": "raise"}))
    wait_until(lambda: len(actors.noted) == 3)


def test_a_success_whose_callback_is_unknown_dies_at_once_and_says_why(engine) -> None:
    (task,) = engine.wait_for(submit("calls_back_nobody", payload={}, max_retries=5, min_backoff_seconds=0))
    assert (task.status, task.attempt) == (Status.DEAD, 1)
    assert DeadLetter.objects.get().reason == DeathReason.NOT_RETRYABLE
    assert "no_such_actor" in task.error


def test_a_failure_whose_callback_is_unknown_is_retried_like_any_other(engine) -> None:
    (task,) = engine.wait_for(
        submit("calls_back_nobody", payload={"do": "raise"}, max_retries=1, min_backoff_seconds=0)
    )
    assert (task.status, task.attempt, task.error) == (Status.DEAD, 2, "RuntimeError: done")
    assert all("no_such_actor" in note for note in task.attempts.values_list("note", flat=True))
    wait_until(lambda: len(actors.noted) == 1, what="the callback for exhausted retries")


def test_a_pipeline_runs_through(engine) -> None:
    with transaction.atomic():
        pipeline([actors.add.message(1, 2), actors.add.message(10), actors.add.message(100)]).run()
    wait_until(lambda: Task.objects.filter(status=Status.SUCCEEDED).count() == 3)
    assert list(Task.objects.order_by("pk").values_list("result", flat=True)) == [3, 13, 113]
    assert len(set(Task.objects.values_list("trace_id", flat=True))) == 1


def test_get_result_waits_for_the_result(engine) -> None:
    message = actors.add.send(1, b=2)
    assert message.get_result(block=True, timeout=10_000) == 3


def test_retry_with_a_delay_in_an_actor(engine) -> None:
    task = submit(payload={"do": "retry", "value": 3_600_000})
    wait_until(lambda: Attempt.objects.filter(task_id=task.pk).exists())
    task.refresh_from_db()
    assert (task.status, task.failures) == (Status.RETRYING, 1)
    assert timedelta(minutes=59) < task.run_at - task.created_at < timedelta(minutes=61)


# --- The end of a worker ---


def test_a_stopped_worker_interrupts_and_puts_back_tasks_that_outlast_the_grace_period(engine, settings) -> None:
    settings.SHUTDOWN_GRACE_SECONDS = 0.2
    engine.stop_worker()
    engine.start_worker(threads=1)
    long = submit(payload={"do": "sleep", "value": 60})
    inflight = engine.runtime.inflight
    wait_until(lambda: inflight.keys and not inflight.unstarted, what="the long task to start")
    rest = [submit(payload={"do": "return"}) for _ in range(3)]
    runtime = engine.runtime
    engine.stop_worker()
    long.refresh_from_db()
    # The dispatcher may have handed it over again already.
    assert long.status in (Status.PENDING, Status.QUEUED)
    assert (long.failures, long.attempt) == (0, 1)
    assert long.attempts.get().outcome == AttemptOutcome.INTERRUPTED
    assert runtime.is_finished
    assert runtime.inflight.keys == []
    assert {Task.objects.get(pk=task.pk).status for task in rest} <= {Status.PENDING, Status.QUEUED}
    engine.start_worker()
    for task in engine.wait_for(*rest):
        assert task.status == Status.SUCCEEDED


def test_a_stopped_worker_leaves_the_registry(engine) -> None:
    from tasks.models import Worker

    assert Worker.objects.present().count() == 1
    engine.stop_worker()
    assert Worker.objects.present().count() == 0
    assert Worker.objects.get().crash is None


def test_a_row_that_cannot_become_a_message_fails_alone_and_leaves_nothing_unstarted(engine) -> None:
    task = submit("ship", payload={"number": 7, "placed_on": "2030-02-03"}, delay_seconds=3600, max_retries=0)
    Task.objects.filter(pk=task.pk).update(payload={"number": "what an older release allowed"})
    Task.objects.filter(pk=task.pk).update(run_at=task.created_at)
    (dead,) = engine.wait_for(task)
    assert (dead.status, dead.attempts.get().error_type) == (Status.DEAD, "ValidationError")
    wait_until(lambda: engine.runtime.inflight.keys == [])
    assert engine.runtime.inflight.unstarted == 0
    wait_until(lambda: engine.runtime.inflight.slots.held == 0)


def test_a_model_that_exits_when_it_is_built_fails_alone_and_others_are_still_claimed(engine) -> None:
    task = submit("picky_about", payload={"value": 1}, delay_seconds=3600, max_retries=0)
    Task.objects.filter(pk=task.pk).update(payload={"value": 13}, run_at=task.created_at)
    (dead,) = engine.wait_for(task)
    assert (dead.status, dead.attempts.get().error_type) == (Status.DEAD, "SystemExit")
    (after,) = engine.wait_for(submit())
    assert after.status == Status.SUCCEEDED


def test_a_message_that_a_middleware_skips_is_cancelled(engine) -> None:
    class Skip(dramatiq.Middleware):
        def before_process_message(self, broker, message) -> None:
            if message.actor_name == "add":
                raise dramatiq.middleware.SkipMessage("not today")

    engine.broker.add_middleware(Skip())
    (task,) = engine.wait_for(submit("add", payload={"a": 1}))
    assert (task.status, task.result, task.error) == (Status.CANCELLED, None, "SkipMessage: not today")
    wait_until(lambda: engine.runtime.inflight.keys == [])
    assert engine.runtime.inflight.unstarted == 0


def test_no_log_line_of_a_run_has_a_secret(engine, caplog) -> None:
    caplog.set_level("DEBUG")
    (task,) = engine.wait_for(submit("login", args=["ada"], payload={"password": "hunter2"}))
    assert (task.status, task.error) == (Status.DEAD, "ValueError: cannot log in with hunter2")
    received = [record for record in caplog.records if record.getMessage().startswith("Received")]
    assert all("hunter2" not in record.getMessage() for record in received)
    assert "Received." in [record.getMessage() for record in received]
