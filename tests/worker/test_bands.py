"""Workers that serve single bands: which tasks they are offered and take, and how they register."""

import pytest
from dramatiq.brokers.stub import StubBroker

from tasks.models import Worker
from tasks.queries import capacity
from tasks.worker.runtime import _served
from tests import actors, factories
from tests.factories import submit
from tests.waiting import wait_until


def test_nothing_is_dispatched_to_a_band_without_workers(scheduled) -> None:
    low, medium, high = (submit("note", args=[priority], priority=priority) for priority in (2, 5, 9))
    scheduled.start_worker(queues={"default.high", "default.low"})
    scheduled.wait_for(high, low)
    medium.refresh_from_db()
    assert (medium.status, medium.dispatch) == ("PENDING", 0)
    assert scheduled.broker.source.depth(["default.medium"]) == {"default.medium": 0}


def test_what_another_band_left_in_the_broker_is_not_taken(scheduled) -> None:
    scheduled.start_worker(queues={"default.high"})
    wait_until(lambda: [(one.queue, one.name, one.threads) for one in capacity.by_band()] == [("default", "high", 4)])
    hint = factories.dispatch(submit("note", args=["low"], priority=1))
    scheduled.broker.source.publish_many([("default.low", hint)])
    scheduled.wait_for(submit("note", args=["high"], priority=9))
    assert [args for args, _ in actors.noted] == [("high",)]
    assert scheduled.broker.source.depth(["default.low"]) == {"default.low": 1}


def test_a_worker_registers_what_it_serves(idle_engine) -> None:
    idle_engine.start_worker(queues={"default.high", "other"})
    assert idle_engine.runtime.served == ["default.high", "other.high", "other.medium", "other.low"]
    assert Worker.objects.get().queues == ["default.high", "other"]


def test_by_default_a_worker_serves_everything(inprocess_broker) -> None:
    served = _served(inprocess_broker, None)
    assert sorted(served) == sorted(name for name in inprocess_broker.get_declared_queues() if not name.endswith(".DQ"))
    assert [name.rpartition(".")[2] for name in served] == sorted(
        (name.rpartition(".")[2] for name in served), key=["high", "medium", "low"].index
    )


@pytest.mark.parametrize("name", ["defalut", "defalut.high", "default.urgent"])
def test_an_unknown_queue_is_refused_and_the_declared_ones_are_named(inprocess_broker, name: str) -> None:
    with pytest.raises(SystemExit, match=f"no actor declares {name}; declared are: .*default"):
        _served(inprocess_broker, {"default", name})


def test_a_queue_cannot_be_named_like_a_band(inprocess_broker) -> None:
    assert isinstance(inprocess_broker, StubBroker)
    with pytest.raises(ValueError, match=r"without a band's ending, got 'mail\.high'"):
        inprocess_broker.declare_queue("mail.high")
