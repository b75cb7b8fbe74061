"""Tasks that no live worker can run: however many there are, rounds stay short and tasks behind them start."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from tasks.models import Task, Worker
from tasks.queries.due import Lane
from tasks.scheduler import unrunnable
from tasks.scheduler.cursors import LONGEST_CURSOR_SECONDS
from tasks.scheduler.dispatcher import POLL_SECONDS, Dispatcher
from tasks.scheduler.unrunnable import MOST_PICKED, SMALLEST_PIECE
from tasks.states import Status
from tests.factories import age, make_worker, submit
from tests.scheduler.stage import Broker, Leading, stop_clock

pytestmark = pytest.mark.django_db

LANE = Lane("default", 5)

_FILL = """
INSERT INTO callboard_task (id, actor, payload, args, options, queue, priority, tags, run_at,
                            min_backoff_seconds, max_backoff_seconds, time_limit_seconds)
SELECT gen_random_uuid(), 'unknown', '{}', '[]', '{}', %s, %s, '{}',
       statement_timestamp() - interval '1 hour' + number * interval '1 millisecond', 2, 3600, 300
FROM generate_series(1, %s) AS number
"""
_READ = "SELECT COALESCE(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_xact_user_tables WHERE relname = %s"


@pytest.fixture
def clock(monkeypatch) -> Any:
    """Stand still, so that a round scans one piece of a level."""
    monkeypatch.setattr(unrunnable, "SCAN_SECONDS", 0)
    return stop_clock(monkeypatch)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def dispatcher(db, clock, broker) -> Any:
    make_worker(threads=100)
    return Dispatcher(Leading(), broker)  # type: ignore[arg-type]


def fill(count: int, *, queue: str = "default", priority: int = 5) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_FILL, [queue, priority, count])


def rows_read() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_READ, ["callboard_task"])
        return int(cursor.fetchone()[0])


def among_them(minutes: float) -> Task:
    task = submit(priority=5)
    age(task, run_at=timedelta(minutes=minutes))
    return task


def is_queued(task: Task) -> bool:
    task.refresh_from_db()
    return task.status == Status.QUEUED


def rounds_until(dispatcher: Any, *tasks: Task, most: int = 100) -> int:
    for number in range(1, most + 1):
        dispatcher.step()
        if all(is_queued(task) for task in tasks):
            return number
    raise AssertionError(f"not dispatched in {most} rounds")


def test_a_round_reads_a_bounded_number_of_unrunnable_tasks(dispatcher) -> None:
    first = among_them(90)
    fill(20_000)
    for _ in range(3):
        before = rows_read()
        dispatcher.step()
        assert rows_read() - before < 3_000
    assert is_queued(first)


def test_tasks_submitted_behind_them_start_at_once_from_then_on(dispatcher) -> None:
    fill(20_000)
    dispatcher.step()
    for _ in range(3):
        fresh = submit(priority=5)
        dispatcher.wake(from_front=False)
        assert rounds_until(dispatcher, fresh) == 1


def test_tasks_that_waited_behind_them_start_when_they_have_been_scanned(dispatcher) -> None:
    fill(SMALLEST_PIECE * 10)
    behind = among_them(2)
    assert rounds_until(dispatcher, behind) <= 13


def test_it_looks_again_at_once_until_they_have_been_scanned(dispatcher) -> None:
    fill(SMALLEST_PIECE * 5)
    behind = among_them(2)
    for _ in range(8):
        if is_queued(behind):
            return
        assert dispatcher.step() == 0


def test_runnable_tasks_among_them_start(dispatcher) -> None:
    fill(SMALLEST_PIECE * 20)
    # There is an unrunnable task for each millisecond, from an hour ago on.
    tasks = [among_them(60 - seconds / 60) for seconds in (0.3, 1.9, 2.0, 4.5)]
    fresh = submit(priority=5)
    rounds_until(dispatcher, *tasks, fresh)


def test_many_runnable_tasks_between_them_start_in_one_round(dispatcher) -> None:
    fill(200)
    tasks = [among_them(60 - number / 60_000) for number in range(0, 200, 5)]
    assert len(tasks) < MOST_PICKED
    assert rounds_until(dispatcher, *tasks) == 1


def test_many_with_the_same_run_at_hide_no_task(dispatcher) -> None:
    task = submit(priority=5)
    age(task, run_at=timedelta(minutes=1))
    fill(SMALLEST_PIECE * 10)
    Task.objects.update(run_at=task.run_at)
    # Unrunnable tasks, with random ids, are before it and behind it.
    rounds_until(dispatcher, task)


def test_other_levels_and_queues_go_on(dispatcher) -> None:
    for queue in ("default", "other"):
        for priority in (1, 5, 9):
            fill(2_000, queue=queue, priority=priority)
    tasks = [submit(priority=priority) for priority in (2, 4, 10)] + [submit("elsewhere", payload={}, priority=6)]
    assert rounds_until(dispatcher, *tasks) <= 2


def test_when_a_new_worker_can_run_them_they_start_at_once(dispatcher, broker, clock) -> None:
    fill(SMALLEST_PIECE * 10)
    for _ in range(20):
        dispatcher.step()
    assert broker.hints == []
    Worker.objects.update(actors=["unknown"])
    clock.now += POLL_SECONDS
    dispatcher.step()
    assert len(broker.hints) == 100


def scan_to_the_end(dispatcher: Any, clock: Any) -> None:
    dispatcher.step()
    for _ in range(60):
        if not dispatcher._cursors.are_behind:
            return
        # Slow enough for a rest.
        if stretch := dispatcher._cursors._stretches.get(LANE):
            stretch.took_seconds += 0.01
        dispatcher.step()


def test_after_a_scan_it_rests_and_then_scans_again(dispatcher, clock) -> None:
    fill(SMALLEST_PIECE * 12)
    scan_to_the_end(dispatcher, clock)
    put_back = among_them(59.99)
    dispatcher.wake()
    dispatcher.step()
    assert not is_queued(put_back)
    clock.now += LONGEST_CURSOR_SECONDS
    assert rounds_until(dispatcher, put_back) <= 8


def test_a_stretch_that_is_gone_is_forgotten(dispatcher, clock) -> None:
    fill(SMALLEST_PIECE * 12)
    scan_to_the_end(dispatcher, clock)
    Task.objects.all().delete()
    clock.now += LONGEST_CURSOR_SECONDS
    for _ in range(2):
        dispatcher.step()
    assert dispatcher._cursors._stretches == {}


def test_a_few_of_them_are_passed_in_every_round_without_a_rest(dispatcher) -> None:
    fill(100)
    behind = among_them(2)
    assert rounds_until(dispatcher, behind) == 1
    put_back = among_them(59.999)
    dispatcher.wake()
    assert rounds_until(dispatcher, put_back) == 1


def test_behind_them_it_sleeps_until_the_next_task_is_due(dispatcher) -> None:
    fill(10)
    soon = submit(delay_seconds=100)
    Task.objects.filter(pk=soon.pk).update(run_at=soon.run_at - timedelta(seconds=99.5))
    dispatcher.step()
    assert 0 < dispatcher.step() <= 0.5


def test_a_level_that_no_worker_serves_any_more_is_not_scanned(dispatcher, clock) -> None:
    fill(SMALLEST_PIECE * 12)
    dispatcher.step()
    Worker.objects.update(queues=["other"])
    clock.now += POLL_SECONDS
    assert dispatcher.step() == POLL_SECONDS


def test_while_workers_are_busy_it_does_not_spin_over_them(dispatcher, broker) -> None:
    fill(100)
    for _ in range(300):
        among_them(2)
    while dispatcher.step() == 0:
        pass
    assert len(broker.hints) >= 100
    assert dispatcher.step() > 0
