"""The interrupter: how a run is stopped."""

import io
import logging
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from dramatiq.middleware import Interrupt, Shutdown, TimeLimitExceeded

from tasks.worker.interrupter import CLEAN_UP_SECONDS, Cancelled, Interrupter
from tests.worker.threads import busy, execution, in_thread, run


def test_a_run_is_interrupted_at_its_time_limit(interrupter) -> None:
    before = time.monotonic()
    one = run(busy, interrupter, 20, time_limit_seconds=0.05)
    assert isinstance(one.error, TimeLimitExceeded)
    assert one.interrupts == [TimeLimitExceeded]
    assert time.monotonic() - before >= 0.05


def test_a_limit_of_zero_means_no_limit(interrupter) -> None:
    run(busy, interrupter, 20, time_limit_seconds=0.02)
    assert run(busy, interrupter, 0.1, time_limit_seconds=0).result == "done"


def test_a_shorter_limit_that_comes_later_is_kept(interrupter) -> None:
    long = threading.Thread(target=run, args=(busy, interrupter, 1.0), kwargs={"time_limit_seconds": 100.0})
    long.start()
    one = run(busy, interrupter, 20, time_limit_seconds=0.05)
    assert isinstance(one.error, TimeLimitExceeded)
    long.join()


@pytest.mark.parametrize("reason", [Cancelled, Shutdown])
def test_a_run_can_be_interrupted_from_outside(interrupter, reason: type[Interrupt]) -> None:
    one = execution()
    thread = in_thread(one, interrupter)
    interrupter.interrupt(one, reason)
    interrupter.interrupt(one, TimeLimitExceeded)
    thread.join(10)
    assert not thread.is_alive()
    assert type(one.error) is reason
    assert one.interrupts == [reason]


def test_an_interrupt_that_comes_before_the_start_hits_at_the_start(interrupter) -> None:
    one = execution()
    interrupter.interrupt(one, Cancelled)
    with pytest.raises(Cancelled):
        one.run(partial(busy, 20), interrupter, is_async=False)


def test_a_shutdown_interrupts_what_runs_and_nothing_else(interrupter) -> None:
    running, unstarted = execution(), execution()
    thread = in_thread(running, interrupter)
    interrupter.interrupt_all(Shutdown)
    thread.join(10)
    assert isinstance(running.error, Shutdown)
    assert not unstarted.is_asked_to_stop


def test_a_run_that_swallows_its_cancel_still_meets_its_limit(interrupter) -> None:
    def stubborn() -> None:
        with suppress(Cancelled):
            busy(20)
        busy(20)

    one = execution(time_limit_seconds=0.3)
    threading.Timer(0.05, interrupter.interrupt, (one, Cancelled)).start()
    with pytest.raises(TimeLimitExceeded):
        one.run(stubborn, interrupter, is_async=False)
    assert one.interrupts == [Cancelled, TimeLimitExceeded]


def test_a_second_interrupt_leaves_time_to_clean_up_after_the_first(interrupter) -> None:
    cleaned = threading.Event()

    def tidy() -> None:
        try:
            busy(20)
        finally:
            busy(CLEAN_UP_SECONDS / 2)
            cleaned.set()

    one = execution(time_limit_seconds=0.1)
    threading.Timer(0.02, interrupter.interrupt, (one, Cancelled)).start()
    with pytest.raises(Cancelled):
        one.run(tidy, interrupter, is_async=False)
    assert cleaned.is_set()


# An interrupt that lands in a callback of the garbage collector is lost; the limit is repeated for such.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_interrupt_leaves_the_lock_of_a_log_handler_locked(interrupter, settings) -> None:
    settings.STUCK_AFTER_SECONDS = 1
    # It used to land between Handler.acquire() and the try behind it, after 20 to 30 runs.
    handler = logging.StreamHandler(io.StringIO())
    logger = logging.getLogger("chatty")
    logger.addHandler(handler)
    logger.propagate = False

    def chatter() -> None:
        while True:
            logger.warning("a line")
            # The work that it logs about.
            sum(range(2_000))

    try:
        for _ in range(60):
            assert isinstance(run(chatter, interrupter, time_limit_seconds=0.01).error, TimeLimitExceeded)
            assert _is_free(handler.lock), "an interrupt left the lock locked"
    finally:
        logger.removeHandler(handler)


def _is_free(lock: Any) -> bool:
    """Tell whether another thread gets the lock."""
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=1)))
    thread.start()
    thread.join()
    if got == [True]:
        # Taken in a thread that is gone: only a fresh lock helps the next round.
        lock._at_fork_reinit()
    return got == [True]


def test_an_interrupt_that_never_finds_a_good_moment_is_sent_all_the_same(interrupter) -> None:
    def acquire() -> None:
        busy(20)

    assert isinstance(run(acquire, interrupter, time_limit_seconds=0.05).error, TimeLimitExceeded)


def test_nothing_is_left_behind_that_slows_calls_down(interrupter) -> None:
    # To clear an interrupt kept CPython looking for one for ever: on 3.12 calls took 1.65 times as long.
    def calls() -> float:
        began = time.thread_time()
        for _ in range(200_000):
            ""
        return time.thread_time() - began

    before = min(calls() for _ in range(5))
    run(lambda: None, interrupter)
    # Many, because a neighbour on the same core slows some of them down as well.
    assert min(calls() for _ in range(100)) < 1.4 * before


def test_a_run_that_is_traced_ends(interrupter) -> None:
    # On 3.11 the thread hung for good at the first task under a debugger or coverage.
    def traced() -> str:
        sys.settrace(lambda *_: None)
        try:
            return "done"
        finally:
            sys.settrace(None)

    assert run(traced, interrupter).result == "done"
    sys.settrace(lambda *_: None)
    try:
        assert run(lambda: "done", interrupter).result == "done"
    finally:
        sys.settrace(None)


def test_an_interrupt_after_the_end_has_no_effect(interrupter) -> None:
    one = run(lambda: "done", interrupter)
    interrupter.interrupt(one, Cancelled)
    interrupter.interrupt_all(Shutdown)
    busy(0.02)
    assert one.result == "done"


def test_an_interrupt_never_hits_after_disarm_and_no_outcome_is_lost(interrupter) -> None:
    # Runs about as long as their limit, thousands of times in several threads.
    outcomes: Counter[str] = Counter()
    survivors: list[int] = []
    lock = threading.Lock()

    def loop(seed: int) -> None:
        for number in range(1500):
            length = 0.0005 + (number * 7919 + seed) % 100 / 200_000
            one = execution(time_limit_seconds=0.0007)
            try:
                returned = one.run(partial(busy, length), interrupter, is_async=False)
            except TimeLimitExceeded as error:
                kind = "timeout" if one.error is error else "lost error"
            else:
                kind = "success" if one.result == returned == "done" and one.error is None else "lost result"
            # Whatever hits from here on would kill the thread.
            with lock:
                outcomes[kind if not one.is_armed else "still armed"] += 1
        with lock:
            survivors.append(seed)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    try:
        threads = [threading.Thread(target=loop, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(40)
    finally:
        sys.setswitchinterval(interval)
    assert sorted(survivors) == [0, 1, 2], outcomes
    assert set(outcomes) == {"success", "timeout"}, outcomes
    assert sum(outcomes.values()) == 4500
    assert interrupter._armed == {}


def test_a_run_that_exceeds_its_limit_by_far_is_stuck(settings) -> None:
    settings.STUCK_AFTER_SECONDS = 180
    interrupter, limited, unlimited = Interrupter(), execution(time_limit_seconds=1), execution(time_limit_seconds=0)
    for one in (limited, unlimited):
        interrupter.arm(one)
    assert not interrupter.is_stuck(limited)
    assert limited.deadline is not None
    limited.deadline -= 182
    assert interrupter.is_stuck(limited)
    assert not interrupter.is_stuck(unlimited)
    interrupter.disarm(limited)
    assert not interrupter.is_stuck(limited), "it has ended after all"
