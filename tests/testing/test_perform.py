"""perform: one run of one actor, as in a worker."""

import time
from datetime import date

import pytest
from django.contrib.auth.models import Group

from dlq.models import DeadLetter
from tasks.errors import InvalidTask, Snooze
from tasks.models import Attempt, Task
from tasks.testing import drain, inline, perform
from tests.actors import act, act_async, add, limited, noted, ship, with_callbacks
from tests.testing import deeds
from tests.testing.deeds import groups, path

pytestmark = pytest.mark.django_db


def test_it_returns_what_the_actor_returns() -> None:
    assert perform(add, 1, b=2) == 3


def test_a_return_value_is_not_turned_into_json() -> None:
    assert perform(act, "return date") == date(2030, 1, 2)


def test_arguments_are_converted_and_checked_as_for_a_worker() -> None:
    assert perform(ship, order={"number": 1, "placed_on": "2030-01-02", "lines": ["a"]}) == "1/2030/1"
    with pytest.raises(InvalidTask, match=r"payload\.number"):
        perform(ship, order={"number": "x"})


def test_the_attempt_is_the_one_that_was_asked_for() -> None:
    assert perform(act, "attempt") == 1
    assert perform(act, "attempt", attempt=3) == 3
    assert perform(act, "call", path(deeds.fail_twice), attempt=3) == "at last"
    with pytest.raises(ValueError, match="from 1 on"):
        perform(act, "attempt", attempt=0)


def test_it_raises_what_the_actor_raises_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="mine") as caught:
        perform(act, "raise", "mine")
    assert [entry.name for entry in caught.traceback][-2:] == ["<lambda>", "_raise"]


def test_a_snooze_is_raised() -> None:
    with pytest.raises(Snooze) as caught:
        perform(act, "snooze", 30)
    assert caught.value.delay_seconds == 30


def test_a_message_brings_its_options() -> None:
    from dramatiq.middleware import TimeLimitExceeded

    with pytest.raises(TimeLimitExceeded):
        perform(act.message_with_options(args=("call", path(deeds.busy_for_long)), time_limit=100))
    assert perform(add.message(1, 2)) == 3
    assert perform(add.message_with_options(args=(1, 2), eta=(time.time() + 3600) * 1000)) == 3


def test_a_coroutine_works() -> None:
    assert perform(act_async, "call", path(deeds.create_group)) == ["async"]


def test_the_actor_may_commit_its_own_success() -> None:
    assert perform(act, "call", path(deeds.complete)) is None
    assert groups() == ["durable"]


def test_nothing_of_the_task_is_left() -> None:
    with pytest.raises(RuntimeError):
        perform(act, "raise")
    assert not Task.objects.exists()
    assert not Attempt.objects.exists()
    assert drain() == []


def test_the_last_attempt_leaves_its_dead_letter() -> None:
    with pytest.raises(RuntimeError):
        perform(limited, attempt=2)
    assert DeadLetter.objects.get().reason == "max_retries_exceeded"


def test_what_it_writes_and_submits_stays() -> None:
    perform(with_callbacks, "return")
    Group.objects.create(name="the test's")
    assert [task.actor for task in drain()] == ["note"]
    assert len(noted) == 1


def test_inline_does_not_run_it_a_second_time() -> None:
    with inline():
        perform(act, "call", path(deeds.bell))
        add.send(1)
    assert len(noted) == 1
