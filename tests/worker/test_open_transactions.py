"""Transactions that an actor leaves open: rolled back, reported, and harmless for later tasks."""

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from tasks import current
from tasks.states import Status
from tasks.worker import open_transactions
from tasks.worker.execution import Execution
from tests.factories import imagine_claim, submit
from tests.waiting import wait_until

# What a generator that was disowned raises when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: What actors keep beyond their end.
kept: list[Any] = []


@pytest.fixture(autouse=True)
def _keep_nothing() -> Iterator[None]:
    yield
    kept.clear()
    gc.collect()


@pytest.fixture
def single(idle_engine: Any, warnings: list[dict[str, Any]]) -> Any:
    """Start an engine with one thread, so that the next task has the same connections."""
    idle_engine.start_scheduler()
    idle_engine.start_worker(threads=1)
    yield idle_engine
    idle_engine.stop_worker()
    idle_engine.scheduler.stop()


# --- Actors, called by ``act`` ---


def write() -> str:
    Group.objects.create(name=str(current.task_id()))
    return "written"


def write_in_a_transaction() -> None:
    with transaction.atomic():
        write()


def enter_by_hand() -> None:
    transaction.atomic().__enter__()
    write()


def enter_twice_by_hand() -> None:
    transaction.atomic().__enter__()
    enter_by_hand()


def enter_by_hand_and_fail() -> None:
    enter_by_hand()
    raise RuntimeError("as asked")


def break_a_block() -> None:
    transaction.atomic().__enter__()
    try:
        connection.cursor().execute("SELECT 1 / 0")
    except Exception:  # noqa: BLE001
        return


def close_inside_a_block() -> None:
    enter_by_hand()
    connection.close()


def switch_autocommit_off() -> None:
    transaction.set_autocommit(False)
    write()


def begin_in_sql() -> None:
    connection.cursor().execute("BEGIN")
    write()


def rows() -> Iterator[int]:
    with transaction.atomic():
        write()
        yield 1
        yield 2


def keep_a_generator() -> None:
    kept.append(rows())
    next(kept[-1])


def leave_a_generator_in_a_cycle() -> None:
    found: list[Any] = [rows()]
    next(found[0])
    found.append(found)


def fail_inside_a_generator_that_the_traceback_keeps() -> None:
    found = rows()
    next(found)
    raise RuntimeError("as asked")


LEAKS = [
    enter_by_hand,
    enter_twice_by_hand,
    enter_by_hand_and_fail,
    break_a_block,
    close_inside_a_block,
    switch_autocommit_off,
    begin_in_sql,
    keep_a_generator,
    leave_a_generator_in_a_cycle,
    fail_inside_a_generator_that_the_traceback_keeps,
]


def ask(function: Callable[[], Any], **fields: Any) -> Any:
    return submit(payload={"do": "call", "value": f"{__name__}.{function.__name__}"}, max_retries=0, **fields)


@pytest.mark.parametrize("leak", LEAKS, ids=lambda one: one.__name__)
def test_what_a_task_leaves_open_is_rolled_back_and_the_next_tasks_are_whole(single, warnings, leak: Any) -> None:
    leaking = ask(leak)
    (ended,) = single.wait_for(leaking)
    assert ended.status == (Status.DEAD if "fail" in leak.__name__ else Status.SUCCEEDED)
    for function in (write, write_in_a_transaction):
        (following,) = single.wait_for(ask(function))
        assert following.status == Status.SUCCEEDED, following.error
        assert Group.objects.filter(name=str(following.pk)).exists()
    assert not Group.objects.filter(name=str(leaking.pk)).exists()
    assert [(one["task_id"], one["actor"]) for one in warnings] == [(str(leaking.pk), "act")]
    assert single.exits == single.signals == []


def test_a_task_that_leaves_nothing_open_keeps_its_connection(single, warnings) -> None:
    pids = [single.wait_for(ask(show_session))[0].result for _ in range(2)]
    assert pids[0] == pids[1]
    assert warnings == []


def show_session() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def collect_what_is_kept() -> None:
    with transaction.atomic():
        write()
        kept.clear()
        gc.collect()
        assert connection.in_atomic_block
        Group.objects.create(name="second half")


def test_a_generator_that_is_collected_later_does_not_end_the_transaction_of_another_task(single) -> None:
    single.wait_for(ask(keep_a_generator))
    (following,) = single.wait_for(ask(collect_what_is_kept))
    assert following.status == Status.SUCCEEDED, following.error
    assert Group.objects.filter(name__in=[str(following.pk), "second half"]).count() == 2


def end_what_is_kept() -> None:
    with transaction.atomic():
        write()
        list(kept.pop())


def test_a_generator_that_goes_on_later_fails_its_caller_and_no_other_task(single) -> None:
    single.wait_for(ask(keep_a_generator))
    (failing,) = single.wait_for(ask(end_what_is_kept))
    assert failing.status == Status.DEAD
    assert "whose transaction was rolled back when its task ended" in failing.error
    (following,) = single.wait_for(ask(write_in_a_transaction))
    assert following.status == Status.SUCCEEDED


# --- Interrupts ---


def take_an_advisory_lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(4711)")
    while True:
        time.sleep(0.005)


def test_what_an_interrupted_task_has_locked_in_its_session_is_unlocked(single) -> None:
    single.wait_for(ask(take_an_advisory_lock, time_limit_seconds=0.1))

    def is_free() -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(4711)")
            return bool(cursor.fetchone()[0])

    wait_until(is_free, what="the lock")


# --- On one thread ---


@pytest.fixture
def fresh(transactional_db: None) -> Iterator[None]:
    """Give this thread another connection meanwhile, because pytest-django needs the usual one at the end."""
    usual = connections["default"]
    connections["default"] = connections.create_connection("default")
    yield
    connections["default"].close()
    connections["default"] = usual


def execution() -> Execution:
    return Execution(imagine_claim(), claimed_monotonic=time.monotonic())


def tidy(one: Execution, before: dict[str, int]) -> None:
    open_transactions.tidy(one, before, error=one.error, was_interrupted=bool(one.interrupts))


def test_a_transaction_around_the_run_stays_open(fresh, warnings) -> None:
    with transaction.atomic():
        Group.objects.create(name="of the caller")
        before = open_transactions.open_blocks()
        transaction.atomic().__enter__()
        Group.objects.create(name="of the task")
        tidy(execution(), before)
        assert len(connection.atomic_blocks) == 1
    assert [group.name for group in Group.objects.all()] == ["of the caller"]
    assert len(warnings) == 1


def test_a_block_that_is_shared_goes_on_working_after_one_use_was_left_open(fresh, warnings) -> None:
    shared = transaction.atomic()

    @shared
    def write_decorated() -> None:
        Group.objects.create(name="decorated")

    before = open_transactions.open_blocks()
    shared.__enter__()
    tidy(execution(), before)
    write_decorated()
    assert Group.objects.count() == 1


def test_a_connection_that_was_closed_inside_a_block_is_replaced_before_the_next_task(fresh) -> None:
    transaction.atomic().__enter__()
    connection.close()
    open_transactions.open_blocks()
    assert Group.objects.count() == 0


def test_an_interrupt_inside_django_leaves_a_connection_that_is_replaced(fresh, warnings) -> None:
    # As between two lines of Atomic.__enter__, before the block is on the stack.
    before = open_transactions.open_blocks()
    connection.set_autocommit(False)
    connection.in_atomic_block = True
    tidy(execution(), before)
    with transaction.atomic():
        Group.objects.create(name="whole")
    assert Group.objects.count() == 1


def test_every_database_is_checked(fresh, warnings) -> None:
    other = connections.create_connection("default")
    other.alias = "other"
    connections["other"] = other
    before = open_transactions.open_blocks()
    other.set_autocommit(False)
    other.cursor().execute("SELECT 1")
    tidy(execution(), before)
    assert "database other" in warnings[0]["event"]
    with pytest.raises(ConnectionDoesNotExist):
        connections["other"]


def test_without_a_leak_it_costs_next_to_nothing(fresh) -> None:
    Group.objects.count()
    one = execution()

    def cost() -> float:
        began = time.perf_counter()
        for _ in range(1_000):
            tidy(one, open_transactions.open_blocks())
        return (time.perf_counter() - began) / 1_000

    assert min(cost() for _ in range(5)) < 20e-6
