"""Real workers with threads; after Dramatiq's ``test_worker``, ``test_stub_broker`` and ``test_shutdown``."""

import asyncio
import threading
from typing import Any

import dramatiq
import pytest
from dramatiq import group
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.errors import QueueJoinTimeout
from dramatiq.results import ResultFailure, ResultTimeout

from tasks.models import Task
from tasks.states import WAITING, Status
from tests.compat.suite.naps import forget, got, nap, runs
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _broker(scheduled: Any) -> None:
    """Give each test a scheduler; it starts its worker when its actors are declared."""
    forget()


# --- Joining ---


def test_messages_are_joined(scheduled) -> None:
    actor = dramatiq.actor(nap)
    for _ in range(5):
        actor.send(0)
    scheduled.start_worker()
    scheduled.broker.join("default")
    assert got == ["done"] * 5


def test_joining_can_time_out(scheduled) -> None:
    dramatiq.actor(nap).send(1)
    scheduled.start_worker()
    with pytest.raises(QueueJoinTimeout):
        scheduled.broker.join("default", timeout=200)


@pytest.mark.differs("another process may have run it: ResultFailure names the exception's type and text")
def test_joining_raises_what_an_actor_raised(scheduled) -> None:
    @dramatiq.actor(max_retries=0)
    def breaks() -> None:
        raise ValueError("no")

    breaks.send()
    scheduled.start_worker()
    with pytest.raises(ResultFailure, match="ValueError: no"):
        scheduled.broker.join("default", fail_fast=True)


# --- Threads ---


def test_a_group_runs_at_the_same_time(scheduled) -> None:
    barrier = threading.Barrier(3)
    actor = dramatiq.actor(actor_name="meet", store_results=True)(lambda: barrier.wait(10) >= 0)
    work = group(actor.message() for _ in range(3)).run()
    scheduled.start_worker()
    assert list(work.get_results(block=True, timeout=20_000)) == [True] * 3


def test_waiting_for_a_running_group_can_time_out(scheduled) -> None:
    work = group([dramatiq.actor(store_results=True)(nap).message(1)]).run()
    scheduled.start_worker()
    with pytest.raises(ResultTimeout):
        work.wait(timeout=100)


def test_a_result_can_be_awaited_while_it_runs(scheduled) -> None:
    sent = dramatiq.actor(store_results=True)(nap).send(0.2)
    scheduled.start_worker()
    assert sent.get_result(block=True, timeout=20_000) == 0.2


def test_coroutines_run_on_one_event_loop(scheduled) -> None:
    @dramatiq.actor
    async def where() -> None:
        await asyncio.sleep(0)
        got.append(threading.get_ident())

    for _ in range(3):
        where.send()
    scheduled.start_worker()
    scheduled.broker.join("default")
    loop: Any = get_event_loop_thread()
    assert got == [loop.ident] * 3


def test_the_event_loop_ends_with_its_worker(scheduled) -> None:
    scheduled.start_worker()
    assert get_event_loop_thread() is not None
    scheduled.stop_worker()
    assert get_event_loop_thread() is None


def test_a_worker_can_be_paused(scheduled) -> None:
    actor = dramatiq.actor(nap)
    scheduled.start_worker()
    scheduled.worker.pause()
    sent = actor.send(0)
    wait_until(lambda: Task.objects.filter(pk=sent.message_id).exclude(status=Status.PENDING).exists())
    assert got == []
    scheduled.worker.resume()
    scheduled.broker.join("default")
    assert got == ["done"]


def test_a_worker_serves_only_its_queues(scheduled) -> None:
    mail = dramatiq.actor(actor_name="mail_one", queue_name="mail")(lambda: got.append("mail"))
    other = dramatiq.actor(actor_name="other_one")(lambda: got.append("other"))
    sent = other.send()
    mail.send()
    scheduled.start_worker(queues={"mail"})
    scheduled.broker.join("mail")
    assert (got, Task.objects.get(pk=sent.message_id).status) == (["mail"], Status.PENDING)


@pytest.mark.differs("a worker gets tasks of the actors that it knew when it started")
def test_a_worker_runs_actors_that_are_declared_later(scheduled) -> None:
    scheduled.start_worker()
    late, early = dramatiq.actor(actor_name="late")(lambda: None), dramatiq.get_broker().actors["note"]
    sent = late.send()
    scheduled.wait_for(Task.objects.get(pk=early.send().message_id))
    assert Task.objects.get(pk=sent.message_id).status == Status.PENDING


# --- The end of a worker ---


def end_while_it_runs(scheduled: Any, sent: Any) -> Task:
    """Stop the worker once the message runs."""
    scheduled.start_worker()
    assert runs.wait(10)
    scheduled.stop_worker()
    return Task.objects.get(pk=sent.message_id)


@pytest.mark.parametrize(
    ("actor", "message", "told"),
    [
        (True, None, True), (True, True, True), (True, False, False),
        (False, None, False), (False, True, True), (False, False, False),
        (None, True, True), (None, False, False),
    ],
)  # fmt: skip
def test_an_actor_or_its_message_may_ask_to_be_told(scheduled, settings, actor, message, told: bool) -> None:
    settings.SHUTDOWN_GRACE_SECONDS = 30 if told else 0.1
    options = {} if message is None else {"notify_shutdown": message}
    sent = dramatiq.actor(notify_shutdown=actor)(nap).send_with_options(args=(8 if told else 0.8,), **options)
    task = end_while_it_runs(scheduled, sent)
    assert got == (["Shutdown"] if told else ["done"])
    assert (task.status in WAITING) is told


def test_what_has_ended_is_not_told(scheduled) -> None:
    sent = dramatiq.actor(notify_shutdown=True)(nap).send(0)
    scheduled.start_worker()
    scheduled.broker.join("default")
    scheduled.stop_worker()
    assert got == ["done"]
    assert Task.objects.get(pk=sent.message_id).status == Status.SUCCEEDED


def test_what_has_not_started_is_given_back_at_the_end(scheduled, settings) -> None:
    settings.SHUTDOWN_GRACE_SECONDS = 10
    actor = dramatiq.actor(nap)
    for _ in range(2):
        actor.send(0.5)
    scheduled.start_worker(threads=1)
    assert runs.wait(10)
    scheduled.stop_worker()
    statuses = sorted(Task.objects.values_list("status", flat=True))
    assert statuses[1] == Status.SUCCEEDED
    assert statuses[0] in WAITING


def test_what_is_delayed_stays_at_the_end(scheduled) -> None:
    sent = dramatiq.actor(nap).send_with_options(args=(0,), delay=60_000)
    scheduled.start_worker()
    scheduled.stop_worker()
    assert Task.objects.get(pk=sent.message_id).status == Status.PENDING


@pytest.mark.differs("without notify_shutdown an actor is interrupted at the end of the grace period")
def test_an_actor_that_does_not_ask_is_never_told(scheduled, settings) -> None:
    settings.SHUTDOWN_GRACE_SECONDS = 0.1
    task = end_while_it_runs(scheduled, dramatiq.actor(nap).send(8))
    assert got == ["Shutdown"]
    assert task.status in WAITING
    assert task.failures == 0
