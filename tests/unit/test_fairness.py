"""Fairness keys and their lanes."""

from collections import Counter

from tasks.fairness import LANES, NO_KEY, lane_of


def test_a_key_has_one_lane_for_ever() -> None:
    # It is stored with each task: another hash would divide a customer's tasks.
    assert [lane_of(key) for key in ("customer-17", "customer-18", "ü", "x" * 100)] == [224, 79, 214, 144]


def test_tasks_without_a_key_have_a_lane_of_their_own() -> None:
    assert lane_of(None) == NO_KEY
    assert {lane_of(str(number)) for number in range(20_000)} == set(range(1, LANES + 1))


def test_keys_are_spread_over_all_lanes() -> None:
    count = Counter(lane_of(f"customer-{number}") for number in range(100 * LANES))
    assert len(count) == LANES
    assert max(count.values()) < 200
