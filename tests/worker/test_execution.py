"""Executions: how the end of a run is captured."""

import io
import os
import select
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from dramatiq.middleware import SkipMessage, TimeLimitExceeded

from tasks.errors import Snooze
from tests.actors import Rude, Unprintable
from tests.waiting import wait_until
from tests.worker.threads import busy, execution, run


def test_a_result_is_captured_and_returned(interrupter) -> None:
    one = execution()
    assert one.run(lambda: 3, interrupter, is_async=False) == 3
    assert (one.result, one.error, one.is_captured) == (3, None, True)
    assert one.has_started


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Rude(), Unprintable(), Snooze(5)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_is_captured_and_goes_on(interrupter, error: BaseException) -> None:
    def fail() -> None:
        raise error

    one = execution()
    with pytest.raises(type(error)):
        one.run(fail, interrupter, is_async=False)
    assert one.error is error


def test_a_stop_iteration_is_captured_as_what_it_is(interrupter) -> None:
    one = execution()
    with pytest.raises(StopIteration):
        one.run(lambda: next(iter([])), interrupter, is_async=False)
    assert isinstance(one.error, StopIteration)


def test_the_first_capture_wins(interrupter) -> None:
    one = run(lambda: "result", interrupter)
    one.capture_failure(RuntimeError("a hook failed later"))
    assert (one.result, one.error) == ("result", None)
    other = run(lambda: 1 / 0, interrupter)
    other.skip()
    other.capture_failure(RuntimeError("later"))
    assert (type(other.error), other.is_skipped) == (ZeroDivisionError, False)


def test_a_run_without_an_outcome_counts_as_failed() -> None:
    one = execution()
    one.capture_failure(None)
    assert "without an outcome" in str(one.error)


def test_a_skipped_run_has_no_result_and_says_why() -> None:
    one = execution()
    one.skip(SkipMessage("not today"))
    assert (one.is_captured, one.is_skipped, one.result, str(one.error)) == (True, True, None, "not today")


def test_times_are_the_databases(interrupter) -> None:
    one = run(busy, interrupter, 0.02)
    started, finished = one.at(one.started_monotonic), one.at(one.finished_monotonic)
    assert one.claimed.claimed_at <= started < finished
    assert timedelta(milliseconds=20) <= finished - started < timedelta(minutes=1)


def test_an_actor_that_swallows_its_interrupt_and_returns_has_succeeded(interrupter) -> None:
    def stubborn() -> str:
        try:
            busy(20)
        except TimeLimitExceeded:
            return "cleaned up"
        return "unreachable"

    assert run(stubborn, interrupter, time_limit_seconds=0.02).result == "cleaned up"


def test_a_forked_copy_of_an_actor_ends_where_the_actor_returns(interrupter) -> None:
    one = execution()
    parent = os.getpid()
    pids: list[int] = []

    def fork() -> str:
        pids.append(os.fork())
        return "parent" if os.getpid() == parent else "child"

    # If the copy went on, it would write into this file.
    with tempfile.NamedTemporaryFile() as file:
        result = one.run(fork, interrupter, is_async=False)
        with Path(file.name).open("a") as behind:
            behind.write(f"{result}\n")
        os.waitpid(pids[0], 0)
        assert Path(file.name).read_text() == "parent\n"


def test_a_forked_copy_ends_although_a_stream_was_copied_locked(interrupter, monkeypatch) -> None:
    # A thread that logs holds the lock of the stream's buffer, because the pipe is full.
    read_end, write_end = os.pipe()
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(write_end, "w")))
    writer = threading.Thread(target=stream.buffer.write, args=(b"x" * 1_000_000,))
    writer.start()
    wait_until(lambda: not select.select([], [write_end], [], 0)[1], what="the pipe to be full")
    monkeypatch.setattr(sys, "stdout", stream)
    pids: list[int] = []
    execution().run(lambda: pids.append(os.fork()), interrupter, is_async=False)
    try:
        wait_until(lambda: os.waitpid(pids[0], os.WNOHANG)[0] == pids[0], what="the copy to end")
    finally:
        monkeypatch.undo()
        os.set_blocking(read_end, False)
        while writer.is_alive():
            with suppress(BlockingIOError):
                os.read(read_end, 65536)
        stream.close()
        os.close(read_end)
        with suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGKILL)


def test_an_actor_that_turns_its_interrupt_into_an_error_of_its_own_has_failed(interrupter) -> None:
    # Actors may use `raise … from` too. Only a RuntimeError of the event loop means that a coroutine still runs.
    def well_mannered() -> None:
        try:
            busy(20)
        except TimeLimitExceeded as error:
            raise RuntimeError("gave up after the limit") from error

    one = run(well_mannered, interrupter, time_limit_seconds=0.02)
    assert type(one.error) is RuntimeError
