"""Wake-ups: few NOTIFYs, none inside a caller's transaction, and a listener that reconnects."""

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
    ALL_EVENTS,
    CHANNEL,
    FLUSH_SECONDS,
    LONGEST_COMMIT_SECONDS,
    SHORTEST_INTERVAL_SECONDS,
    Event,
    Listener,
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
    # Its thread never ends, but its connection must: the database is dropped at the end.
    wait_until(lambda: not sessions_like("%NOTIFY%"))


# --- Sending ---


def test_a_notification_is_heard(notifier, ear) -> None:
    notifier.notify(Event.DUE)
    wait_until(lambda: ear.count == 1)


def test_a_burst_of_notifications_is_at_most_one_notify_every_five_milliseconds(notifier, ear) -> None:
    began = time.monotonic()
    for _ in range(20_000):
        notifier.notify(Event.DUE)
    wait_until(lambda: ear.count)
    # As many as may have been sent by now, and one that is on its way.
    most = (time.monotonic() - began) / SHORTEST_INTERVAL_SECONDS + 2
    assert 1 <= ear.count <= most


def test_an_idle_process_closes_its_connection_and_can_send_again(notifier, ear) -> None:
    notifier.notify(Event.DUE)
    wait_until(lambda: ear.count == 1)
    wait_until(lambda: not sessions_like("%NOTIFY%"))
    notifier.notify(Event.DUE)
    wait_until(lambda: ear.count == 2)


@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("unexpected")])
def test_after_an_outage_of_the_database_the_next_event_is_sent(notifier, ear, monkeypatch, error: Exception) -> None:
    errors = [error]

    def away() -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(sessions, "refresh", away)
    notifier.notify(Event.DUE)
    wait_until(lambda: not errors)
    notifier.notify(Event.DUE)
    wait_until(lambda: ear.count == 1)


def test_notifying_does_not_fail_when_no_thread_can_be_started(notifier, ear, monkeypatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        notifier.notify(Event.DUE)
    notifier.notify(Event.DUE)
    wait_until(lambda: ear.count == 1)


def test_a_scheduler_in_the_same_process_is_called_without_the_database(notifier, ear) -> None:
    calls: list[Any] = []
    notifier.local = calls.append
    notifier.notify(Event.DUE)
    assert calls == [{Event.DUE}]
    assert notifier._pid is None


def test_a_flush_returns_when_all_earlier_events_are_sent(notifier, monkeypatch) -> None:
    sent: list[Any] = []

    def send(events: Any) -> None:
        time.sleep(0.05)
        sent.append(events)

    monkeypatch.setattr(notifier, "_send", send)
    notifier.notify(Event.DUE)
    wait_until(lambda: sent)
    notifier.notify(Event.WORKER_ENDED)
    notifier.flush()
    assert sent == [{Event.DUE}, {Event.WORKER_ENDED}]


def test_a_process_that_never_sent_an_event_has_nothing_to_flush(notifier, ear) -> None:
    notifier.flush()
    assert notifier._pid is None
    assert ear.count == 0


def test_a_flush_gives_up_on_a_silent_database_after_a_moment_without_a_warning(notifier, monkeypatch) -> None:
    warnings: list[str] = []
    is_asked, answer = threading.Event(), threading.Event()

    def silent() -> None:
        is_asked.set()
        assert answer.wait(20)
        raise OperationalError("away")

    monkeypatch.setattr(sessions, "refresh", silent)
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=lambda text, **_: warnings.append(text)))
    notifier.notify(Event.DUE)
    assert is_asked.wait(10)
    began = time.monotonic()
    notifier.flush()
    took = time.monotonic() - began
    answer.set()
    assert FLUSH_SECONDS <= took < FLUSH_SECONDS + 0.3
    monkeypatch.setattr(sessions, "refresh", lambda: None)
    notifier.flush()
    assert warnings == []


def test_an_interrupt_of_a_notifying_thread_leaves_no_lock_that_others_wait_for(notifier) -> None:
    notifier.notify(Event.DUE)
    for _ in range(100):
        interrupt_a_notifying_thread(notifier)
    other = threading.Thread(target=notifier.notify, args=(Event.DUE,), daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive(), "an interrupt has left a lock behind"


def interrupt_a_notifying_thread(notifier: Notifier) -> None:
    is_notifying = threading.Event()

    def notify() -> None:
        with suppress(Shutdown):
            is_notifying.set()
            while True:
                notifier.notify(Event.DUE)

    thread = threading.Thread(target=notify, daemon=True)
    thread.start()
    assert is_notifying.wait(10)
    for _ in range(5):
        # Again if it got lost in a callback, where Python ignores what is raised.
        raise_thread_exception(thread.ident, Shutdown)
        thread.join(1)
        if not thread.is_alive():
            break
    assert not thread.is_alive(), "an interrupt has left a lock behind"


# --- When ---


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    made: list[Any] = []
    monkeypatch.setattr(module.notifier, "local", made.append)
    module.connect()
    yield made
    module.disconnect()


def test_a_submission_wakes_when_it_is_committed_and_not_before(transactional_db, events) -> None:
    with transaction.atomic():
        submit()
        assert events == []
    assert events == [{Event.DUE}]


def test_a_submission_that_is_rolled_back_sends_no_event(transactional_db, events) -> None:
    with transaction.atomic():
        submit()
        transaction.set_rollback(True)
    assert events == []


@pytest.mark.parametrize("status", Status)
def test_only_tasks_that_become_due_send_an_event(events, status: Status) -> None:
    transitioned.send(None, verb="requeue", moves=[Moved(new_id(), status, "act", "default", "")], at=time.monotonic())
    # A child that is blocked again may have parents that have ended.
    expected = [{Event.SETTLE}] if status == Status.BLOCKED else [{Event.DUE_ANYWHERE}] if status in DUE else []
    assert events == expected


@pytest.mark.parametrize("verb", ["submit", "complete"])
def test_new_tasks_at_the_end_of_their_level_are_not_looked_for_from_the_front(events, verb: str) -> None:
    moves = [Moved(new_id(), Status.RETRYING, "act", "default", "")]
    transitioned.send(None, verb=verb, moves=moves, at=time.monotonic())
    transitioned.send(None, verb=verb, moves=moves, at=time.monotonic() - 2 * LONGEST_COMMIT_SECONDS)
    # Others may have been dispatched before a long transaction's commit.
    assert events == [{Event.DUE}, {Event.DUE_ANYWHERE}]


# --- Hearing ---


@pytest.fixture
def wakes(direct_database: str) -> Iterator[list[Any]]:
    heard: list[Any] = []
    listener = Listener(heard.append)
    listener.start()
    # It wakes once when it starts to listen, since events may have been sent before.
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
    ("payload", "events"),
    [
        ("due-anywhere", {Event.DUE_ANYWHERE}),
        ("due worker-ended", {Event.DUE, Event.WORKER_ENDED}),
        ("", ALL_EVENTS),
        ("due something-new", ALL_EVENTS),
    ],
)
def test_the_payload_names_the_events_and_an_unknown_one_counts_as_all(wakes, payload: str, events: Any) -> None:
    assert wakes == [ALL_EVENTS]
    notify(payload)
    wait_until(lambda: wakes[1:] == [events])


def test_a_lost_connection_comes_back_and_wakes_for_missed_events(wakes) -> None:
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
