"""Checkpoints, loops that resume, progress and log lines: what an attempt leaves for the next, and shows."""

import asyncio
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from dlq.models import DeadLetter
from tasks import current
from tasks.errors import AttemptLost, NotStorable
from tasks.models import Task
from tasks.states import DeathReason, Status
from tasks.testing import drain
from tasks.worker import reporter
from tests.actors import noted
from tests.factories import submit
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


def call(function: Any, actor: str = "act", **fields: Any) -> Task:
    """Submit a task that calls a function of this module."""
    return submit(actor, payload={"do": "call", "value": f"{__name__}.{function.__name__}"}, **fields)


def run(function: Any, actor: str = "act", **fields: Any) -> Task:
    """Run it with all its retries."""
    task = call(function, actor, **fields)
    drain(until=task.run_at.__class__.max.replace(year=2100, tzinfo=task.run_at.tzinfo))
    task.refresh_from_db()
    return task


def counts_up() -> Any:
    found = current.last_checkpoint()
    noted.append(found)
    current.checkpoint({"n": (found or {"n": 0})["n"] + 1})
    if current.attempt() < 3:
        raise RuntimeError("again")
    return current.last_checkpoint()


def test_the_next_attempt_reads_what_the_last_one_kept() -> None:
    task = run(counts_up)
    assert (task.status, task.result) == (Status.SUCCEEDED, {"n": 3})
    assert noted == [None, {"n": 1}, {"n": 2}]
    assert task.checkpointed_at is not None


async def counts_up_async() -> Any:
    found = await current.alast_checkpoint()
    await current.acheckpoint((found or 0) + 1)
    if current.attempt() < 3:
        raise RuntimeError("again")
    return await current.alast_checkpoint()


def test_a_coroutine_keeps_checkpoints_too() -> None:
    task = run(counts_up_async, "act_async")
    assert (task.status, task.result) == (Status.SUCCEEDED, 3)


async def calls_without_await() -> None:
    current.checkpoint(1)


def test_a_coroutine_that_forgets_the_async_form_fails_instead_of_losing_it() -> None:
    task = run(calls_without_await, "act_async", max_retries=0)
    assert task.status == Status.DEAD
    assert "SynchronousOnlyOperation" in task.error


def keeps_ten_megabytes() -> None:
    current.checkpoint("x" * 10_000_000)


def keeps_an_object() -> None:
    current.checkpoint({"when": object()})


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (keeps_ten_megabytes, "NotStorable: checkpoint: expected at most 65536 bytes of JSON, got 10000002"),
        (keeps_an_object, "NotStorable: checkpoint.when: expected a JSON value, got object"),
    ],
)
def test_a_checkpoint_that_cannot_be_kept_says_what_was_expected(function, message) -> None:
    task = run(function, max_retries=0)
    assert (task.status, task.error, task.checkpoint) == (Status.DEAD, message, None)


def loses_its_task() -> None:
    Task.objects.filter(pk=current.task_id()).update(attempt=7)
    for write in (lambda: current.checkpoint(1), current.last_checkpoint, lambda: current.step("one", int)):
        try:
            write()
        except AttemptLost:
            noted.append("lost")


def test_a_worker_that_lost_the_task_keeps_and_reads_nothing() -> None:
    task = call(loses_its_task)
    drain()
    task.refresh_from_db()
    assert noted == ["lost"] * 3
    assert (task.checkpoint, task.steps.count()) == (None, 0)


def rolls_back() -> Any:
    current.checkpoint("before")
    try:
        with transaction.atomic():
            current.checkpoint("rolled back")
            raise RuntimeError
    except RuntimeError:
        return current.last_checkpoint()


def test_a_checkpoint_in_a_transaction_is_rolled_back_with_it() -> None:
    assert run(rolls_back).result == "before"


# --- Loops ---


def adds_groups() -> None:
    rows = current.each(["a", "b", "c", "d", "e"], key=str)
    for name in rows:
        noted.append(name)
        with rows.transaction():
            Group.objects.create(name=name)
            if current.attempt() == 1 and name == "c":
                raise RuntimeError("again")
        if current.attempt() == 2 and name == "d":
            raise RuntimeError("again")


async def adds_groups_async() -> None:
    rows = current.each(["a", "b", "c", "d", "e"], key=str)
    async for name in rows:
        noted.append(name)
        async with rows.transaction():
            await Group.objects.acreate(name=name)
            if current.attempt() == 1 and name == "c":
                raise RuntimeError("again")
        if current.attempt() == 2 and name == "d":
            raise RuntimeError("again")


@pytest.mark.parametrize(("function", "actor"), [(adds_groups, "act"), (adds_groups_async, "act_async")])
def test_a_loop_goes_on_where_it_stood_and_writes_each_item_once(function, actor) -> None:
    task = run(function, actor)
    assert task.status == Status.SUCCEEDED, task.error
    # "c" was rolled back and comes again; "d" was committed before the failure and does not.
    assert noted == ["a", "b", "c", "c", "d", "e"]
    names = Group.objects.filter(name__in=list("abcde")).order_by("name").values_list("name", flat=True)
    assert list(names) == list("abcde")


def notes_items() -> None:
    for item in current.each("abcd"):
        noted.append(item)
        if item == "c" and current.attempt() == 1:
            raise RuntimeError("again")


async def _letters() -> Any:
    for item in "abcd":
        await asyncio.sleep(0)
        yield item


async def notes_items_async() -> None:
    async for item in current.each(_letters()):
        noted.append(item)
        if item == "c" and current.attempt() == 1:
            raise RuntimeError("again")


@pytest.mark.parametrize(("function", "actor"), [(notes_items, "act"), (notes_items_async, "act_async")])
def test_an_item_that_was_not_done_comes_once_more(function, actor) -> None:
    assert run(function, actor).status == Status.SUCCEEDED
    assert noted == ["a", "b", "c", "c", "d"]


def notes_items_after_cursor() -> None:
    for item in current.each(lambda cursor: range((cursor or 0) + 1, 5), key=int):
        noted.append(item)
        if item == 3 and current.attempt() == 1:
            raise RuntimeError("again")


def test_a_function_of_the_cursor_gives_only_what_follows() -> None:
    assert run(notes_items_after_cursor).status == Status.SUCCEEDED
    assert noted == [1, 2, 3, 3, 4]


def loops_twice() -> None:
    for _ in range(2):
        for item in current.each("ab"):
            noted.append(item)


def loops_in_disorder() -> None:
    for item in current.each([2, 1], key=int):
        noted.append(item)


def loops_by_tuples() -> None:
    for item in current.each([(1, 2)], key=tuple):  # type: ignore[arg-type]
        noted.append(item)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (loops_twice, "DuplicateName: this run has had a loop with the name 'each'; each needs a name of its own"),
        (loops_in_disorder, "ValueError: expected ascending keys of items, got 1 after 2"),
        (loops_by_tuples, "NotStorable: expected a number or a text as the key of an item, got tuple"),
    ],
)
def test_a_loop_that_could_not_resume_is_refused(function, message) -> None:
    assert run(function, max_retries=0).error == message


# --- What an attempt shows ---


def shows_progress() -> None:
    for done in range(4):
        current.progress(done, 3, f"part {done}")
        current.log(f"line {done}")
    if current.attempt() == 1:
        raise RuntimeError("again")


def test_the_last_progress_and_the_lines_are_there_when_the_attempt_has_ended(settings) -> None:
    settings.MAX_LOG_LINES = 2
    task = run(shows_progress)
    assert task.progress == {"done": 3, "total": 3, "note": "part 3"}
    logs: list[Any] = [one.log for one in task.attempts.all()]
    assert [[line["line"] for line in log["lines"]] for log in logs] == [["line 2", "line 3"]] * 2
    assert [(log["attempt"], log["dropped"]) for log in logs] == [(1, 2), (2, 2)]


def lines(task: Task) -> list[Any]:
    log: Any = task.attempts.get().log
    return list(log["lines"])


async def shows_progress_async() -> None:
    current.progress(1)
    current.log("nul \0 and surrogate \ud800")


def test_a_coroutine_shows_progress_by_the_same_functions() -> None:
    task = run(shows_progress_async, "act_async")
    assert task.progress == {"done": 1, "total": None, "note": ""}
    assert lines(task)[0]["line"] == "nul  and surrogate ?"


def shows_less_than_nothing() -> None:
    current.progress(-1, 10)


def test_progress_below_zero_is_refused() -> None:
    task = run(shows_less_than_nothing, max_retries=0)
    assert task.error == "ValueError: expected a finite number of at least 0 as done, got -1"


def reads_time_left() -> Any:
    return current.time_left()


def test_an_actor_sees_how_much_time_it_has() -> None:
    left: Any = run(reads_time_left, time_limit_seconds=60).result
    assert 50 < left <= 60
    assert run(reads_time_left, time_limit_seconds=0).result is None


def gives_up() -> None:
    try:
        current.give_up("the file is empty")
    except Exception:  # noqa: BLE001
        noted.append("caught")


def test_an_actor_that_gives_up_dies_without_a_retry() -> None:
    task = run(gives_up, max_retries=5)
    letter = DeadLetter.objects.get()
    assert (task.status, task.attempt, task.error) == (Status.DEAD, 1, "GiveUp: the file is empty")
    assert (letter.reason, noted) == (DeathReason.GAVE_UP, [])


def test_outside_an_actor_there_is_nothing_to_keep() -> None:
    with pytest.raises(current.NotInActor):
        current.checkpoint(1)
    with pytest.raises(current.NotInActor):
        current.progress(1)
    with pytest.raises(current.NotInActor):
        current.each("ab")


def test_the_error_of_a_value_is_a_value_error() -> None:
    assert issubclass(NotStorable, ValueError)


# --- In a worker ---

#: Set by a test when a run may end.
released: list[bool] = []


def shows_and_waits() -> None:
    with transaction.atomic():
        current.progress(1, 2, "half")
        current.log("a line")
        wait_until(lambda: released)


@pytest.mark.django_db(transaction=True)
def test_progress_is_seen_while_the_actor_runs_in_a_transaction(engine, monkeypatch) -> None:
    monkeypatch.setattr(reporter, "INTERVAL_SECONDS", 0.05)
    released.clear()
    task = call(shows_and_waits)
    wait_until(lambda: Task.objects.filter(pk=task.pk, progress__done=1, log__attempt=1).exists())
    released.append(True)
    (task,) = engine.wait_for(task)
    assert task.status == Status.SUCCEEDED
    assert lines(task)[0]["line"] == "a line"


async def completes_in_transaction() -> None:
    async with current.complete_in_transaction() as completion:
        await Group.objects.acreate(name="booked")
        completion.result = "kept"


async def fails_in_transaction() -> None:
    async with current.complete_in_transaction():
        await Group.objects.acreate(name="booked")
        raise RuntimeError("as asked")


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_completes_in_a_transaction_of_its_own(engine) -> None:
    (task,) = engine.wait_for(call(completes_in_transaction, "act_async", max_retries=0))
    assert (task.status, task.result) == (Status.SUCCEEDED, "kept")
    assert Group.objects.filter(name="booked").count() == 1
    Group.objects.all().delete()
    (task,) = engine.wait_for(call(fails_in_transaction, "act_async", max_retries=0))
    assert (task.status, task.error) == (Status.DEAD, "RuntimeError: as asked")
    assert not Group.objects.filter(name="booked").exists()


@pytest.mark.django_db(transaction=True)
def test_a_coroutine_in_a_worker_writes_each_item_once(engine) -> None:
    (task,) = engine.wait_for(call(adds_groups_async, "act_async", min_backoff_seconds=0.01))
    assert (task.status, task.attempt) == (Status.SUCCEEDED, 3)
    assert noted == ["a", "b", "c", "c", "d", "e"]
    assert Group.objects.filter(name__in=list("abcde")).count() == 5


# --- What it costs ---


def keeps_a_hundred() -> None:
    for number in range(100):
        current.checkpoint(number)


def updates() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'callboard_task'")
        found: tuple[int, int] = cursor.fetchone()
        return found


@pytest.mark.django_db(transaction=True)
def test_a_checkpoint_touches_no_index(engine) -> None:
    all_before, hot_before = updates()
    engine.wait_for(call(keeps_a_hundred))
    # Of each session, PostgreSQL reports once a second at most.
    wait_until(lambda: updates()[0] - all_before >= 100, what=lambda: f"{all_before} {updates()}")
    assert updates()[1] - hot_before >= 95
