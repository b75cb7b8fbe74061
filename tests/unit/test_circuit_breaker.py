"""The circuit breaker: opens when nobody is answered, shares one probe, closes by itself."""

import threading
import time
from collections.abc import Callable

import pytest

from tasks import circuit_breaker
from tasks.circuit_breaker import CircuitBreaker
from tests.waiting import wait_until

#: Longer than any test waits.
LONG_SECONDS = 30.0


class Server:
    """What a probe asks: it answers, fails, or says nothing until it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.threads: set[int] = set()
        self.error: Exception | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()

    def probe(self) -> None:
        self.asked += 1
        self.threads.add(threading.get_ident())
        assert self.goes_on.wait(LONG_SECONDS)
        if self.error:
            raise self.error


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(circuit_breaker, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(circuit_breaker, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(circuit_breaker, "PAUSE_SECONDS", 0.01)
    server = Server()
    yield server
    server.error = None
    server.goes_on.set()


@pytest.fixture
def breaker(server: Server) -> CircuitBreaker:
    return CircuitBreaker("test", server.probe)


def within(seconds: float, look: Callable[[], object]) -> object:
    began = time.monotonic()
    found = look()
    assert time.monotonic() - began < seconds
    return found


def test_a_server_that_answers_is_well(server: Server, breaker: CircuitBreaker) -> None:
    assert breaker.answers()
    assert not breaker.is_open


def test_an_answer_counts_for_a_moment(server: Server, breaker: CircuitBreaker, monkeypatch) -> None:
    assert [breaker.answers() for _ in range(50)] == [True] * 50
    assert server.asked == 1
    monkeypatch.setattr(circuit_breaker, "FRESH_SECONDS", 0.0)
    assert breaker.answers()
    assert server.asked == 2


def test_a_silent_server_is_asked_by_one_thread_however_many_ask(server: Server, breaker: CircuitBreaker) -> None:
    server.goes_on.clear()
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(breaker.answers())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert (answers, server.asked) == ([False] * 20, 1)
    assert within(0.04, breaker.answers) is False, "its patience is over already"


def test_the_circuit_opens_when_a_probe_is_not_answered_and_closes_by_itself(
    server: Server, breaker: CircuitBreaker
) -> None:
    server.goes_on.clear()
    breaker.suspect()
    assert not breaker.is_open
    wait_until(lambda: breaker.is_open, timeout=5, what="the circuit to open")
    server.goes_on.set()
    wait_until(lambda: not breaker.is_open, timeout=5, what="the circuit to close")
    assert breaker.answers()


def test_it_stays_open_while_probes_fail_after_silence(server: Server, breaker: CircuitBreaker) -> None:
    server.goes_on.clear()
    server.error = OSError("timed out")
    breaker.suspect()
    wait_until(lambda: breaker.is_open, timeout=5, what="the circuit to open")
    server.goes_on.set()
    # This one fails after a long silence, the next one at once: a server that refuses is no longer silent.
    wait_until(lambda: not breaker.is_open, timeout=5, what="the circuit to close")
    assert not breaker.answers()


def test_a_server_that_refuses_at_once_is_not_well_and_opens_nothing(server: Server, breaker: CircuitBreaker) -> None:
    server.error = OSError("refused")
    assert not breaker.answers()
    assert not breaker.is_open


def test_a_caller_can_open_it_until_a_probe_succeeds(server: Server, breaker: CircuitBreaker) -> None:
    server.error = OSError("refused")
    breaker.trip()
    assert breaker.is_open
    wait_until(lambda: server.asked > 3, timeout=5, what="more probes")
    assert breaker.is_open
    assert within(0.04, breaker.answers) is False
    assert len(server.threads) == 1, "one probe at a time"
    server.error = None
    wait_until(lambda: not breaker.is_open, timeout=5, what="the circuit to close")


def test_without_a_thread_for_the_probe_the_server_counts_as_away(breaker: CircuitBreaker, monkeypatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert not breaker.answers()
    assert breaker.answers()
