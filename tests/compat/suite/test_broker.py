"""The broker itself; after Dramatiq's ``test_broker``, ``test_stub_broker`` and ``test_redis``."""

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import QueueNotFound

from dlq.models import DeadLetter
from tasks.broker.brokers import RedisBroker
from tasks.errors import InvalidTask
from tasks.models import Journal, Task
from tasks.states import Status
from tasks.testing import drain
from tests import factories

got: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_got() -> None:
    got.clear()


@pytest.fixture
def work() -> Any:
    """An actor that notes its run."""
    return dramatiq.actor(actor_name="work", max_retries=0)(lambda n=0: got.append(n))


def test_the_broker_that_was_set_is_the_processs(broker) -> None:
    assert dramatiq.get_broker() is broker


def test_a_broker_is_one_of_dramatiqs(broker) -> None:
    assert isinstance(broker, StubBroker)


def test_a_queue_is_declared_once(broker) -> None:
    heard: list[str] = []

    class Hear(dramatiq.Middleware):
        def before_declare_queue(self, broker: Any, queue_name: str) -> None:
            heard.append(queue_name)

    broker.add_middleware(Hear())
    broker.declare_queue("twice")
    broker.declare_queue("twice")
    assert heard == ["twice.high", "twice.medium", "twice.low"]


@pytest.mark.differs("a queue has three bands, and a delay is in the row instead of in a queue of its own")
def test_a_queue_has_a_queue_for_delays(broker) -> None:
    broker.declare_queue("mail")
    assert {"mail.high", "mail.medium", "mail.low"} <= broker.get_declared_queues()
    assert broker.get_declared_delay_queues() == set()


@pytest.mark.differs("an undeclared queue is refused as InvalidTask, as every door refuses it")
def test_a_message_for_an_undeclared_queue_is_refused(broker, work) -> None:
    with pytest.raises(InvalidTask, match="nowhere"):
        broker.enqueue(work.message().copy(queue_name="nowhere"))
    assert not Task.objects.exists()


def test_an_undeclared_queue_cannot_be_joined(broker) -> None:
    with pytest.raises(QueueNotFound):
        broker.join("nowhere")


def test_an_undeclared_queue_cannot_be_flushed(broker) -> None:
    with pytest.raises(QueueNotFound):
        broker.flush("nowhere")


def test_a_queue_without_messages_is_joined_at_once(broker, work, run) -> None:
    run(work.send())
    broker.join("default")


def test_a_flushed_message_does_not_run(broker, work, run) -> None:
    sent = [work.send(), work.send_with_options(delay=60_000)]
    broker.flush("default")
    assert {task.status for task in run(*sent)} == {Status.CANCELLED}
    assert got == []
    assert set(Journal.objects.values_list("reason", flat=True)) == {"broker.flush()"}


def test_another_queue_is_not_flushed(broker, work, run) -> None:
    other = dramatiq.actor(actor_name="elsewhere_too", queue_name="mail")(lambda: got.append("ran"))
    work.send()
    other.send()
    broker.flush("default")
    run()
    assert got == ["ran"]


def test_all_queues_can_be_flushed(broker, work, run) -> None:
    other = dramatiq.actor(actor_name="elsewhere_too", queue_name="mail")(lambda: got.append("ran"))
    work.send()
    other.send()
    broker.flush_all()
    run()
    assert got == []


def test_what_has_ended_is_not_flushed(broker, work, run) -> None:
    sent = work.send()
    run()
    broker.flush_all()
    assert Task.objects.get(pk=sent.message_id).status == Status.SUCCEEDED


def test_what_runs_is_not_flushed(broker, worker) -> None:
    task = factories.make_task(Status.RUNNING, worker=worker)
    broker.flush_all()
    task.refresh_from_db()
    assert (task.status, task.cancel_requested_at) == (Status.RUNNING, None)


@pytest.mark.differs("dead letters are rows that a person resolves, and no flush empties them")
def test_a_flush_empties_the_dead_letters(broker, run) -> None:
    @dramatiq.actor(max_retries=0)
    def breaks() -> None:
        raise RuntimeError

    run(breaks.send())
    broker.flush_all()
    assert DeadLetter.objects.filter(resolution="").count() == 1


def test_the_last_failure_becomes_a_dead_letter(run) -> None:
    @dramatiq.actor(max_retries=0)
    def breaks() -> None:
        raise RuntimeError("no")

    task = run(breaks.send())
    letter = DeadLetter.objects.get()
    assert (letter.task_id, letter.error_type, letter.error_message) == (task.pk, "RuntimeError", "no")


def test_a_broker_can_be_closed(broker) -> None:
    broker.close()


def test_an_attribute_that_a_broker_has_not_is_an_error(broker) -> None:
    with pytest.raises(AttributeError):
        broker.nothing  # noqa: B018


def test_a_broker_finds_its_result_backend(broker, work, run) -> None:
    sent = work.send()
    drain()
    assert broker.get_results_backend().get_result(sent) is None


def test_a_redis_broker_connects_to_a_url() -> None:
    made = RedisBroker(url="redis://127.0.0.1:1/4")
    assert made.client.connection_pool.connection_kwargs["db"] == 4
    made.close()


@pytest.mark.differs("a Redis broker is made of a URL, from which each process makes its own client")
def test_a_redis_broker_takes_a_client() -> None:
    make: Any = RedisBroker
    with pytest.raises(TypeError, match="client"):
        make(client=object())
