"""What live workers can run: which bands they serve, with how many threads, for which actors."""

from tasks.lifecycle import workers
from tasks.models import Queue, Worker
from tasks.queries import capacity
from tests import factories
from tests.factories import make_worker


def threads() -> dict[tuple[str, str], int]:
    return {(one.queue, one.name): one.threads for one in capacity.by_band()}


def test_a_worker_counts_only_for_the_bands_that_it_serves(db) -> None:
    make_worker(threads=3, queues=("default",))
    make_worker(threads=10, queues=("default.high", "other.low"))
    assert threads() == {
        ("default", "high"): 13, ("default", "medium"): 3, ("default", "low"): 3, ("other", "low"): 10,
    }  # fmt: skip


def test_bands_are_offered_high_first(db) -> None:
    make_worker(queues=("other", "default"))
    order = [(one.queue, one.name) for one in capacity.by_band()]
    assert order == [(queue, band) for queue in ("default", "other") for band in ("high", "medium", "low")]


def test_a_band_knows_the_actors_of_its_own_workers(db) -> None:
    Worker.objects.filter(pk=make_worker(queues=("default.high",)).pk).update(actors=["only_here"])
    Worker.objects.filter(pk=make_worker(queues=("default.low",)).pk).update(actors=["only_there"])
    assert {one.name: one.actors for one in capacity.by_band()} == {"high": ["only_here"], "low": ["only_there"]}


def test_silent_and_draining_workers_and_paused_queues_offer_nothing(db) -> None:
    factories.let_lease_run_out(make_worker(queues=("default.high",)))
    workers.ask_to_drain([make_worker(queues=("default.low",)).pk])
    make_worker(queues=("other",))
    Queue.objects.filter(name="other").update(paused_at=factories.database_now())
    assert threads() == {}


def test_a_band_serves_the_higher_one_if_all_of_its_workers_do(db) -> None:
    make_worker(queues=("default",))
    assert {one.name: one.serves_higher for one in capacity.by_band()} == {"high": False, "medium": True, "low": True}
    make_worker(queues=("default.low",))
    assert {one.name: one.serves_higher for one in capacity.by_band()} == {"high": False, "medium": True, "low": False}


def test_a_worker_that_names_a_queue_and_one_of_its_bands_counts_once(db) -> None:
    make_worker(threads=3, queues=("default", "default.high"))
    assert threads() == dict.fromkeys([("default", "high"), ("default", "medium"), ("default", "low")], 3)


def test_workers_with_the_same_queues_and_actors_are_looked_up_as_one(db) -> None:
    for _ in range(50):
        make_worker(threads=2, queues=("default",))
    make_worker(threads=3, queues=("other",))
    assert sorted(capacity.live().threads.values()) == [3, 100]
