"""Failures, retries and what is never retried; after Dramatiq's ``middleware/test_retries``."""

import logging
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.db.models.functions import Now

from dlq.models import DeadLetter
from tasks.models import Attempt, Task
from tasks.states import DeathReason, Status
from tasks.testing import drain

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def failing(error: BaseException | type[BaseException] = RuntimeError, *, times: int = 1_000, **options: Any) -> Any:
    """Declare an actor that fails so many times."""

    @dramatiq.actor(**options)
    def work() -> str:
        ran.append(1)
        if len(ran) <= times:
            raise error
        return "done"

    return work


def wait_of(message: Any) -> float:
    """Run what is due, and return the seconds between its failure and its next attempt."""
    drain()
    task = Task.objects.get(pk=message.message_id)
    failed_at = Attempt.objects.filter(task=task).latest("number").finished_at
    assert task.status == Status.RETRYING
    return (task.run_at - failed_at).total_seconds()


def test_a_failure_is_retried(run) -> None:
    task = run(failing(times=1).send())
    assert (task.status, task.result, len(ran)) == (Status.SUCCEEDED, "done", 2)


def test_several_failures_are_retried(run) -> None:
    assert run(failing(times=3, max_retries=3).send()).status == Status.SUCCEEDED
    assert len(ran) == 4


@pytest.mark.parametrize("most", [0, 1, 3])
def test_retries_have_an_end(run, most: int) -> None:
    assert run(failing(max_retries=most).send()).status == Status.DEAD
    assert len(ran) == most + 1


def test_a_message_can_have_fewer_or_more_retries(run) -> None:
    run(failing(max_retries=9).send_with_options(max_retries=4))
    assert len(ran) == 5


def test_no_end_is_none() -> None:
    sent = failing(max_retries=None, min_backoff=60_000, max_backoff=60_000).send()
    drain(until=timedelta(minutes=60))
    assert Task.objects.get(pk=sent.message_id).status == Status.RETRYING
    assert len(ran) > 40


def test_an_age_limit_ends_retries(run) -> None:
    task = run(failing(max_age=60_000, min_backoff=40_000, max_backoff=40_000, max_retries=99).send())
    assert (task.status, len(ran)) == (Status.DEAD, 2)
    assert DeadLetter.objects.get(task_id=task.pk).reason == DeathReason.AGE_LIMIT_EXCEEDED


def test_a_retry_waits_for_its_backoff() -> None:
    assert 10 <= wait_of(failing(min_backoff=10_000, max_retries=1).send()) < 13


def test_a_backoff_grows() -> None:
    sent, waits = failing(min_backoff=1_000, max_backoff=1_000_000, max_retries=4).send(), []
    for _ in range(3):
        waits.append(wait_of(sent))
        Task.objects.update(run_at=Now())
    assert waits[0] < waits[1] < waits[2]


def test_a_backoff_has_an_upper_bound() -> None:
    assert wait_of(failing(min_backoff=60_000, max_backoff=2_000, max_retries=1).send()) <= 2.6


@pytest.mark.parametrize("place", ["actor", "message"])
@pytest.mark.parametrize("option", ["min_backoff", "max_backoff"])
def test_a_backoff_can_be_zero(place: str, option: str) -> None:
    long: dict[str, Any] = {"min_backoff": 100_000, "max_backoff": 100_000}
    work = failing(max_retries=5, **({**long, option: 0} if place == "actor" else long))
    sent = work.send_with_options(**({option: 0} if place == "message" else {}))
    drain()
    assert (Task.objects.get(pk=sent.message_id).status, len(ran)) == (Status.DEAD, 6)


def test_a_predicate_decides(run) -> None:
    work = failing(retry_when=lambda retries, error: retries < 3, max_retries=0)
    run(work.send())
    assert len(ran) == 4


def test_a_predicate_sees_the_exception(run) -> None:
    run(failing(ValueError, retry_when=lambda retries, error: isinstance(error, KeyError)).send())
    assert len(ran) == 1


class First(Exception):
    """A kind of failure."""


class Second(Exception):
    """Another kind."""


@pytest.mark.parametrize(("error", "throws"), [(First, First), (First, (First,)), (Second, (First, Second))])
def test_what_an_actor_throws_is_not_retried_and_no_error_in_the_log(run, caplog, error: Any, throws: Any) -> None:
    with caplog.at_level(logging.INFO, logger="dramatiq"):
        task = run(failing(error("expected"), throws=throws).send())
    assert (task.status, len(ran)) == (Status.DEAD, 1)
    assert [one.levelno for one in caplog.records if "with expected exception" in one.message] == [logging.INFO]
    assert not [one for one in caplog.records if one.name.startswith("dramatiq") and one.levelno > logging.INFO]


def test_what_is_thrown_by_a_subclass_counts_too(run) -> None:
    class Third(First):
        pass

    run(failing(Third, throws=First).send())
    assert len(ran) == 1


def test_a_wanted_retry_is_not_logged_as_an_error(run, caplog) -> None:
    with caplog.at_level(logging.INFO):
        run(failing(dramatiq.Retry(), max_retries=0).send())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_wanted_retry_can_name_its_delay() -> None:
    assert 59 <= wait_of(failing(dramatiq.Retry(delay=60_000), max_retries=1).send()) <= 61


def test_wanted_retries_have_an_end_too(run) -> None:
    run(failing(dramatiq.Retry(delay=1), max_retries=2).send())
    assert len(ran) == 3


def test_an_actor_for_the_last_failure_is_told_how_many_retries_there_were(run) -> None:
    told: list[Any] = []

    @dramatiq.actor
    def exhausted(message: dict[str, Any], retries: dict[str, Any]) -> None:
        told.append((message["actor_name"], retries))

    run(failing(max_retries=2, on_retry_exhausted="exhausted").send())
    assert told == [("work", {"retries": 2, "max_retries": 2})]


def test_an_actor_for_the_last_failure_can_be_named_by_a_message(run) -> None:
    dramatiq.actor(actor_name="exhausted")(lambda message, retries: ran.append("exhausted"))
    run(failing(max_retries=0).send_with_options(on_retry_exhausted="exhausted"))
    assert ran == [1, "exhausted"]


def test_it_is_not_told_of_what_was_thrown(run) -> None:
    dramatiq.actor(actor_name="exhausted")(lambda message, retries: ran.append("exhausted"))
    run(failing(First, throws=First, on_retry_exhausted="exhausted").send())
    assert ran == [1]


def test_an_invalid_throws_is_refused_when_it_is_declared() -> None:
    with pytest.raises(Exception, match="throws"):
        failing(throws="RuntimeError")


@pytest.mark.differs("the default is 3 retries instead of 20, unless DRAMATIQ_DEFAULTS=true")
def test_without_an_option_there_are_twenty_retries(run) -> None:
    assert run(failing().send()).status == Status.DEAD
    assert len(ran) == 4


def test_the_dead_can_be_found(run) -> None:
    task = run(failing(max_retries=1).send())
    assert DeadLetter.objects.get(task_id=task.pk).reason == DeathReason.MAX_RETRIES_EXCEEDED
