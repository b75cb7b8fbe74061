"""How much of a queue the broker may hold, where the dispatcher goes on, and how the old get in."""

from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.hint import Hint
from tasks.lifecycle import Dispatched, Probe
from tasks.models import new_id
from tasks.queries.due import PriorityLevel
from tasks.scheduler import cursors as positions_module
from tasks.scheduler import dispatcher
from tasks.scheduler.cursors import LOOK_BACK, POSITION_SECONDS, Positions
from tasks.scheduler.dispatcher import LARGEST_WINDOW, WINDOW_SECONDS, Ageing, Window
from tests.factories import imagine_claim


@pytest.fixture
def clock(monkeypatch) -> Any:
    made = SimpleNamespace(now=1000.0)
    made.monotonic = lambda: made.now
    monkeypatch.setattr(dispatcher, "time", made)
    monkeypatch.setattr(positions_module, "time", made)
    return made


# --- Window ---


def test_an_untouched_queue_may_hold_one_hint_for_each_thread(clock) -> None:
    window = Window()
    assert window.space(0, threads=8) == 8
    assert window.space(3, threads=8) == 5
    assert window.space(20, threads=8) == 0


def test_a_queue_needs_no_look_as_long_as_no_more_than_half_the_threads_may_have_a_hint_there(clock) -> None:
    window = Window()
    assert window.sure_space(threads=8) is None
    window.space(3, threads=8)
    assert window.sure_space(threads=8) == 5
    window.add(1)
    assert window.sure_space(threads=8) == 4
    window.add(1)
    assert window.sure_space(threads=8) is None
    window.space(0, threads=8)
    assert window.sure_space(threads=8) == 8


def test_the_window_is_twice_what_was_taken_lately(clock) -> None:
    window = Window()
    window.space(0, threads=8)
    window.add(8)
    clock.now += 0.01
    # All eight are gone: sixteen may come.
    assert window.space(0, threads=8) == 16
    window.add(16)
    clock.now += 0.01
    assert window.space(4, threads=8) == 2 * (8 + 12) - 4


def test_what_was_taken_long_ago_does_not_count(clock) -> None:
    window = Window()
    window.space(0, threads=2)
    window.add(500)
    assert window.space(0, threads=2) == 1000
    clock.now += WINDOW_SECONDS + 0.01
    assert window.space(0, threads=2) == 2


def test_the_window_has_an_end(clock) -> None:
    window = Window()
    window.add(1_000_000)
    assert window.space(0, threads=2) == LARGEST_WINDOW
    window = Window()
    assert window.space(0, threads=100_000) == LARGEST_WINDOW
    assert window.sure_space(threads=100_000) == LARGEST_WINDOW


def test_hints_that_others_put_in_are_no_negative_speed(clock) -> None:
    window = Window()
    window.add(1)
    assert window.space(50, threads=2) == 0
    clock.now += 0.01
    assert window.space(0, threads=2) == 100


# --- Positions ---


def dispatched(priority: int) -> Dispatched:
    return Dispatched(Hint(new_id(), 1), "medium", priority, imagine_claim().claimed_at, "act", "0" * 32)


def test_a_probe_begins_at_the_front_and_goes_on_behind_the_last_of_its_priority(clock) -> None:
    positions = Positions()
    first = positions.probe(PriorityLevel("default", 5), "medium")
    assert first == Probe(5, "medium", 1)
    early, last, other = dispatched(5), dispatched(5), dispatched(6)
    positions.reached("default", [early, last, other])
    assert positions.probe(PriorityLevel("default", 5), "medium").after_id == last.hint.task_id
    assert positions.probe(PriorityLevel("default", 6), "medium").after_id == other.hint.task_id
    assert positions.probe(PriorityLevel("default", 7), "medium").after_id is None
    assert positions.probe(PriorityLevel("other", 5), "medium").after_id is None


def test_nothing_found_leaves_the_position(clock) -> None:
    positions = Positions()
    one = dispatched(5)
    positions.reached("default", [one])
    positions.reached("default", [])
    assert positions.probe(PriorityLevel("default", 5), "medium").after_run_at == one.run_at


def test_a_look_back_begins_a_moment_before_the_position_until_its_line_was_looked_at(clock) -> None:
    positions = Positions()
    five, six = dispatched(5), dispatched(6)
    positions.reached("default", [five, six])
    positions.look_back()
    for one in (five, six):
        probe = positions.probe(PriorityLevel("default", one.priority), "medium")
        assert (probe.after_run_at, probe.after_id) == (one.run_at - LOOK_BACK, None)
    positions.nothing_due(PriorityLevel("default", 5))
    assert positions.probe(PriorityLevel("default", 5), "medium").after_id == five.hint.task_id
    found = dispatched(6)
    positions.reached("default", [found])
    assert positions.probe(PriorityLevel("default", 6), "medium").after_id == found.hint.task_id


def test_positions_are_forgotten_when_asked(clock) -> None:
    positions = Positions()
    positions.reached("default", [dispatched(5)])
    positions.look_back()
    positions.forget()
    assert positions.probe(PriorityLevel("default", 5), "medium") == Probe(5, "medium", 1)


@pytest.mark.parametrize(
    ("way_seconds", "good_for"), [(0, POSITION_SECONDS), (0.003, POSITION_SECONDS), (0.02, 6.0), (5, 30.0)]
)
def test_the_longer_the_way_from_the_front_the_longer_positions_are_good(clock, way_seconds, good_for) -> None:
    positions = Positions()
    positions.front_took(way_seconds)
    clock.now += good_for - 0.01
    assert not positions.are_old()
    clock.now += 0.02
    assert positions.are_old()
    positions.forget()
    assert not positions.are_old()


# --- Ageing ---


@pytest.fixture(autouse=True)
def _ageing(settings) -> None:
    settings.AGEING_SECONDS = 60


def test_a_place_for_the_old_is_earned_with_every_eight_of_the_bands_own() -> None:
    ageing = Ageing()
    assert ageing.places("default.high", 100) == 0
    ageing.earn("default.high", 7)
    assert ageing.places("default.high", 100) == 0
    ageing.earn("default.high", 1)
    assert ageing.places("default.high", 100) == 1
    assert ageing.places("default.medium", 100) == 0
    ageing.spend("default.high", 1)
    assert ageing.places("default.high", 100) == 0


def test_no_more_come_than_there_is_space() -> None:
    ageing = Ageing()
    ageing.earn("default.high", 1000)
    assert ageing.places("default.high", 3) == 3
    assert ageing.places("default.high", 0) == 0


def test_places_are_not_saved_up() -> None:
    ageing = Ageing()
    ageing.earn("default.high", 1_000_000)
    assert ageing.places("default.high", 1000) == 8


def test_ageing_can_be_off(settings) -> None:
    settings.AGEING_SECONDS = 0
    ageing = Ageing()
    ageing.earn("default.high", 1000)
    assert ageing.places("default.high", 1000) == 0


def test_the_highest_effective_priority_is_first_and_of_equal_ones_who_was_due_for_longest() -> None:
    waits = {
        PriorityLevel("default", 1): 600.0,
        PriorityLevel("default", 7): 240.0,
        PriorityLevel("default", 4): 420.0,
        PriorityLevel("default", 9): 60.0,
    }
    # 11, 11, 11 and 10.
    assert [priority for priority, _ in Ageing.order("default", 10, waits)] == [1, 4, 7, 9]
    waits[PriorityLevel("default", 7)] = 241.0
    assert [priority for priority, _ in Ageing.order("default", 10, waits)] == [7, 1, 4, 9]


def test_the_lower_a_priority_the_longer_it_waits_until_it_has_come_up() -> None:
    waits = dict.fromkeys((PriorityLevel("default", priority) for priority in range(1, 11)), inf)
    assert sorted(Ageing.order("default", 4, waits)) == [(1, 180), (2, 120), (3, 60)]
    assert sorted(Ageing.order("default", 10, waits)) == [(priority, (10 - priority) * 60) for priority in range(1, 10)]
    assert Ageing.order("default", 1, waits) == []


def test_the_old_are_not_looked_for_in_lines_whose_first_task_is_younger() -> None:
    waits = {
        PriorityLevel("default", 1): 180.0,
        PriorityLevel("default", 2): 119.9,
        PriorityLevel("default", 3): -inf,
        PriorityLevel("other", 3): 999.0,
    }
    assert [priority for priority, _ in Ageing.order("default", 4, waits)] == [1]
