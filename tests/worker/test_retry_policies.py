"""``retry_policies``: when, where and how often a task is retried depends on the exception; the first to fit counts."""

from typing import Any
from unittest.mock import Mock

import dramatiq
import pytest

from tasks import lifecycle
from tasks.lifecycle import Outcome
from tasks.models import Task
from tasks.retry import RetryPolicy
from tasks.states import DeathReason, Status
from tasks.worker.middleware import Compatibility, InvalidOption
from tests.factories import failure, start, submit
from tests.worker.runs import decide


def fail(error: BaseException, **claim: Any) -> Outcome:
    return decide(actor="patient", error=error, **{"max_retries": 1, **claim})


def test_a_policy_decides_when_where_and_how_urgently_a_task_runs_again() -> None:
    for error in (ConnectionResetError(), TimeoutError()):
        said = fail(error, failures=5)
        assert (said.death, said.retry_delay_seconds) == (None, 60)
        assert (said.retry_queue, said.retry_priority) == ("other", 2)


def test_what_a_policy_leaves_out_is_as_the_task_says() -> None:
    said = fail(PermissionError())
    assert (said.death, said.retry_delay_seconds, said.retry_queue, said.retry_priority) == (None, 1, None, None)
    assert fail(PermissionError(), failures=1).death is DeathReason.MAX_RETRIES_EXCEEDED


def test_an_error_without_a_policy_is_retried_as_ever() -> None:
    said = fail(RuntimeError())
    assert 2 <= said.retry_delay_seconds <= 2.5
    assert (said.retry_queue, said.retry_priority) == (None, None)


def test_a_policy_can_forbid_retries() -> None:
    assert fail(KeyError()).death is DeathReason.MAX_RETRIES_EXCEEDED
    assert fail(RuntimeError()).death is None


def test_a_delay_that_the_error_names_comes_first() -> None:
    class Later(dramatiq.Retry, ConnectionError):
        pass

    assert fail(Later("wait", delay=5_000)).retry_delay_seconds == 5


@pytest.mark.django_db
def test_the_row_moves_to_the_policy_s_queue_and_a_death_leaves_it(worker) -> None:
    retried, dead = submit(), submit()
    moved = {"retry_queue": "other", "retry_priority": 1}
    lifecycle.complete_many(
        [
            failure(start(retried, worker), worker, **moved),
            failure(start(dead, worker), worker, death=DeathReason.NOT_RETRYABLE, **moved),
        ]
    )
    rows = {task.pk: (task.status, task.queue, task.priority) for task in Task.objects.all()}
    assert rows == {retried.pk: (Status.RETRYING, "other", 1), dead.pk: (Status.DEAD, "default", 5)}


def test_the_queue_of_a_policy_is_declared() -> None:
    broker = Mock()
    Compatibility().before_declare_actor(broker, dramatiq.get_broker().actors["patient"])
    broker.declare_queue.assert_called_once_with("other")


def _nothing() -> None: ...


@pytest.mark.parametrize(
    ("policies", "wanted"),
    [
        (5, "a list of RetryPolicy"),
        ([ValueError], "a list of RetryPolicy"),
        ([RetryPolicy(on=())], "on as classes of exceptions"),
        ([RetryPolicy(on="ValueError")], "on as classes of exceptions"),  # type: ignore[arg-type]
        ([RetryPolicy(on=(ValueError, int))], "on as classes of exceptions"),  # type: ignore[arg-type]
        ([RetryPolicy(on=ValueError, delay=-1)], "delay as milliseconds"),
        ([RetryPolicy(on=ValueError, delay=float("nan"))], "delay as milliseconds"),
        ([RetryPolicy(on=ValueError, max_retries=-1)], "max_retries from 0 on"),
        ([RetryPolicy(on=ValueError, priority=11)], "priority from 1 to 10"),
        ([RetryPolicy(on=ValueError, queue="")], "queue as a name"),
    ],
)
def test_a_policy_that_is_not_valid_is_refused_where_the_actor_is_declared(policies: Any, wanted: str) -> None:
    with pytest.raises(InvalidOption, match=wanted):
        dramatiq.actor(actor_name="badly_declared", retry_policies=policies)(_nothing)
