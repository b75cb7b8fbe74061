"""Sessions of async actors: a lost one is replaced, and coroutines do not share transactions."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction

from tasks import current
from tasks.states import Status
from tests.factories import submit
from tests.waiting import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: What actors keep beyond their end.
kept: list[Any] = []
#: What actors wait for, and what they tell.
events: dict[str, threading.Event] = {}


@pytest.fixture(autouse=True)
def _keep_nothing() -> Iterator[None]:
    events.update(is_open=threading.Event(), go_on=threading.Event())
    yield
    kept.clear()
    gc.collect()


@pytest.fixture(autouse=True)
def _no_groups_yet(direct_database: str) -> None:
    # The groups of the migrations exist or not, depending on earlier tests.
    Group.objects.all().delete()


def ask(function: Callable[[], Any], **fields: Any) -> Any:
    value = f"{__name__}.{function.__name__}"
    return submit("act_async", payload={"do": "call", "value": value}, max_retries=0, **fields)


def run(engine: Any, function: Callable[[], Any]) -> Any:
    """Run an actor to its end; fail unless it succeeds."""
    (task,) = engine.wait_for(ask(function))
    assert task.status == Status.SUCCEEDED, task.error
    return task


# --- Coroutines, called by ``act_async`` ---


async def write() -> None:
    await Group.objects.acreate(name=str(current.task_id()))


def _session() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


async def session_of_the_orm() -> int:
    return await sync_to_async(_session)()


async def session_of_another_thread() -> int:
    return await sync_to_async(_session, thread_sensitive=False)()


async def session_of_to_thread() -> int:
    return await asyncio.to_thread(_session)


async def name_of_the_thread() -> str:
    return await sync_to_async(lambda: threading.current_thread().name)()


async def enter_by_hand() -> None:
    await sync_to_async(transaction.atomic().__enter__)()
    await write()


async def enter_by_hand_and_fail() -> None:
    await enter_by_hand()
    raise RuntimeError("as asked")


async def enter_by_hand_in_another_thread() -> None:
    await sync_to_async(transaction.atomic().__enter__, thread_sensitive=False)()


async def switch_autocommit_off() -> None:
    await sync_to_async(transaction.set_autocommit)(False)
    await write()


def _rows(name: str) -> Iterator[int]:
    with transaction.atomic():
        Group.objects.create(name=name)
        yield 1


def _keep_rows(name: str) -> None:
    kept.append(_rows(name))
    next(kept[-1])


async def keep_a_generator() -> None:
    await sync_to_async(_keep_rows)(str(current.task_id()))


async def leave_it_to_a_task_that_goes_on() -> None:
    async def enter_later() -> None:
        await asyncio.sleep(0.05)
        await sync_to_async(transaction.atomic().__enter__)()
        events["is_open"].set()

    kept.append(asyncio.create_task(enter_later()))


async def commit_by_hand_after_the_cue() -> None:
    block = transaction.atomic()
    await sync_to_async(block.__enter__)()
    await write()
    events["is_open"].set()
    await asyncio.get_running_loop().run_in_executor(None, events["go_on"].wait, 20)
    await Group.objects.acreate(name="second half")
    await sync_to_async(block.__exit__)(None, None, None)


# --- Lost sessions ---

SESSIONS = [session_of_the_orm, session_of_another_thread, session_of_to_thread]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda one: one.__name__)
def test_after_a_lost_session_the_next_async_task_works(engine, session: Any) -> None:
    before = run(engine, session).result
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [before])
    for _ in range(3):
        assert run(engine, session).result != before


async def ask_again_after_an_error() -> int:
    await session_of_the_orm()
    events["is_open"].set()
    await asyncio.get_running_loop().run_in_executor(None, events["go_on"].wait, 20)
    try:
        await session_of_the_orm()
    except Exception:  # noqa: BLE001
        return await session_of_the_orm()
    raise AssertionError("the session was not lost")


def test_a_coroutine_that_lost_its_session_gets_a_new_one(engine) -> None:
    before = run(engine, session_of_the_orm).result
    task = ask(ask_again_after_an_error)
    assert events["is_open"].wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [before])
    events["go_on"].set()
    (ended,) = engine.wait_for(task)
    assert ended.status == Status.SUCCEEDED, ended.error


def test_a_session_that_is_alive_is_kept(engine) -> None:
    assert run(engine, session_of_the_orm).result == run(engine, session_of_the_orm).result


def test_asgiref_uses_the_thread_of_the_loop(engine) -> None:
    assert run(engine, name_of_the_thread).result.startswith("async-sensitive")


def test_a_worker_that_has_ended_leaves_no_session(engine) -> None:
    pid = run(engine, session_of_the_orm).result
    engine.stop_worker()

    def is_gone() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
            return bool(cursor.fetchone()[0] == 0)

    wait_until(is_gone, what="the end of its session")


# --- Transactions ---

LEAKS = [
    enter_by_hand,
    enter_by_hand_and_fail,
    enter_by_hand_in_another_thread,
    switch_autocommit_off,
    keep_a_generator,
]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda one: one.__name__)
def test_what_a_coroutine_leaves_open_is_rolled_back_and_named(engine, warnings, leak: Any) -> None:
    leaking = ask(leak)
    (ended,) = engine.wait_for(leaking)
    assert ended.status == (Status.DEAD if "fail" in leak.__name__ else Status.SUCCEEDED)
    for _ in range(2):
        following = run(engine, write)
        assert Group.objects.filter(name=str(following.pk)).exists()
    assert not Group.objects.filter(name=str(leaking.pk)).exists()
    assert [(one["task_id"], one["actor"]) for one in warnings] == [(str(leaking.pk), "act_async")]


def test_what_a_task_of_a_coroutine_opens_after_its_end_is_rolled_back_too(engine, warnings) -> None:
    leaking = run(engine, leave_it_to_a_task_that_goes_on)
    assert events["is_open"].wait(10)
    following = run(engine, write)
    assert Group.objects.filter(name=str(following.pk)).exists()
    assert [one["task_id"] for one in warnings] == [str(leaking.pk)]


def test_a_coroutines_transaction_is_its_own(engine, warnings) -> None:
    slow = ask(commit_by_hand_after_the_cue)
    assert events["is_open"].wait(10)
    others = [run(engine, write) for _ in range(2)]
    # They are committed although the slow one's transaction is still open in the same thread.
    assert {group.name for group in Group.objects.all()} == {str(one.pk) for one in others}
    events["go_on"].set()
    engine.wait_for(slow)
    assert Group.objects.filter(name__in=[str(slow.pk), "second half"]).count() == 2
    assert Group.objects.count() == 4
    assert warnings == []


def test_a_cancelled_coroutine_leaves_nothing_open(engine, warnings) -> None:
    task = ask(commit_by_hand_after_the_cue, time_limit_seconds=0.3)
    engine.wait_for(task)
    events["go_on"].set()
    following = run(engine, write)
    assert list(Group.objects.values_list("name", flat=True)) == [str(following.pk)]
    assert {one["task_id"] for one in warnings} == {str(task.pk)}


def test_a_call_costs_next_to_nothing_without_a_database(engine) -> None:
    assert run(engine, measure).result < 50e-6


async def measure() -> float:
    from concurrent.futures import ThreadPoolExecutor

    from tasks.worker.event_loop import Threads

    def cost(threads: Any) -> float:
        began = time.perf_counter()
        for _ in range(300):
            threads.submit(int).result()
        return (time.perf_counter() - began) / 300

    with ThreadPoolExecutor(1) as stock, Threads(1, name="measured", keeps_transactions=True) as callboards:
        return min(cost(callboards) for _ in range(5)) - min(cost(stock) for _ in range(5))
