"""The dispatcher: which tasks it dispatches, in which order, how many, and when it looks again."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from tasks import lifecycle
from tasks.errors import BrokerUnavailable
from tasks.lifecycle import Probe, Share, queues
from tasks.models import Queue, Task, Term, Worker
from tasks.queries.capacity import BandCapacity
from tasks.queries.due import Position
from tasks.scheduler import cursors, window
from tasks.scheduler import dispatcher as dispatcher_module
from tasks.scheduler.dispatcher import (
    LONGEST_PAUSE_SECONDS,
    POLL_SECONDS,
    SHORTEST_PAUSE_SECONDS,
    Dispatcher,
    Offer,
    batches,
)
from tasks.states import Status
from tests.factories import age, make_worker, submit
from tests.scheduler.stage import Broker, Leading, stop_clock

HIGH, MEDIUM, LOW = "default.high", "default.medium", "default.low"


@pytest.fixture
def clock(monkeypatch) -> Any:
    return stop_clock(monkeypatch)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def dispatcher(db, clock, broker, settings) -> Any:
    settings.AGEING_SECONDS = 60
    return Dispatcher(Leading(), broker)  # type: ignore[arg-type]


def tasks_in(broker: Broker, name: str) -> list[Any]:
    return [hint.task_id for hint in broker.queues[name]]


def ids(tasks: Iterable[Task]) -> list[Any]:
    return [task.pk for task in tasks]


def submitted(count: int, priority: int) -> list[Task]:
    return [submit(priority=priority) for _ in range(count)]


def numbers(task: Task) -> tuple[str, int]:
    task.refresh_from_db()
    return (task.status, task.dispatch)


# --- Which tasks ---


def test_each_task_goes_into_its_band_with_high_priorities_and_old_tasks_first(dispatcher, broker) -> None:
    make_worker(threads=10)
    by_priority = {priority: submit(priority=priority) for priority in (1, 8, 10, 5, 9)}
    young_ten = submit(priority=10)
    dispatcher.step()
    assert tasks_in(broker, HIGH) == ids([by_priority[10], young_ten, by_priority[9], by_priority[8]])
    assert tasks_in(broker, MEDIUM) == ids([by_priority[5]])
    assert tasks_in(broker, LOW) == ids([by_priority[1]])


def test_queues_with_and_without_cursors_are_looked_at_in_one_round(dispatcher, broker) -> None:
    make_worker(threads=10, queues=("default", "other"))
    first = submit()
    dispatcher.step()
    behind, above, elsewhere = submit(), submit(priority=9), submit(queue="other", priority=2)
    dispatcher.wake(from_front=False)
    dispatcher.step()
    assert tasks_in(broker, MEDIUM) == ids([first, behind])
    assert tasks_in(broker, HIGH) == ids([above])
    assert tasks_in(broker, "other.low") == ids([elsewhere])


def test_a_band_that_no_worker_serves_is_not_dispatched(dispatcher, broker) -> None:
    make_worker(queues=("default.low",))
    high, low = submit(priority=9), submit(priority=2)
    dispatcher.step()
    assert (tasks_in(broker, LOW), numbers(high)) == (ids([low]), (Status.PENDING, 0))


def test_a_follower_dispatches_nothing_and_looks_again_soon(dispatcher, broker, django_assert_num_queries) -> None:
    make_worker()
    submit()
    dispatcher._leadership.term = None
    with django_assert_num_queries(0):
        assert 0 < dispatcher.step() <= POLL_SECONDS
    assert broker.hints == []


def test_a_deposed_leader_that_does_not_know_it_dispatches_nothing(dispatcher, broker) -> None:
    make_worker()
    task = submit()
    Term.objects.update(term=dispatcher._leadership.term + 1)
    dispatcher.step()
    assert broker.hints == []
    assert numbers(task) == (Status.PENDING, 0)


def test_without_workers_everything_waits_in_the_table(dispatcher, broker) -> None:
    task = submit()
    assert dispatcher.step() == POLL_SECONDS
    assert numbers(task) == (Status.PENDING, 0)
    make_worker()
    dispatcher.step()
    assert numbers(task) == (Status.QUEUED, 1)


def test_only_actors_that_a_live_worker_knows_are_dispatched(dispatcher, broker) -> None:
    known, unknown = submit("add", payload={"a": 1}), submit()
    Worker.objects.filter(pk=make_worker().pk).update(actors=["add"])
    dispatcher.step()
    assert tasks_in(broker, MEDIUM) == [known.pk]
    assert numbers(unknown) == (Status.PENDING, 0)


def test_a_paused_queue_waits_and_others_go_on(dispatcher, broker, clock) -> None:
    make_worker()
    waits, goes = submit(), submit("elsewhere", payload={})
    dispatcher._refresh_capacity()
    queues.pause("default")
    dispatcher.step()
    clock.now += POLL_SECONDS
    dispatcher.step()
    assert [hint.task_id for hint in broker.hints] == [goes.pk]
    queues.resume("default")
    clock.now += POLL_SECONDS
    dispatcher.step()
    assert numbers(waits) == (Status.QUEUED, 1)


@pytest.mark.django_db(transaction=True)
def test_hints_are_published_after_the_commit(transactional_db, broker, settings) -> None:
    dispatcher: Any = Dispatcher(Leading(), broker)  # type: ignore[arg-type]
    make_worker()
    submit()
    seen: list[Any] = []
    broker.while_publishing = lambda: seen.append((connection.in_atomic_block, Task.objects.get().status))
    dispatcher.step()
    assert seen == [(False, Status.QUEUED)]


# --- How many ---


def test_the_broker_holds_one_hint_per_thread_and_then_twice_as_many_as_workers_take(dispatcher, broker) -> None:
    make_worker(threads=2)
    submitted(20, priority=5)
    dispatcher.step()
    assert len(broker.hints) == 2
    dispatcher.step()
    assert len(broker.hints) == 2
    broker.clear()
    dispatcher.step()
    assert len(broker.hints) == 4


def test_each_band_has_a_window_of_its_own(dispatcher, broker) -> None:
    make_worker(threads=2, queues=("default.high",))
    make_worker(threads=3, queues=("default.low",))
    submitted(5, priority=9)
    submitted(5, priority=1)
    dispatcher.step()
    assert {name: len(hints) for name, hints in broker.queues.items()} == {HIGH: 2, LOW: 3}


def test_a_lower_band_waits_for_the_higher_one_of_the_same_workers(dispatcher, broker) -> None:
    make_worker(threads=2)
    submitted(3, priority=9)
    low = submit(priority=1)
    dispatcher.step()
    assert (len(broker.queues[HIGH]), broker.queues[MEDIUM], broker.queues[LOW]) == (2, [], [])
    broker.clear()
    dispatcher.step()
    assert tasks_in(broker, LOW) == [low.pk]


def test_a_lower_band_of_other_workers_does_not_wait(dispatcher, broker) -> None:
    make_worker(threads=2, queues=("default.high",))
    make_worker(threads=2, queues=("default.low",))
    submitted(3, priority=9)
    low = submit(priority=1)
    dispatcher.step()
    assert tasks_in(broker, LOW) == [low.pk]


def test_the_lowest_band_does_not_wait_for_a_backlog_of_workers_that_do_not_serve_it(dispatcher, broker) -> None:
    make_worker(threads=2, queues=("default.high",))
    make_worker(threads=2, queues=("default.medium", "default.low"))
    submitted(5, priority=9)
    medium, low = submit(priority=5), submit(priority=1)
    dispatcher.step()
    assert (tasks_in(broker, MEDIUM), tasks_in(broker, LOW)) == ([medium.pk], [low.pk])


def test_the_lowest_band_waits_for_the_highest_although_the_one_between_is_empty(dispatcher, broker) -> None:
    make_worker(threads=2)
    submitted(5, priority=9)
    submit(priority=1)
    dispatcher.step()
    assert broker.queues[LOW] == []


def test_another_queue_does_not_wait_for_a_full_one(dispatcher, broker) -> None:
    make_worker(threads=1)
    submitted(3, priority=9)
    other = submit("elsewhere", payload={}, priority=1)
    dispatcher.step()
    assert tasks_in(broker, "other.low") == [other.pk]


# --- Aged tasks ---


def test_aged_tasks_enter_a_flood_of_higher_priorities_one_for_every_eight(dispatcher, broker) -> None:
    make_worker(threads=8)
    olds = [submit(priority=priority) for priority in (1, 2, 3)]
    for task in olds:
        age(task, run_at=timedelta(minutes=10))
    submitted(60, priority=10)
    dispatcher.step()
    assert len(broker.hints) == 8
    assert olds[0].pk not in tasks_in(broker, HIGH)
    broker.clear()
    dispatcher.step()
    # The eight tasks before earned one of the sixteen places, for the highest effective priority.
    assert len(broker.queues[HIGH]) == 16
    assert [id for id in ids(olds) if id in tasks_in(broker, HIGH)] == [olds[2].pk]
    broker.clear()
    dispatcher.step()
    # The band's own fifteen tasks earned one place and nearly another.
    assert [id for id in ids(olds) if id in tasks_in(broker, HIGH)] == [olds[1].pk]


def test_young_tasks_of_low_priority_wait_however_large_the_quota_is(dispatcher, broker) -> None:
    make_worker(threads=8)
    young = submit(priority=1)
    age(young, run_at=timedelta(seconds=7 * 60 - 10))
    submitted(100, priority=10)
    for _ in range(3):
        broker.clear()
        dispatcher.step()
    assert numbers(young) == (Status.PENDING, 0)


@pytest.fixture
def one_old_each_round(monkeypatch) -> None:
    monkeypatch.setattr(window, "LARGEST_WINDOW", 8)


def rounds_until_queued(
    dispatcher: Any, broker: Broker, task: Task, *, flood: int, old: Sequence[int] = (), most: int = 12
) -> int:
    """Count rounds until a task is dispatched, under a steady supply of the flood's priority and of old tasks."""
    for number in range(1, most + 1):
        submitted(16 - Task.objects.filter(status=Status.PENDING, priority=flood).count(), flood)
        for priority in old:
            age(submit(priority=priority), run_at=timedelta(minutes=10))
        broker.clear()
        dispatcher.step()
        if numbers(task)[0] == Status.QUEUED:
            return number
    raise AssertionError(f"it starves: not dispatched in {most} rounds")


@pytest.mark.parametrize("priority", range(2, 10))
def test_no_priority_starves_under_a_flood_of_tens_and_a_steady_supply_of_old_lower_ones(
    dispatcher, broker, one_old_each_round, priority: int
) -> None:
    make_worker(threads=8)
    task = submit(priority=priority)
    age(task, run_at=timedelta(minutes=11))
    rounds_until_queued(dispatcher, broker, task, flood=10, old=[1, priority - 1])


def test_a_one_does_not_starve_under_a_flood_of_tens_and_sevens_that_grow_old(
    dispatcher, broker, one_old_each_round
) -> None:
    make_worker(threads=8)
    task = submit(priority=1)
    # Tasks of priority 7 that come more than six minutes after it go behind it.
    age(task, run_at=timedelta(minutes=17))
    rounds_until_queued(dispatcher, broker, task, flood=10, old=[7])


@pytest.mark.parametrize(("priority", "flood"), [(9, 10), (8, 10), (4, 7), (1, 3)])
def test_lower_priorities_of_the_same_band_do_not_starve(
    dispatcher, broker, one_old_each_round, priority: int, flood: int
) -> None:
    make_worker(threads=8)
    task = submit(priority=priority)
    age(task, run_at=timedelta(minutes=4))
    rounds_until_queued(dispatcher, broker, task, flood=flood)


def test_aged_tasks_move_up_into_the_only_band_that_is_served(dispatcher, broker, one_old_each_round) -> None:
    make_worker(threads=8, queues=("default.high",))
    old = submit(priority=2)
    age(old, run_at=timedelta(minutes=10))
    rounds_until_queued(dispatcher, broker, old, flood=10)
    assert old.pk in tasks_in(broker, HIGH)


# --- Where it continues ---


def test_entries_that_were_read_to_find_the_first_task_are_not_read_again(dispatcher, monkeypatch) -> None:
    make_worker()
    first, _ = submitted(2, priority=5)
    asked: list[Probe] = []

    def dispatch_many(shares: Sequence[Share], **options: Any) -> list[Any]:
        asked.extend(probe for share in shares for probe in share.probes)
        return stock(shares, **options)

    stock = lifecycle.dispatch_many
    monkeypatch.setattr(lifecycle, "dispatch_many", dispatch_many)
    dispatcher.step()
    assert [(one.after_run_at, one.after_id) for one in asked] == [Position(first.run_at, first.pk).just_before]


def test_it_continues_behind_the_dispatched_tasks_until_it_is_woken(dispatcher, broker) -> None:
    make_worker()
    submit()
    dispatcher.step()
    behind = submit()
    age(behind, run_at=timedelta(hours=1))
    dispatcher.step()
    assert numbers(behind) == (Status.PENDING, 0)
    dispatcher.wake()
    dispatcher.step()
    assert numbers(behind) == (Status.QUEUED, 1)


def test_a_submissions_wake_up_finds_a_task_that_was_committed_a_little_late(dispatcher, broker) -> None:
    make_worker()
    submit()
    dispatcher.step()
    late, behind = submit(), submit()
    age(late, run_at=cursors.LOOK_BACK * 0.9)
    age(behind, run_at=cursors.LOOK_BACK * 2)
    dispatcher.wake(from_front=False)
    dispatcher.step()
    assert numbers(late) == (Status.QUEUED, 1)
    assert numbers(behind) == (Status.PENDING, 0)


def test_a_lost_wake_up_costs_a_second(dispatcher, broker, clock) -> None:
    make_worker()
    submit()
    dispatcher.step()
    behind = submit()
    age(behind, run_at=timedelta(hours=1))
    clock.now += cursors.CURSOR_SECONDS + 0.01
    dispatcher.step()
    assert numbers(behind) == (Status.QUEUED, 1)


# --- A broker that is away ---


def test_tasks_that_could_not_be_published_go_back_and_are_dispatched_again_when_the_broker_answers(
    dispatcher, broker
) -> None:
    make_worker()
    task = submit()
    broker.refuses_hints = True
    with pytest.raises(BrokerUnavailable):
        dispatcher.step()
    assert numbers(task) == (Status.PENDING, 1)
    broker.refuses_hints = False
    dispatcher.step()
    assert numbers(task) == (Status.QUEUED, 2)
    assert [hint.dispatch for hint in broker.hints] == [2]


def test_a_broker_that_refused_hints_is_asked_for_its_depth_before_it_gets_more(dispatcher, broker) -> None:
    make_worker(threads=8)
    submit()
    dispatcher.step()
    broker.clear()
    task = submit()
    broker.refuses_hints = True
    with pytest.raises(BrokerUnavailable):
        dispatcher.step()
    broker.is_away = True
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            dispatcher.step()
    assert numbers(task) == (Status.PENDING, 1)


def test_a_failed_publish_stops_the_round_or_an_outage_would_turn_the_backlog_into_queued(dispatcher, broker) -> None:
    make_worker()
    for priority in (9, 5, 1):
        submit(priority=priority)
    broker.refuses_hints = True
    with pytest.raises(BrokerUnavailable):
        dispatcher.step()
    assert sorted(Task.objects.values_list("priority", "dispatch")) == [(1, 0), (5, 0), (9, 1)]


def test_nothing_is_dispatched_to_a_broker_that_does_not_answer(dispatcher, broker) -> None:
    make_worker()
    task = submit()
    broker.is_away = True
    with pytest.raises(BrokerUnavailable):
        dispatcher.step()
    assert numbers(task) == (Status.PENDING, 0)


def test_when_the_database_is_away_too_the_brokers_error_is_raised(dispatcher, broker, monkeypatch) -> None:
    make_worker()
    task = submit()
    broker.refuses_hints = True

    def away(*_: Any, **__: Any) -> int:
        raise OperationalError("away")

    monkeypatch.setattr(lifecycle, "requeue_many", away)
    with pytest.raises(BrokerUnavailable):
        dispatcher.step()
    # The sweeper will requeue it.
    assert numbers(task) == (Status.QUEUED, 1)


# --- When it looks again ---


def test_it_sleeps_until_the_next_task_is_due_and_a_second_at_most(dispatcher) -> None:
    make_worker()
    assert dispatcher.step() == POLL_SECONDS
    submit(delay_seconds=100)
    assert dispatcher.step() == POLL_SECONDS
    soon = submit(delay_seconds=100)
    Task.objects.filter(pk=soon.pk).update(run_at=soon.run_at - timedelta(seconds=99.5))
    assert 0 <= dispatcher.step() <= 0.5


def test_while_a_backlog_waits_for_space_it_looks_often_and_less_often_if_nothing_is_dispatched(
    dispatcher, broker
) -> None:
    make_worker(threads=1)
    submitted(30, priority=5)
    pauses = [dispatcher.step() for _ in range(8)]
    assert pauses[0] == SHORTEST_PAUSE_SECONDS
    assert pauses[1:4] == [2 * SHORTEST_PAUSE_SECONDS, 4 * SHORTEST_PAUSE_SECONDS, 8 * SHORTEST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    broker.clear()
    assert dispatcher.step() == SHORTEST_PAUSE_SECONDS


# --- Many queues ---


def test_many_queues_share_a_statement_and_keep_their_own_space(
    dispatcher, broker, django_assert_max_num_queries
) -> None:
    names = tuple(f"queue-{number}" for number in range(20))
    Queue.objects.bulk_create([Queue(name=name) for name in names])
    make_worker(threads=2, queues=names)
    tasks = {name: [submit(queue=name) for _ in range(3)] for name in names}
    # Capacity, the clock, the look and one statement for all of them.
    with django_assert_max_num_queries(4):
        dispatcher.step()
    for name in names:
        assert tasks_in(broker, f"{name}.medium") == ids(tasks[name][:2])


def test_queues_of_workers_with_other_actors_do_not_share_a_statement(dispatcher, broker) -> None:
    Worker.objects.filter(pk=make_worker(queues=("default",)).pk).update(actors=["act"])
    Worker.objects.filter(pk=make_worker(queues=("other",)).pk).update(actors=["add"])
    mine, theirs = submit(), submit("add", payload={"a": 1}, queue="other")
    stranger = submit(queue="other")
    dispatcher.step()
    assert (tasks_in(broker, MEDIUM), tasks_in(broker, "other.medium")) == (ids([mine]), ids([theirs]))
    assert numbers(stranger) == (Status.PENDING, 0)


def test_a_paused_queue_keeps_its_tasks_while_others_share_the_statement(dispatcher, broker) -> None:
    make_worker(queues=("default", "other"))
    dispatcher.step()
    mine, waiting = submit(), submit(queue="other")
    # After the dispatcher looked up what is paused.
    queues.pause("other")
    dispatcher.wake(from_front=False)
    dispatcher.step()
    assert (tasks_in(broker, MEDIUM), numbers(waiting)) == (ids([mine]), (Status.PENDING, 0))


def test_a_statement_dispatches_no_more_than_a_window_has(monkeypatch) -> None:
    monkeypatch.setattr(dispatcher_module, "LARGEST_WINDOW", 10)
    band = BandCapacity("default", "high", 1, serves_higher=False, actors=["act"])
    offers = [Offer(band, Share(f"queue-{space}", [], space), {}) for space in (4, 6, 1, 30, 2)]
    assert [[offer.share.space for offer in batch] for batch in batches(offers)] == [[4, 6], [1], [30], [2]]
