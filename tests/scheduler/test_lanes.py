"""Fair scheduling: tasks of one priority with different fairness keys take turns."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any
from uuid import UUID

import pytest

from tasks import lifecycle
from tasks.fairness import NO_KEY, lane_of
from tasks.lifecycle import queues, retry_many
from tasks.lifecycle.submit import checked, write
from tasks.models import Task
from tasks.queries import due
from tasks.queries.due import Lane
from tasks.scheduler import unrunnable
from tasks.scheduler.cursors import LONGEST_CURSOR_SECONDS, SEARCH_REST_TIMES, SLOW_SEARCH_SECONDS, Cursors
from tasks.scheduler.dispatcher import POLL_SECONDS, Dispatcher
from tasks.scheduler.lanes import Turns
from tasks.states import Status
from tasks.submission import Submission
from tests.factories import age, make_task, make_worker, submit
from tests.scheduler.stage import Broker, Leading, stop_clock

MEDIUM = "default.medium"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    return stop_clock(monkeypatch)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def dispatcher(db: None, clock: Any, broker: Broker) -> Any:
    return Dispatcher(Leading(), broker)  # type: ignore[arg-type]


def keys_in(broker: Broker, name: str = MEDIUM) -> list[str | None]:
    """Read the fairness keys of what is in a broker queue, in its order."""
    keys = dict(Task.objects.values_list("pk", "fairness_key"))
    return [keys[hint.task_id] for hint in broker.queues[name]]


def round_of(dispatcher: Any, broker: Broker) -> list[str | None]:
    """Let workers take what is there, and dispatch once more."""
    broker.clear()
    dispatcher.step()
    return keys_in(broker)


def waiting(*keys: str) -> None:
    for key in keys:
        submit(fairness_key=key)


def submitted(key: str | None, count: int, **fields: Any) -> list[Task]:
    return [submit(fairness_key=key, **fields) for _ in range(count)]


# --- Turns ---


def lanes(*numbers: int) -> list[Lane]:
    return [Lane("default", 5, number) for number in numbers]


def test_lanes_get_the_same_and_the_rest_goes_round() -> None:
    turns = Turns()
    total: Counter[int] = Counter()
    for _ in range(3):
        quotas = turns.share_out(lanes(0, 7, 9), 4)
        assert sorted(quotas.values()) == [1, 1, 2]
        total.update({lane.number: quota for lane, quota in quotas.items()})
    assert total == {0: 4, 7: 4, 9: 4}


def test_more_lanes_than_space_are_served_one_after_the_other() -> None:
    turns, found = Turns(), list[int]()
    for _ in range(5):
        found += [lane.number for lane in turns.share_out(lanes(*range(1, 11)), 2)]
    assert found == [*range(1, 11)]


def test_a_lane_whose_turn_it_is_may_have_gone() -> None:
    turns = Turns()
    turns.share_out(lanes(1, 2, 3), 1)
    assert list(turns.share_out(lanes(1, 3), 1)) == lanes(3)
    assert list(turns.share_out(lanes(1, 3), 1)) == lanes(1)


def test_levels_have_turns_of_their_own() -> None:
    turns = Turns()
    turns.share_out(lanes(1, 2), 1)
    other = [Lane("other", 5, 1), Lane("other", 5, 2)]
    assert list(turns.share_out(other, 1)) == other[:1]


# --- Rounds ---


def test_a_few_tasks_do_not_wait_behind_many_of_another_key(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=8)
    submitted("big", 50)
    submitted("small", 3)
    assert Counter(round_of(dispatcher, broker)) == {"big": 5, "small": 3}
    assert set(round_of(dispatcher, broker)) == {"big"}


def test_hints_of_a_round_take_turns_in_the_broker_too(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=6)
    submitted("big", 50)
    submitted("small", 2)
    assert round_of(dispatcher, broker) in (
        ["big", "small", "big", "small", "big", "big"],
        ["small", "big", "small", "big", "big", "big"],
    )


def test_a_lane_is_offered_its_own_tasks(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=4)
    waiting("one", "two", "two", "two", "one", "one")
    assert Counter(round_of(dispatcher, broker)) == {"one": 2, "two": 2}


def test_tasks_of_a_key_keep_their_order(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=4)
    first, second = submitted("one", 4), submitted("two", 4)
    found = []
    for _ in range(2):
        broker.clear()
        dispatcher.step()
        found += [hint.task_id for hint in broker.queues[MEDIUM]]
    for tasks in (first, second):
        assert [id for id in found if id in {task.pk for task in tasks}] == [task.pk for task in tasks]


def test_tasks_without_a_key_take_turns_like_the_others(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=4)
    submitted(None, 50)
    submitted("one", 50)
    assert Counter(round_of(dispatcher, broker)) == {None: 2, "one": 2}


def test_each_of_many_keys_gets_its_turn(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=10)
    keys = [f"customer-{number}" for number in range(100)]
    submitted("flood", 200)
    for key in keys:
        submit(fairness_key=key)
    found: Counter[str | None] = Counter()
    # Keys that share a lane share its turns.
    most_of_a_lane = max(Counter(map(lane_of, keys)).values())
    for _ in range(10 * (most_of_a_lane + 1)):
        found.update(round_of(dispatcher, broker))
    assert found.keys() >= set(keys) - {key for key in keys if lane_of(key) == lane_of("flood")}


def test_what_a_lane_leaves_goes_to_the_other_lanes_before_lower_priorities(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=20)
    submitted("low", 20, priority=4)
    submitted("one", 30)
    submitted("two", 1)
    assert Counter(round_of(dispatcher, broker)) == {"one": 19, "two": 1}
    assert set(round_of(dispatcher, broker)[:11]) == {"one"}
    assert not Task.objects.filter(status=Status.PENDING).exists()


def test_a_higher_priority_goes_before_every_lane(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=6)
    submitted("one", 10)
    submitted("two", 10)
    submitted("top", 4, priority=6)
    assert Counter(round_of(dispatcher, broker)) == {"top": 4, "one": 1, "two": 1}


def test_a_lower_band_goes_on_when_all_lanes_are_empty(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=10)
    submitted("one", 2)
    submitted("two", 2)
    submitted("one", 3, priority=2)
    round_of(dispatcher, broker)
    assert Counter(keys_in(broker, "default.low")) == {"one": 3}


def test_a_new_key_is_found_at_the_next_wake_up(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=4)
    submitted(None, 20)
    round_of(dispatcher, broker)
    submit(fairness_key="late")
    dispatcher.wake(from_front=False)
    assert "late" in round_of(dispatcher, broker)


def test_a_retry_keeps_its_lane(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=2)
    task = make_task(Status.DEAD, fairness_key="one")
    retry_many([task.pk])
    submitted("two", 20)
    assert set(round_of(dispatcher, broker)) == {"one", "two"}


def test_a_task_of_a_lane_that_is_not_due_is_waited_for(dispatcher: Any, broker: Broker) -> None:
    make_worker()
    submit(fairness_key="later", delay_seconds=POLL_SECONDS / 2)
    assert 0 < dispatcher.step() <= POLL_SECONDS / 2
    assert broker.hints == []


def test_a_lane_that_begins_with_tasks_nobody_can_run_goes_on_behind_them(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=4)
    unrunnable = submitted("one", 3)
    Task.objects.filter(pk__in=[task.pk for task in unrunnable]).update(actor="unknown")
    behind = submit(fairness_key="one")
    submitted("two", 1)
    for _ in range(3):
        dispatcher.step()
    assert Counter(keys_in(broker)) == {"one": 1, "two": 1}
    assert behind.pk in {hint.task_id for hint in broker.hints}


def test_of_several_lanes_the_oldest_task_ages_first(dispatcher: Any, broker: Broker, settings: Any) -> None:
    settings.AGEING_SECONDS = 60
    make_worker(threads=8)
    submitted("top", 100, priority=7)
    submitted("young", 3, priority=4)
    (old,) = submitted("old", 1, priority=4)
    age(old, run_at=timedelta(minutes=30))
    for _ in range(3):
        round_of(dispatcher, broker)
    old.refresh_from_db()
    assert old.status == Status.QUEUED
    assert not Task.objects.filter(fairness_key="young").exclude(status=Status.PENDING).exists()


def test_cursors_continue_in_each_lane(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=4)
    submitted("one", 6)
    submitted("two", 6)
    for _ in range(3):
        round_of(dispatcher, broker)
    reached = {lane.number for lane in dispatcher._cursors.keyed_lanes({"default"})}
    assert reached == {lane_of("one"), lane_of("two")}
    assert not Task.objects.filter(status=Status.PENDING).exists()


def test_lanes_of_a_paused_queue_cost_two_statements(dispatcher: Any, broker: Broker, monkeypatch: Any) -> None:
    make_worker(threads=1)
    waiting(*(f"customer-{number}" for number in range(30)))
    dispatcher._refresh_capacity()
    queues.pause("default")
    offered: list[Any] = []
    dispatch = lifecycle.dispatch_many

    def offer(shares: Any, **more: Any) -> Any:
        offered.append(shares)
        return dispatch(shares, **more)

    monkeypatch.setattr(lifecycle, "dispatch_many", offer)
    dispatcher.step()
    assert (len(offered), broker.hints) == (2, [])


def test_runnable_tasks_between_others_are_taken_before_lower_priorities(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=10)
    for _ in range(12):
        (foreign,) = submitted("mixed", 1)
        Task.objects.filter(pk=foreign.pk).update(actor="unknown")
        submitted("mixed", 1)
    submitted("two", 1)
    submitted("low", 20, priority=4)
    assert Counter(round_of(dispatcher, broker)) == {"mixed": 9, "two": 1}


def test_lanes_beyond_the_time_for_scans_are_left_for_the_next_round(
    dispatcher: Any, broker: Broker, monkeypatch: Any
) -> None:
    make_worker(threads=20)
    keys = [f"customer-{number}" for number in range(5)]
    waiting(*keys)
    Task.objects.update(actor="unknown")
    waiting(*keys)
    monkeypatch.setattr(unrunnable, "SCAN_SECONDS", 0)
    found = [len(round_of(dispatcher, broker)) for _ in keys]
    assert found == [1] * len(keys)


# --- The search for lanes ---


def test_a_slow_search_is_followed_by_a_rest_and_not_by_one_after_a_restart(clock: Any) -> None:
    cursors = Cursors()
    cursors.search_took(SLOW_SEARCH_SECONDS)
    assert cursors.search_in_seconds == 0
    cursors.search_took(0.1)
    assert cursors.search_in_seconds == pytest.approx(0.1 * SEARCH_REST_TIMES)
    cursors.restart()
    assert cursors.search_in_seconds == 0
    cursors.search_took(3600)
    assert cursors.search_in_seconds == LONGEST_CURSOR_SECONDS


def test_while_the_search_rests_known_lanes_go_on_and_the_next_round_is_not_late(
    dispatcher: Any, broker: Broker, clock: Any
) -> None:
    make_worker(threads=4)
    submitted("known", 6)
    round_of(dispatcher, broker)
    dispatcher._cursors.search_took(0.05)
    submit(fairness_key="unknown")
    assert round_of(dispatcher, broker) == ["known", "known"]
    assert dispatcher.step() == pytest.approx(0.05 * SEARCH_REST_TIMES)
    clock.now += 0.05 * SEARCH_REST_TIMES + 0.001
    assert round_of(dispatcher, broker) == ["unknown"]


def test_all_lanes_that_a_search_found_take_turns_while_it_rests(dispatcher: Any, broker: Broker) -> None:
    make_worker(threads=2)
    keys = [f"customer-{number}" for number in range(8)]
    for _ in range(6):
        waiting(*keys)
    round_of(dispatcher, broker)
    dispatcher._cursors.search_took(10)
    found: Counter[str | None] = Counter()
    while sum(found.values()) < 2 * len(keys):
        found.update(round_of(dispatcher, broker))
    assert found.keys() == set(keys)


def test_an_idle_dispatcher_does_not_search_again_at_once(dispatcher: Any, broker: Broker, monkeypatch: Any) -> None:
    make_worker()
    submit(fairness_key="later", delay_seconds=3600)
    monkeypatch.setattr(Cursors, "search_took", lambda self, _: setattr(self, "_searches_at", inf))
    assert dispatcher.step() == POLL_SECONDS


def test_a_refresh_of_capacity_that_finds_nothing_new_leaves_the_search_alone(clock: Any) -> None:
    cursors = Cursors()
    cursors.search_took(1)
    cursors.restart_queues(())
    assert cursors.search_in_seconds > 0
    cursors.restart_queues(["default"])
    assert cursors.search_in_seconds == 0


def test_a_lane_that_is_catching_up_is_looked_at_after_a_restart(clock: Any) -> None:
    cursors, lane = Cursors(), Lane("default", 5, 7)
    now = datetime.now(UTC)
    cursors.stopped_at(lane, due.Position(now, UUID(int=1)), now=now)
    cursors.restart()
    assert cursors.keyed_lanes({"default"}) == [lane]


@pytest.mark.django_db
def test_a_row_of_an_earlier_release_has_no_lane() -> None:
    row = checked(Submission(actor="act", payload={"do": "return"}))
    del row["lane"], row["fairness_key"]
    (task,) = write([row])
    assert _lane(task) == NO_KEY


@pytest.mark.django_db
def test_lanes_that_are_asked_for_are_read_behind_their_cursors() -> None:
    first, second = submitted("one", 2)
    lane = Lane("default", 5, lane_of("one"))
    cursors = Cursors()
    cursors.advance(lane, due.Position(first.run_at, first.pk))
    probes: dict[Lane, Any] = {one: cursors.probe(one, "medium") for one in (Lane("default", 5), lane)}
    found = due.first_tasks(probes)
    assert {one: task.position.id for one, task in found.items()} == {lane: second.pk}
    cursors.advance(lane, due.Position(second.run_at, second.pk))
    probes[lane] = cursors.probe(lane, "medium")
    assert due.first_tasks(probes) == {}


@pytest.mark.django_db
def test_the_next_due_task_may_be_in_any_lane() -> None:
    submitted(None, 1)
    submit(fairness_key="one", delay_seconds=90)
    submit(fairness_key="two", delay_seconds=30, priority=3)
    assert due.next_due_in_seconds(["default"]) == pytest.approx(30, abs=5)


@pytest.mark.django_db
def test_a_task_that_was_replaced_or_inserted_has_the_lane_of_its_key() -> None:
    plain, keyed = submit(), submit(fairness_key="one")
    assert [(task.fairness_key, _lane(task)) for task in (plain, keyed)] == [(None, NO_KEY), ("one", lane_of("one"))]
    unique = {"key": "k", "on_conflict": "replace"}
    task = submit(fairness_key="one", unique=unique)
    for key in ("two", None):
        submit(fairness_key=key, unique=unique)
        task.refresh_from_db()
        assert (task.fairness_key, _lane(task)) == (key, lane_of(key))


def _lane(task: Task) -> int:
    task.refresh_from_db()
    return task.lane
