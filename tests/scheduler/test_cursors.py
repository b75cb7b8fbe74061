"""Where the dispatcher continues in each priority level, and when it starts from the front again."""

from typing import Any

import pytest

from tasks.hint import Hint
from tasks.lifecycle import Dispatched, Probe
from tasks.models import new_id
from tasks.queries.due import Lane
from tasks.scheduler.cursors import CURSOR_SECONDS, LOOK_BACK, Cursors
from tests.factories import imagine_claim
from tests.scheduler.stage import stop_clock


@pytest.fixture
def clock(monkeypatch) -> Any:
    return stop_clock(monkeypatch)


def dispatched(priority: int) -> Dispatched:
    return Dispatched(Hint(new_id(), 1), "default", "medium", priority, imagine_claim().claimed_at, "act", "0" * 32)


def test_a_probe_starts_at_the_front_and_continues_behind_the_last_task_of_its_priority(clock) -> None:
    cursors = Cursors()
    first = cursors.probe(Lane("default", 5), "medium")
    assert first == Probe(5, "medium", 1)
    early, last, other = dispatched(5), dispatched(5), dispatched(6)
    cursors.dispatched("default", [early, last, other])
    assert cursors.probe(Lane("default", 5), "medium").after_id == last.hint.task_id
    assert cursors.probe(Lane("default", 6), "medium").after_id == other.hint.task_id
    assert cursors.probe(Lane("default", 7), "medium").after_id is None
    assert cursors.probe(Lane("other", 5), "medium").after_id is None


def test_nothing_found_leaves_the_cursor(clock) -> None:
    cursors = Cursors()
    one = dispatched(5)
    cursors.dispatched("default", [one])
    cursors.dispatched("default", [])
    assert cursors.probe(Lane("default", 5), "medium").after_run_at == one.run_at


def test_a_look_back_begins_a_moment_before_the_cursor_until_its_level_was_looked_at(clock) -> None:
    cursors = Cursors()
    five, six = dispatched(5), dispatched(6)
    cursors.dispatched("default", [five, six])
    cursors.look_back()
    for one in (five, six):
        probe = cursors.probe(Lane("default", one.priority), "medium")
        assert (probe.after_run_at, probe.after_id) == (one.run_at - LOOK_BACK, None)
    cursors.nothing_due(Lane("default", 5))
    assert cursors.probe(Lane("default", 5), "medium").after_id == five.hint.task_id
    found = dispatched(6)
    cursors.dispatched("default", [found])
    assert cursors.probe(Lane("default", 6), "medium").after_id == found.hint.task_id


def test_a_restart_begins_at_the_front(clock) -> None:
    cursors = Cursors()
    cursors.dispatched("default", [dispatched(5)])
    cursors.look_back()
    cursors.restart()
    assert cursors.probe(Lane("default", 5), "medium") == Probe(5, "medium", 1)


@pytest.mark.parametrize(
    ("front_seconds", "good_for"), [(0, CURSOR_SECONDS), (0.003, CURSOR_SECONDS), (0.02, 6.0), (5, 30.0)]
)
def test_the_longer_reading_from_the_front_takes_the_longer_cursors_are_good(clock, front_seconds, good_for) -> None:
    cursors = Cursors()
    cursors.front_took(front_seconds)
    clock.now += good_for - 0.01
    assert not cursors.are_stale()
    clock.now += 0.02
    assert cursors.are_stale()
    cursors.restart()
    assert not cursors.are_stale()
