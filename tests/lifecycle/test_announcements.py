"""Signals after a write: they are sent in any kind of transaction, and no error of a receiver reaches the caller."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from dramatiq.middleware import Interrupt, TimeLimitExceeded

from tasks import lifecycle
from tasks.broker.notifier import Event, notifier
from tasks.lifecycle import Submission, announcements, queues, transitioned
from tasks.models import Queue, Task
from tasks.states import Status
from tests import actors
from tests.factories import make_task

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def autocommit_off() -> Iterator[None]:
    transaction.set_autocommit(False)
    try:
        yield
    except BaseException:
        transaction.rollback()
        raise
    finally:
        transaction.set_autocommit(True)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    verbs: list[str] = []

    def hear(*, verb: str, **_: Any) -> None:
        verbs.append(verb)

    transitioned.connect(hear)
    yield verbs
    transitioned.disconnect(hear)


@contextmanager
def receiver(receive: Any) -> Iterator[None]:
    transitioned.connect(receive)
    try:
        yield
    finally:
        transitioned.disconnect(receive)


# --- Autocommit off ---


def test_send_writes_its_row_and_is_heard_once_autocommit_is_on_again(heard) -> None:
    with autocommit_off():
        message = actors.add.send(1)
        assert heard == []
        transaction.commit()
    assert Task.objects.get().pk.hex == message.message_id.replace("-", "")
    assert heard == ["submit"]


def test_a_move_that_was_rolled_back_is_not_announced(heard) -> None:
    with autocommit_off():
        actors.add.send(1)
        transaction.rollback()
        actors.add.send(2)
        transaction.commit()
    assert [task.args for task in Task.objects.all()] == [[2]]
    assert heard == ["submit"]


def test_every_way_in_and_every_verb_works(heard) -> None:
    dead = make_task(Status.DEAD)
    heard.clear()
    with autocommit_off():
        task = lifecycle.submit(Submission(actor="add", args=[1]))
        lifecycle.submit_many([Submission(actor="add", args=[1])] * 2)
        lifecycle.submit_once(Submission(actor="add", args=[1]), key="once")
        lifecycle.edit(task.pk, {"priority": 9})
        lifecycle.cancel(task.pk)
        lifecycle.retry(dead.pk)
        lifecycle.delete(task.pk)
        transaction.commit()
    assert Task.objects.count() == 4
    assert heard == ["submit", "submit", "submit", "edit", "cancel", "redrive"]


def test_a_queue_is_resumed(wakeups, monkeypatch) -> None:
    notified: list[Event] = []
    monkeypatch.setattr(notifier, "notify", notified.append)
    Queue.objects.get_or_create(name="default")
    queues.pause("default")
    with autocommit_off():
        assert queues.resume("default").paused_at is None
        transaction.commit()
    assert notified == [Event.DUE_ANYWHERE]


def test_a_process_that_never_switches_it_on_keeps_a_bounded_number_of_hooks(heard, monkeypatch) -> None:
    monkeypatch.setattr(announcements, "MOST_KEPT", 3)
    with autocommit_off():
        for _ in range(5):
            actors.add.send(1)
            transaction.commit()
        assert len(transaction.get_connection().run_on_commit) == 3
        assert heard == ["submit"] * 2
    assert heard == ["submit"] * 5


# --- Receivers ---


class Nameless:
    """A receiver without a ``__qualname__``, for which Django looks to say what went wrong."""

    def __call__(self, **_: Any) -> None:
        raise ValueError


def _raise(error: BaseException, **_: Any) -> None:
    raise error


@pytest.mark.parametrize("in_atomic", [False, True])
@pytest.mark.parametrize(
    "receive",
    [
        Nameless(),
        partial(_raise, ValueError()),
        partial(_raise, SystemExit()),
        partial(_raise, asyncio.CancelledError()),
        partial(_raise, RecursionError()),
    ],
)
def test_no_error_of_a_receiver_reaches_the_writer(receive: Any, in_atomic: bool) -> None:
    with receiver(receive):
        if in_atomic:
            with transaction.atomic():
                message = actors.add.send(1)
        else:
            message = actors.add.send(1)
    assert str(Task.objects.get().pk) == message.message_id


def test_an_async_receiver_inside_an_event_loop_does_no_harm(monkeypatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    async def receive(**_: Any) -> None:
        pytest.fail("it cannot be called from here")

    async def call() -> Task:
        return lifecycle.submit(Submission(actor="add", args=[1]))

    with receiver(receive):
        task = asyncio.run(call())
    assert Task.objects.get() == task


@pytest.mark.parametrize("error", [TimeLimitExceeded(), Interrupt(), KeyboardInterrupt()])
def test_an_interrupt_that_is_meant_for_the_caller_reaches_it(error: BaseException) -> None:
    receive = partial(_raise, error)
    with receiver(receive), pytest.raises(type(error)):
        actors.add.send(1)


def test_a_broken_transaction_is_refused_before_anything_is_written() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            actors.add.send(1)
    assert not Task.objects.exists()
