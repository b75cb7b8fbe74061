"""Workers that serve one band: what they are offered, what they take, and what they do not count for."""

import pytest
from dramatiq.brokers.stub import StubBroker

from tasks.lifecycle import workers
from tasks.models import Queue, Worker
from tasks.worker.runtime import _served
from tests import actors, factories
from tests.factories import make_worker, submit
from tests.waiting import wait_until


def services() -> dict[tuple[str, str], int]:
    return {(one.queue, one.band): one.threads for one in workers.services()}


def test_a_worker_counts_only_for_the_bands_that_it_serves(db) -> None:
    make_worker(threads=3, queues=("default",))
    make_worker(threads=10, queues=("default.high", "other.low"))
    assert services() == {
        ("default", "high"): 13, ("default", "medium"): 3, ("default", "low"): 3, ("other", "low"): 10,
    }  # fmt: skip


def test_bands_are_offered_high_first(db) -> None:
    make_worker(queues=("other", "default"))
    order = [(one.queue, one.band) for one in workers.services()]
    assert order == [(queue, band) for queue in ("default", "other") for band in ("high", "medium", "low")]


def test_a_band_knows_the_actors_of_its_own_workers(db) -> None:
    Worker.objects.filter(pk=make_worker(queues=("default.high",)).pk).update(actors=["only_here"])
    Worker.objects.filter(pk=make_worker(queues=("default.low",)).pk).update(actors=["only_there"])
    assert {one.band: one.actors for one in workers.services()} == {"high": ["only_here"], "low": ["only_there"]}


def test_silent_draining_and_paused_are_no_service(db) -> None:
    factories.let_lease_run_out(make_worker(queues=("default.high",)))
    workers.ask_to_drain([make_worker(queues=("default.low",)).pk])
    make_worker(queues=("other",))
    Queue.objects.filter(name="other").update(paused_at=factories.database_now())
    assert services() == {}


def test_a_band_that_nobody_serves_gets_nothing_dispatched(scheduled) -> None:
    low, medium, high = (submit("note", args=[priority], priority=priority) for priority in (2, 5, 9))
    scheduled.start_worker(queues={"default.high", "default.low"})
    scheduled.wait_for(high, low)
    medium.refresh_from_db()
    assert (medium.status, medium.dispatch) == ("PENDING", 0)
    assert scheduled.broker.source.depth(["default.medium"]) == {"default.medium": 0}


def test_what_another_band_left_in_the_broker_is_not_taken(scheduled) -> None:
    scheduled.start_worker(queues={"default.high"})
    wait_until(lambda: services() == {("default", "high"): 4})
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
def test_an_unknown_queue_is_refused_with_those_there_are(inprocess_broker, name: str) -> None:
    with pytest.raises(SystemExit, match=f"no actor declares {name}; declared are: .*default"):
        _served(inprocess_broker, {"default", name})


def test_a_queue_cannot_be_named_like_a_band(inprocess_broker) -> None:
    assert isinstance(inprocess_broker, StubBroker)
    with pytest.raises(ValueError, match=r"ends with no band's, got 'mail\.high'"):
        inprocess_broker.declare_queue("mail.high")
