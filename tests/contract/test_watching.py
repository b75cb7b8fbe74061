"""The hub: who is told of what, when it ends, and how many may watch."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection

from tasks import lifecycle
from tasks.contract import access, watching
from tasks.contract.watching import Change, End, Hub, Watch
from tasks.errors import TooManyWatchers, WatchersFull
from tasks.models import Task
from tasks.queries.happenings import versions
from tests import factories
from tests.callers import Caller
from tests.waiting import wait_until


@pytest.fixture
def hub(db: None) -> Hub:
    """Make a hub without a thread: tests look themselves."""
    made = Hub()
    made._thread = threading.current_thread()
    return made


def watch(hub: Hub, task: Task, caller: Caller, **options: Any) -> Watch:
    return hub.watch(task, options.pop("position", None), caller=access.Caller(caller.user), **options)  # type: ignore[arg-type]


def taken(hub: Hub, one: Watch) -> Change:
    hub.look([one])
    change = one.take()
    assert change is not None
    return change


def test_a_watcher_is_told_once(hub: Hub, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    one = watch(hub, task, alice)
    assert [event["type"] for event in taken(hub, one).events] == ["submitted", "status"]
    hub.look([one])
    assert one.take() is None
    factories.start(task, factories.make_worker())
    assert [event["status"] for event in taken(hub, one).events] == ["RUNNING"]


def test_one_statement_serves_all_that_wait(hub: Hub, alice: Caller, django_assert_num_queries: Any) -> None:
    ones = [watch(hub, factories.submit(owner_id=alice.id), alice) for _ in range(20)]
    # Versions, tasks and the journal; none has an attempt.
    with django_assert_num_queries(3):
        hub.look(ones)
    for one in ones:
        one.take()
    with django_assert_num_queries(1):
        hub.look(ones)


def test_a_reader_who_does_not_take_gets_the_rest_later(hub: Hub, alice: Caller) -> None:
    task, worker = factories.submit(owner_id=alice.id), factories.make_worker()
    one = watch(hub, task, alice)
    hub.look([one])
    claimed = factories.start(task, worker)
    hub.look([one])
    lifecycle.complete_many([factories.outcome(claimed, worker)])
    hub.look([one])
    first = one.take()
    assert first is not None
    assert [event["type"] for event in first.events] == ["submitted", "status"]
    last = taken(hub, one)
    assert [event["type"] for event in last.events] == ["attempt", "status"]
    assert last.end is End.FINAL
    assert len(hub) == 0


def test_the_end_of_a_task_that_is_removed(hub: Hub, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    one = watch(hub, task, alice)
    taken(hub, one)
    Task.objects.all().delete()
    change = taken(hub, one)
    assert (change.events[0]["type"], change.end) == ("removed", End.REMOVED)


def test_a_watch_ends_when_its_time_is_over(hub: Hub, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    one = watch(hub, task, alice, seconds=3600)
    taken(hub, one)
    one.end_soon()
    change = taken(hub, one)
    assert (change.events, change.end) == ([], End.OVER)
    assert change.task is not None
    assert len(hub) == 0


def test_a_watcher_who_never_comes_to_listen_loses_their_place(hub: Hub, alice: Caller) -> None:
    task = factories.submit(owner_id=alice.id)
    listening, gone = watch(hub, task, alice), watch(hub, task, alice)
    listening.on_change(lambda: None)
    hub.look([listening, gone])
    assert len(hub) == 2
    listening.listens_by = gone.listens_by = 0.0
    hub.look([listening, gone])
    assert hub._watches == {listening}
    # One who comes late is told that it is over.
    woken = threading.Event()
    gone.on_change(woken.set)
    assert woken.is_set()
    change = gone.take()
    assert change is not None
    assert change.end is End.OVER


def test_watchers_are_counted_by_user_and_in_all(hub: Hub, alice: Caller, bob: Caller, settings: Any) -> None:
    settings.MAX_WATCHERS_PER_USER, settings.MAX_WATCHERS = 2, 3
    task = factories.submit(owner_id=alice.id)
    ones = [watch(hub, task, alice) for _ in range(2)]
    with pytest.raises(TooManyWatchers) as refused:
        watch(hub, task, alice)
    assert int(refused.value.headers["Retry-After"]) > 0
    theirs = factories.submit(owner_id=bob.id)
    watch(hub, theirs, bob)
    with pytest.raises(WatchersFull) as full:
        watch(hub, theirs, bob)
    assert int(full.value.headers["Retry-After"]) > 0
    for one in ones:
        one.stop()
        one.stop()
    watch(hub, theirs, bob)


def test_a_defect_ends_one_watch_only(hub: Hub, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, sound = (watch(hub, factories.submit(owner_id=alice.id), alice) for _ in range(2))
    monkeypatch.setattr(broken, "look_at", lambda *_: 1 / 0)
    hub.look([broken, sound])
    ended, told = broken.take(), sound.take()
    assert ended is not None
    assert ended.end is End.OVER
    assert told is not None
    assert told.events


# --- The thread -------------------------------------------------------------------------------------------------------


@pytest.fixture
def running(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(watching, "PAUSE_SECONDS", 0.02)
    made = Hub()
    yield made
    for one in list(made._watches):
        one.stop()
    wait_until(lambda: made._thread is None)


@pytest.fixture
def owner(transactional_db: None) -> Caller:
    return Caller(User.objects.create_user("owner"))


def test_the_thread_wakes_the_watcher_and_ends_with_the_last(running: Hub, owner: Caller) -> None:
    task, woken = factories.submit(owner_id=owner.id), threading.Event()
    one = watch(running, task, owner)
    one.on_change(woken.set)
    assert woken.wait(5)
    assert one.take() is not None
    woken.clear()
    started = time.monotonic()
    lifecycle.cancel(task.pk)
    assert woken.wait(5)
    assert time.monotonic() - started < 2
    change = one.take()
    assert change is not None
    assert change.end is End.FINAL
    wait_until(lambda: running._thread is None)


def test_a_watcher_after_a_pause_is_told_as_soon_as_the_first(
    running: Hub, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "IDLE_SECONDS", 60.0)
    worker = factories.make_worker()
    for _ in range(2):
        task = factories.submit(owner_id=owner.id)
        one = watch(running, task, owner)
        wait_until(one.take, timeout=5, what="the first look")
        factories.start(task, worker)
        wait_until(one.take, timeout=5, what="the change")
        one.stop()
        # The thread finds that nobody watches.
        time.sleep(0.2)
    monkeypatch.setattr(watching, "IDLE_SECONDS", 0.05)
    running._fresh.set()


def test_a_database_that_goes_away_for_a_moment_costs_nothing(
    running: Hub, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, woken = factories.submit(owner_id=owner.id), threading.Event()
    one = watch(running, task, owner)
    one.on_change(woken.set)
    assert woken.wait(5)
    one.take()
    woken.clear()
    tried = threading.Event()

    def fail(_: Any) -> Any:
        tried.set()
        raise OperationalError("the server closed the connection unexpectedly")

    monkeypatch.setattr(watching, "versions", fail)
    assert tried.wait(5)
    lifecycle.cancel(task.pk)
    monkeypatch.setattr(watching, "versions", versions)
    assert woken.wait(5)
    change = one.take()
    assert change is not None
    assert [event["type"] for event in change.events] == ["act", "status"]


def test_a_session_that_the_server_ends_is_opened_anew(running: Hub, owner: Caller) -> None:
    task, woken = factories.submit(owner_id=owner.id), threading.Event()
    one = watch(running, task, owner)
    one.on_change(woken.set)
    assert woken.wait(5)
    one.take()
    woken.clear()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    lifecycle.cancel(task.pk)
    assert woken.wait(10)
