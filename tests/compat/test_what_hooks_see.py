"""What a running actor and the hooks of middleware see is what stock Dramatiq shows them."""

import threading
import time
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import CurrentMessage, MiddlewareError, SkipMessage

from dlq.models import DeadLetter
from tasks.models import Attempt, Task
from tasks.states import WAITING, DeathReason, Status
from tests.waiting import wait_until

RETRIED: dict[str, Any] = {"max_retries": 2, "min_backoff": 1, "max_backoff": 1}

seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def current() -> Any:
    return CurrentMessage.get_current_message()


def note_calls(*names: str) -> dramatiq.Middleware:
    """Make a middleware that notes the calls of some hooks, each with its message as it is then."""

    class Notes(dramatiq.Middleware):
        pass

    def hook(name: str) -> Any:
        def noting(self: Any, broker: Any, message: Any, *args: Any, **kwargs: Any) -> None:
            retries = message.options.get("retries")
            seen.append((name, retries, getattr(message, "failed", None)))

        return noting

    for name in names:
        setattr(Notes, name, hook(name))
    return Notes()


def test_a_message_is_shown_as_it_was_sent(scheduled, declare, run) -> None:
    def look(*args: Any, **kwargs: Any) -> None:
        message = current()
        seen.append((message.queue_name, message.message_id, message.args, message.kwargs, dict(message.options)))
        seen.append(message.message_timestamp)

    made = declare(look, queue_name="mail").message_with_options(args=(1,), kwargs={"a": 2}, mine="x", delay=300)
    sent = scheduled.broker.enqueue(made, delay=300)
    run(sent)
    assert seen[0] == ("mail", made.message_id, (1,), {"a": 2}, {"mine": "x"})
    assert abs(seen[1] - made.message_timestamp) <= 1


def test_the_marks_of_failures_are_in_the_options(declare, run) -> None:
    def fails() -> None:
        seen.append(dict(current().options))
        raise RuntimeError(f"boom {len(seen)}")

    before = time.time() * 1000
    run(declare(fails, **RETRIED).send())
    first, second, third = seen
    assert first == {}
    assert (second["retries"], third["retries"]) == (1, 2)
    assert "boom 1" in second["traceback"]
    assert "boom 2" in third["traceback"]
    for mark in (second, third):
        assert before - 5_000 < mark["requeue_timestamp"] < time.time() * 1000 + 5_000


@pytest.mark.parametrize("kind", ["returns", "raises", "throws", "retries"])
def test_hooks_are_called_in_the_stock_order(scheduled, declare, run, kind: str) -> None:
    names = [f"{when}_{what}" for what in ("process_message", "ack", "nack", "enqueue") for when in ("before", "after")]
    scheduled.broker.add_middleware(note_calls(*names))

    def work() -> None:
        if kind == "retries" and current().options.get("retries"):
            return
        if kind != "returns":
            raise ValueError

    options: dict[str, Any] = {"retries": RETRIED, "throws": {"throws": ValueError}}.get(kind, {"max_retries": 0})
    run(declare(work, **options).send())
    wait_until(lambda: seen[-1][0] in ("after_ack", "after_nack"))
    sent = [("before_enqueue", None, None), ("after_enqueue", None, None)]
    began, ended = ("before_process_message", None, False), ("after_process_message", None, False)
    acknowledged = [("before_ack", None, False), ("after_ack", None, False)]
    assert (
        seen
        == {
            "returns": [*sent, began, ended, *acknowledged],
            # As in Dramatiq, a middleware that was added later sees the end before Retries has counted it.
            "raises": [*sent, began, ended, ("before_nack", 1, True), ("after_nack", 1, True)],
            "throws": [*sent, began, ended, ("before_nack", None, True), ("after_nack", None, True)],
            "retries": [
                *(*sent, began, ended, ("before_enqueue", 1, False), ("after_enqueue", 1, False)),
                *(("before_ack", 1, False), ("after_ack", 1, False)),
                *(("before_process_message", 1, False), ("after_process_message", 1, False)),
                *(("before_ack", 1, False), ("after_ack", 1, False)),
            ],
        }[kind]
    )


def test_callbacks_count_as_stock_counts(declare, run) -> None:
    def after(message: dict[str, Any], what: Any) -> None:
        seen.append((message["options"].get("retries"), "boom" in message["options"].get("traceback", ""), what))

    def work() -> None:
        raise ValueError("boom")

    declare(after)
    sent = declare(work, on_failure="after", on_retry_exhausted="after", **{**RETRIED, "max_retries": 1}).send()
    run(sent)
    wait_until(lambda: len(seen) == 3)
    details = {"type": "ValueError", "message": "boom"}
    assert sorted(seen, key=repr) == [
        (1, True, details), (2, True, {"retries": 1, "max_retries": 1}), (2, True, details),
    ]  # fmt: skip


# --- Skipped and failed messages ---


def hook_that(name: str, act: Any) -> dramatiq.Middleware:
    def hook(self: Any, broker: Any, message: Any, **_: Any) -> None:
        act(message)

    made: dramatiq.Middleware = type("Acting", (dramatiq.Middleware,), {name: hook})()
    return made


def skip(message: Any) -> None:
    raise SkipMessage("not today")


def fail(message: Any) -> None:
    message.fail()


def fail_and_skip(message: Any) -> None:
    message.fail()
    raise SkipMessage("too old")


def refuse(message: Any) -> None:
    raise MiddlewareError("refused")


@pytest.mark.parametrize(
    ("hook", "act", "status", "error"),
    [
        ("before_process_message", skip, Status.CANCELLED, "SkipMessage: not today"),
        ("before_process_message", fail, Status.DEAD, "Rejected: a middleware failed the message before its run"),
        ("before_process_message", fail_and_skip, Status.DEAD, "SkipMessage: too old"),
        (
            "after_process_message",
            fail,
            Status.DEAD,
            "Rejected: the actor returned, but a middleware failed its message",
        ),
        ("before_process_message", refuse, Status.DEAD, "MiddlewareError: refused"),
    ],
)
def test_what_a_hook_stops_has_not_succeeded(scheduled, declare, run, hook, act, status, error) -> None:
    scheduled.broker.add_middleware(hook_that(hook, act))
    work = declare(lambda: seen.append("ran"), actor_name="work", max_retries=0 if act is refuse else 3)
    task = run(work.send())
    assert (task.status, task.error[: len(error)]) == (status, error)
    assert seen == (["ran"] if hook == "after_process_message" else [])
    letters = DeadLetter.objects.filter(task_id=task.pk)
    assert letters.count() == (status == Status.DEAD)
    if act is not refuse and status == Status.DEAD:
        assert letters.get().reason == DeathReason.NOT_RETRYABLE
    assert Attempt.objects.filter(task_id=task.pk).count() == 1


def test_a_hook_that_fails_a_failed_message_leaves_no_retry(scheduled, declare, run) -> None:
    scheduled.broker.add_middleware(hook_that("after_process_message", fail))

    def work() -> None:
        seen.append("ran")
        raise RuntimeError("boom")

    task = run(declare(work, **RETRIED).send())
    assert (task.status, task.error, seen) == (Status.DEAD, "RuntimeError: boom", ["ran"])


def test_an_actor_that_skips_itself_is_not_retried(declare, run) -> None:
    def work() -> None:
        seen.append("ran")
        raise SkipMessage("nothing to do")

    task = run(declare(work, **RETRIED).send())
    assert (task.status, task.error, seen) == (Status.CANCELLED, "SkipMessage: nothing to do", ["ran"])


def test_a_skipped_message_is_shown_as_skipped(scheduled, declare, run) -> None:
    scheduled.broker.add_middleware(hook_that("before_process_message", skip))
    scheduled.broker.add_middleware(
        note_calls("after_process_message", "after_skip_message", "after_ack", "after_nack")
    )
    run(declare(lambda: None, actor_name="work").send())
    wait_until(lambda: len(seen) == 2)
    assert [name for name, *_ in seen] == ["after_skip_message", "after_ack"]


def test_a_busy_rate_limiter_is_retried(declare, run) -> None:
    def work() -> None:
        seen.append(1)
        if len(seen) < 3:
            raise RateLimitExceeded("busy")

    assert run(declare(work, **RETRIED).send()).status == Status.SUCCEEDED


# --- Shutdown ---


@pytest.mark.parametrize(("notify", "ended"), [(False, "done"), (True, "Shutdown"), (None, "Shutdown")])
def test_a_shutdown_interrupts_only_who_wants_it(scheduled, declare, settings, notify: Any, ended: str) -> None:
    settings.SHUTDOWN_GRACE_SECONDS = 60 if notify else 0.1
    started = threading.Event()

    def work() -> None:
        started.set()
        try:
            for _ in range(60):
                time.sleep(0.01)
            seen.append("done")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    sent = declare(work, max_retries=0, notify_shutdown=notify).send()
    scheduled.start_worker()
    assert started.wait(10)
    scheduled.stop_worker()
    assert seen == [ended]
    task = Task.objects.get(pk=sent.message_id)
    assert task.status in ({Status.SUCCEEDED} if ended == "done" else WAITING)
    assert task.failures == 0


# --- Results in the team's own backend ---


def test_a_result_backend_of_the_teams_own_keeps_results_under_the_stock_key(scheduled, declare, run) -> None:
    from dramatiq.results import ResultFailure, Results
    from dramatiq.results.backends import StubBackend

    backend = StubBackend()
    scheduled.broker.add_middleware(Results(backend=backend))

    def work(n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        return n

    actor = declare(work, store_results=True, max_retries=0, queue_name="mail")
    good, bad = actor.send(42), actor.send(-1)
    pipe = (actor.message(1) | actor.message_with_options(args=(2,), pipe_ignore=True)).run()
    run(good, bad)
    assert backend.get_result(good, block=True) == 42
    with pytest.raises(ResultFailure) as told:
        backend.get_result(bad, block=True)
    assert (told.value.orig_exc_type, told.value.orig_exc_msg) == ("ValueError", "negative")
    assert backend.get_result(pipe.messages[1], block=True) == 2
