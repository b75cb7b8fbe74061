"""Slots: how many tasks a process may hold."""

import threading
import time

import pytest

from tasks.worker import slots as module
from tasks.worker.slots import LOOKAHEAD_SECONDS, MOST_LOOKAHEAD, Slots
from tests.waiting import wait_until


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_at_first_there_is_a_slot_for_each_thread(clock) -> None:
    slots = Slots(4)
    assert slots.free() == 4
    slots.acquire(3)
    assert (slots.free(), slots.held) == (1, 3)
    slots.acquire(5)
    assert slots.free() == 0
    slots.release(8, finished=False)
    assert (slots.free(), slots.held) == (4, 0)


def test_the_lookahead_is_what_was_finished_in_the_last_tenth_of_a_second(clock) -> None:
    slots = Slots(2)
    slots.acquire(40)
    slots.release(30)
    clock.now += LOOKAHEAD_SECONDS
    assert slots.free() == 2 + 30 - 10


def test_the_lookahead_is_a_rate_and_not_a_count(clock) -> None:
    slots = Slots(2)
    slots.acquire(30)
    slots.release(30)
    clock.now += 10 * LOOKAHEAD_SECONDS
    assert slots.free() == 2 + 3


def test_a_process_that_finishes_nothing_has_no_lookahead(clock) -> None:
    slots = Slots(2)
    slots.acquire(30)
    slots.release(30)
    clock.now += LOOKAHEAD_SECONDS
    assert slots.free() == 32
    clock.now += LOOKAHEAD_SECONDS
    assert slots.free() == 2


def test_tasks_that_are_put_back_do_not_count_for_the_lookahead(clock) -> None:
    slots = Slots(2)
    slots.acquire(30)
    slots.release(30, finished=False)
    clock.now += LOOKAHEAD_SECONDS
    assert slots.free() == 2


def test_the_lookahead_is_bounded(clock) -> None:
    slots = Slots(2)
    slots.acquire(1_000_000)
    slots.release(1_000_000)
    clock.now += LOOKAHEAD_SECONDS
    assert slots.free() == 2 + MOST_LOOKAHEAD


@pytest.mark.parametrize("wait", [Slots.wait, Slots.wait_for_one])
def test_a_wait_ends_with_a_task(wait) -> None:
    slots = Slots(1)
    slots.acquire(1)
    ended = threading.Event()

    def wait_and_say() -> None:
        wait(slots, 20)
        ended.set()

    thread = threading.Thread(target=wait_and_say)
    thread.start()
    wait_until(lambda: slots._freed._waiters, what="the thread to wait")  # type: ignore[attr-defined]
    assert not ended.is_set()
    slots.release()
    assert ended.wait(5)
    thread.join()


def test_a_wait_that_begins_after_the_last_task_has_ended_returns_at_once() -> None:
    # The task may end between the consumer's look and its wait, and no wake-up would follow.
    slots = Slots(1)
    slots.acquire(1)
    slots.release()
    began = time.monotonic()
    slots.wait_for_one(50)
    assert time.monotonic() - began < 30


def test_a_wait_for_one_more_counts_the_lookahead(clock) -> None:
    slots = Slots(1)
    slots.acquire(31)
    slots.release(30)
    clock.now += LOOKAHEAD_SECONDS
    assert slots.free() == 30
    began = time.monotonic()
    slots.wait_for_one(50)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("wait", [Slots.wait, Slots.wait_for_one])
def test_a_wait_ends_at_its_timeout(wait) -> None:
    slots = Slots(1)
    slots.acquire(1)
    began = time.monotonic()
    wait(slots, 0.05)
    assert 0.04 < time.monotonic() - began < 30
