"""Limits of age and time, and the end of a worker; after Dramatiq's ``middleware/test_time_limit`` and others."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import TimeLimitExceeded
from dramatiq.middleware.threading import Interrupt, raise_thread_exception

from dlq.models import DeadLetter
from tasks.models import Task
from tasks.states import DeathReason, Status
from tasks.testing import drain, perform, travel
from tests.compat.suite.naps import forget, got, nap
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    forget()


# --- Age ---


def too_old(message: Any) -> bool:
    """Whether a message dies of its age after an hour."""
    with travel(by=timedelta(hours=1)):
        drain()
    task = Task.objects.get(pk=message.message_id)
    if task.status == Status.DEAD:
        assert DeadLetter.objects.get(task_id=task.pk).reason == DeathReason.AGE_LIMIT_EXCEEDED
        assert got == []
    return bool(task.status == Status.DEAD)


def test_messages_of_an_actor_can_be_too_old() -> None:
    assert too_old(dramatiq.actor(max_age=60_000)(nap).send(0))


def test_a_message_can_be_too_old() -> None:
    assert too_old(dramatiq.actor(nap).send_with_options(args=(0,), max_age=60_000))


def test_a_message_can_be_older_than_its_actor_says() -> None:
    assert not too_old(dramatiq.actor(max_age=60_000)(nap).send_with_options(args=(0,), max_age=7_200_000))


def test_without_a_limit_no_message_is_too_old() -> None:
    assert not too_old(dramatiq.actor(nap).send(0))


def test_a_delay_counts_as_age() -> None:
    assert too_old(dramatiq.actor(max_age=60_000)(nap).send_with_options(args=(0,), delay=120_000))


# --- Time ---


def test_an_actor_can_have_a_time_limit(run) -> None:
    task = run(dramatiq.actor(max_retries=0, time_limit=50)(nap).send())
    assert (task.status, got) == (Status.DEAD, ["TimeLimitExceeded"])


def test_a_message_can_have_a_time_limit(run) -> None:
    run(dramatiq.actor(max_retries=0, time_limit=60_000)(nap).send_with_options(time_limit=50))
    assert got == ["TimeLimitExceeded"]


def test_a_time_limit_is_retried_like_a_failure(run) -> None:
    run(dramatiq.actor(max_retries=1, time_limit=50)(nap).send())
    assert got == ["TimeLimitExceeded"] * 2


def test_an_actor_may_handle_its_time_limit(run) -> None:
    @dramatiq.actor(time_limit=50)
    def work() -> str:
        try:
            nap()
        except TimeLimitExceeded:
            return "late"
        return "in time"

    assert run(work.send()).result == "late"


def test_a_short_run_is_not_interrupted(run) -> None:
    assert run(dramatiq.actor(time_limit=30_000)(nap).send(0)).status == Status.SUCCEEDED


def test_a_time_limit_can_be_infinite(run) -> None:
    assert run(dramatiq.actor(time_limit=float("inf"))(nap).send(0)).time_limit_seconds == 0


def test_a_coroutine_has_a_time_limit_too() -> None:
    async def work() -> None:
        await asyncio.sleep(20)

    with pytest.raises(TimeLimitExceeded):
        perform(dramatiq.actor(time_limit=50)(work))


# --- Exceptions in threads ---


def test_an_exception_can_be_raised_in_a_thread() -> None:
    def work() -> None:
        try:
            nap()
        except Interrupt:
            got.append("caught")

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: thread.ident)
    raise_thread_exception(thread.ident, Interrupt)
    thread.join(10)
    assert got == ["Interrupt", "caught"]


def test_a_missing_thread_is_told_in_the_log(caplog) -> None:
    raise_thread_exception(2**31 - 1, Interrupt)
    assert "Failed to set exception (Interrupt) in thread 2147483647." in caplog.text
