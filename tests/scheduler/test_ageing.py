"""Which aged tasks go before higher priorities, and how many."""

from math import inf

import pytest

from tasks.queries.due import PriorityLevel
from tasks.scheduler.ageing import Ageing


@pytest.fixture(autouse=True)
def _ageing(settings) -> None:
    settings.AGEING_SECONDS = 60


def test_one_aged_task_may_go_first_for_every_eight_of_the_bands_own() -> None:
    ageing = Ageing()
    assert ageing.quota("default.high", 100) == 0
    ageing.earn("default.high", 7)
    assert ageing.quota("default.high", 100) == 0
    ageing.earn("default.high", 1)
    assert ageing.quota("default.high", 100) == 1
    assert ageing.quota("default.medium", 100) == 0
    ageing.spend("default.high", 1)
    assert ageing.quota("default.high", 100) == 0


def test_the_quota_is_at_most_the_space() -> None:
    ageing = Ageing()
    ageing.earn("default.high", 1000)
    assert ageing.quota("default.high", 3) == 3
    assert ageing.quota("default.high", 0) == 0


def test_credit_is_not_saved_up() -> None:
    ageing = Ageing()
    ageing.earn("default.high", 1_000_000)
    assert ageing.quota("default.high", 1000) == 8


def test_ageing_can_be_off(settings) -> None:
    settings.AGEING_SECONDS = 0
    ageing = Ageing()
    ageing.earn("default.high", 1000)
    assert ageing.quota("default.high", 1000) == 0


def test_the_highest_effective_priority_is_first_and_of_equal_ones_the_one_that_was_due_for_longest() -> None:
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


def test_aged_tasks_are_not_looked_for_in_levels_whose_first_task_is_younger() -> None:
    waits = {
        PriorityLevel("default", 1): 180.0,
        PriorityLevel("default", 2): 119.9,
        PriorityLevel("default", 3): -inf,
        PriorityLevel("other", 3): 999.0,
    }
    assert [priority for priority, _ in Ageing.order("default", 4, waits)] == [1]
