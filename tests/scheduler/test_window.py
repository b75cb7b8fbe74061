"""How much of a queue the broker may hold."""

from typing import Any

import pytest

from tasks.scheduler.window import LARGEST_WINDOW, WINDOW_SECONDS, Window
from tests.scheduler.stage import stop_clock


@pytest.fixture
def clock(monkeypatch) -> Any:
    return stop_clock(monkeypatch)


def test_an_untouched_queue_may_hold_one_hint_for_each_thread(clock) -> None:
    window = Window()
    assert window.space(0, threads=8) == 8
    assert window.space(3, threads=8) == 5
    assert window.space(20, threads=8) == 0


def test_the_depth_is_not_read_while_at_most_half_the_threads_may_have_a_hint_there(clock) -> None:
    window = Window()
    assert window.certain_space(threads=8) is None
    window.space(3, threads=8)
    assert window.certain_space(threads=8) == 5
    window.add(1)
    assert window.certain_space(threads=8) == 4
    window.add(1)
    assert window.certain_space(threads=8) is None
    window.space(0, threads=8)
    assert window.certain_space(threads=8) == 8


def test_the_window_is_twice_the_number_of_hints_taken_lately(clock) -> None:
    window = Window()
    window.space(0, threads=8)
    window.add(8)
    clock.now += 0.01
    # Workers took all eight: sixteen may be added.
    assert window.space(0, threads=8) == 16
    window.add(16)
    clock.now += 0.01
    assert window.space(4, threads=8) == 2 * (8 + 12) - 4


def test_hints_taken_long_ago_do_not_count(clock) -> None:
    window = Window()
    window.space(0, threads=2)
    window.add(500)
    assert window.space(0, threads=2) == 1000
    clock.now += WINDOW_SECONDS + 0.01
    assert window.space(0, threads=2) == 2


def test_the_window_has_an_upper_limit(clock) -> None:
    window = Window()
    window.add(1_000_000)
    assert window.space(0, threads=2) == LARGEST_WINDOW
    window = Window()
    assert window.space(0, threads=100_000) == LARGEST_WINDOW
    assert window.certain_space(threads=100_000) == LARGEST_WINDOW


def test_hints_that_others_add_do_not_count_as_negative_speed(clock) -> None:
    window = Window()
    window.add(1)
    assert window.space(50, threads=2) == 0
    clock.now += 0.01
    assert window.space(0, threads=2) == 100
