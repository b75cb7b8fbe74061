"""Wake-ups: few NOTIFYs, none inside anybody's transaction, and a listener that comes back."""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from django.db import OperationalError, connection, transaction
from dramatiq.middleware import Shutdown
from dramatiq.threading import raise_thread_exception

from tasks.broker import notifier as module
from tasks.broker.notifier import (
    ALL_NEWS,
    CHANNEL,
    FLUSH_SECONDS,
    LONGEST_COMMIT_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    Listener,
    News,
    Notifier,
)
from tasks.db import sessions
from tasks.lifecycle import Moved, transitioned
from tasks.models import new_id
from tasks.states import DUE, Status
from tests.factories import submit
from tests.waiting import wait_until


class Ear:
    """Counts NOTIFYs."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._count = 0

    @property
    def count(self) -> int:
        while select.select([self._session], [], [], 0)[0]:
            self._session.poll()
            self._count += len(self._session.notifies)
            self._session.notifies.clear()
        return self._count


@pytest.fixture
def ear(direct_database: str) -> Iterator[Ear]:
    with closing(psycopg2.connect(direct_database)) as session:
        session.autocommit = True
        session.cursor().execute(f"LISTEN {CHANNEL}")
        yield Ear(session)


def sessions_like(query: str) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid() "
            "AND datname = current_database()",
            [query],
        )
        return [pid for (pid,) in cursor.fetchall()]


@pytest.fixture
def notifier(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notifier]:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    yield Notifier()
    # Its thread stays for ever, its connection must not: the database is dropped at the end.
    wait_until(lambda: not sessions_like("%NOTIFY%"))


# --- Sending ---


def test_a_poke_is_heard(notifier, ear) -> None:
    notifier.poke(News.DUE)
    wait_until(lambda: ear.count == 1)


def test_a_burst_of_pokes_is_at_most_one_notify_every_five_milliseconds(notifier, ear) -> None:
    began = time.monotonic()
    for _ in range(20_000):
        notifier.poke(News.DUE)
    wait_until(lambda: ear.count)
    # All that may have been sent by now; the last one is on its way.
    most = (time.monotonic() - began) / SHORTEST_INTERVAL_SECONDS + 2
    assert 1 <= ear.count <= most


def test_a_process_that_says_nothing_gives_its_connection_back_and_speaks_again(notifier, ear) -> None:
    notifier.poke(News.DUE)
    wait_until(lambda: ear.count == 1)
    wait_until(lambda: not sessions_like("%NOTIFY%"))
    notifier.poke(News.DUE)
    wait_until(lambda: ear.count == 2)


def test_a_database_that_was_away_is_told_the_next_time(notifier, ear, monkeypatch) -> None:
    errors = [OperationalError("away")]

    def away() -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(sessions, "refresh", away)
    notifier.poke(News.DUE)
    wait_until(lambda: not errors)
    notifier.poke(News.DUE)
    wait_until(lambda: ear.count == 1)


def test_who_pokes_does_not_fail_when_no_thread_can_be_started(notifier, ear, monkeypatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        notifier.poke(News.DUE)
    notifier.poke(News.DUE)
    wait_until(lambda: ear.count == 1)


def test_where_the_scheduler_is_in_the_same_process_it_is_called_and_no_database_asked(notifier, ear) -> None:
    calls: list[Any] = []
    notifier.local = calls.append
    notifier.poke(News.DUE)
    assert calls == [{News.DUE}]
    assert notifier._pid is None


def test_a_flush_returns_when_everything_is_sent_that_was_asked_for_before(notifier, monkeypatch) -> None:
    sent: list[Any] = []

    def send(news: Any) -> None:
        time.sleep(0.05)
        sent.append(news)

    monkeypatch.setattr(notifier, "_send", send)
    notifier.poke(News.DUE)
    wait_until(lambda: sent)
    notifier.poke(News.ENDED)
    notifier.flush()
    assert sent == [{News.DUE}, {News.ENDED}]


def test_a_process_that_never_spoke_has_nothing_to_flush(notifier, ear) -> None:
    notifier.flush()
    assert notifier._pid is None
    assert ear.count == 0


def test_a_flush_gives_up_on_a_silent_database_after_a_moment_and_says_nothing(notifier, monkeypatch) -> None:
    warnings: list[str] = []
    is_asked, answer = threading.Event(), threading.Event()

    def silent() -> None:
        is_asked.set()
        assert answer.wait(20)
        raise OperationalError("away")

    monkeypatch.setattr(sessions, "refresh", silent)
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=lambda text, **_: warnings.append(text)))
    notifier.poke(News.DUE)
    assert is_asked.wait(10)
    began = time.monotonic()
    notifier.flush()
    took = time.monotonic() - began
    answer.set()
    assert FLUSH_SECONDS <= took < FLUSH_SECONDS + 0.3
    monkeypatch.setattr(sessions, "refresh", lambda: None)
    notifier.flush()
    assert warnings == []


def test_an_interrupt_of_who_pokes_leaves_no_lock_that_others_wait_for(notifier) -> None:
    notifier.poke(News.DUE)
    for _ in range(100):
        interrupt_who_pokes(notifier)
    other = threading.Thread(target=notifier.poke, args=(News.DUE,), daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive(), "an interrupt has left a lock behind"


def interrupt_who_pokes(notifier: Notifier) -> None:
    is_poking = threading.Event()

    def poke() -> None:
        with suppress(Shutdown):
            is_poking.set()
            while True:
                notifier.poke(News.DUE)

    thread = threading.Thread(target=poke, daemon=True)
    thread.start()
    assert is_poking.wait(10)
    for _ in range(5):
        # Again if it got lost in a callback, where Python ignores what is raised.
        raise_thread_exception(thread.ident, Shutdown)
        thread.join(1)
        if not thread.is_alive():
            break
    assert not thread.is_alive(), "an interrupt has left a lock behind"


# --- When ---


@pytest.fixture
def pokes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    made: list[Any] = []
    monkeypatch.setattr(module.notifier, "local", made.append)
    module.connect()
    yield made
    module.disconnect()


def test_a_submission_wakes_when_it_is_committed_and_not_before(transactional_db, pokes) -> None:
    with transaction.atomic():
        submit()
        assert pokes == []
    assert pokes == [{News.DUE}]


def test_a_submission_that_is_rolled_back_wakes_nobody(transactional_db, pokes) -> None:
    with transaction.atomic():
        submit()
        transaction.set_rollback(True)
    assert pokes == []


@pytest.mark.parametrize("status", Status)
def test_what_became_due_wakes_and_nothing_else(pokes, status: Status) -> None:
    transitioned.send(None, verb="requeue", moves=[Moved(new_id(), status, "act", "default", "")], at=time.monotonic())
    assert pokes == ([{News.BEHIND}] if status in DUE else [])


@pytest.mark.parametrize("verb", ["submit", "complete"])
def test_what_comes_at_the_end_of_its_line_is_no_news_from_the_front(pokes, verb: str) -> None:
    moves = [Moved(new_id(), Status.RETRYING, "act", "default", "")]
    transitioned.send(None, verb=verb, moves=moves, at=time.monotonic())
    transitioned.send(None, verb=verb, moves=moves, at=time.monotonic() - 2 * LONGEST_COMMIT_SECONDS)
    # Others may have been dispatched before a long transaction's commit.
    assert pokes == [{News.DUE}, {News.BEHIND}]


# --- Hearing ---


@pytest.fixture
def wakes(direct_database: str) -> Iterator[list[Any]]:
    heard: list[Any] = []
    listener = Listener(heard.append)
    listener.start()
    # It wakes once when it begins to listen: something may have been said before.
    wait_until(lambda: heard)
    yield heard
    listener.stop()


def notify(payload: str = "due") -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {CHANNEL}, '{payload}'")


def test_a_notify_wakes(wakes) -> None:
    before = len(wakes)
    notify()
    wait_until(lambda: len(wakes) > before)
    before = len(wakes)
    notify()
    wait_until(lambda: len(wakes) > before)


@pytest.mark.parametrize(
    ("payload", "news"),
    [
        ("behind", {News.BEHIND}),
        ("due ended", {News.DUE, News.ENDED}),
        ("", ALL_NEWS),
        ("due something-new", ALL_NEWS),
    ],
)
def test_the_payload_is_the_news_and_what_another_release_says_may_be_all(wakes, payload: str, news: Any) -> None:
    assert wakes == [ALL_NEWS]
    notify(payload)
    wait_until(lambda: wakes[1:] == [news])


def test_a_lost_connection_comes_back_and_wakes_for_what_was_missed(wakes) -> None:
    (pid,) = sessions_like(f"LISTEN {CHANNEL}")
    before = len(wakes)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    wait_until(lambda: len(wakes) > before)
    wait_until(lambda: sessions_like(f"LISTEN {CHANNEL}") not in ([], [pid]))
    before = len(wakes)
    notify()
    wait_until(lambda: len(wakes) > before)


def test_a_stopped_listener_leaves_no_session(direct_database) -> None:
    listener = Listener(lambda _: None)
    listener.start()
    wait_until(lambda: sessions_like(f"LISTEN {CHANNEL}"))
    listener.stop()
    wait_until(lambda: not sessions_like(f"LISTEN {CHANNEL}"))
