"""Fill an empty stack with the shop's last day, straight into the tables; real programs submit tasks instead."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models.expressions import DatabaseDefault

from dlq.fingerprint import own_frame
from dlq.models import DeadLetter, Failure
from examples.shop import actors as actors  # Declares them, because schedules need declared actors.
from examples.shop import acts
from examples.shop.lives import TAG, Life, Shop
from examples.shop.work import SPAN, WORK, starts
from tasks.db.statements import as_json, fetch
from tasks.errors import CallboardError
from tasks.histogram import count_in
from tasks.lifecycle import workers
from tasks.lifecycle.schedules import database_now
from tasks.lifecycle.stats import HOUR, MINUTE, TEN_MINUTES
from tasks.models import Attempt, Journal, OperationItem, Task, TaskStat, Worker
from tasks.states import AttemptOutcome, Status, TaskOutcome
from tasks.telemetry.task_stats import Count

ABOUT = f"All of it is made up; its tasks have the tag {TAG!r}."

#: Statistics outlive the tasks.
STATISTICS = timedelta(days=7)
#: The leader merges rows of a minute into rows of ten minutes after this time.
_FINE = timedelta(hours=3)

_Key = tuple[int, datetime, str, str, str]


@transaction.atomic
def fill(seed: int = 1) -> dict[str, int]:
    """Write the history; return how many rows of each kind.

    Parameters:
        seed: the same seed draws the same day.

    Raises:
        CallboardError: the stack is not empty.
    """
    _refuse_unless_empty()
    now, rng = database_now(), Random(seed)
    since = _start_of_ten_minutes(now - SPAN)
    shop = Shop(now, rng, acts.workers(now, since, rng))
    lives = [
        life
        for work in WORK
        for at in starts(work, since=since, until=now + work.delay, rng=rng)
        if (life := shop.live(work, at))
    ]
    lives.sort(key=lambda life: life.task.pk)
    workers.declare_queues()
    acts.add_schedules(since, lives)
    redriven = acts.canary(shop, lives)
    journal = [*acts.incident(shop), *acts.cancel_some(shop, lives), *acts.discard_old(shop, lives), *redriven.journal]
    letters = [life.letter for life in lives if life.letter]
    redriven.operation.save(force_insert=True)
    return {
        "tasks": _write(Task, [life.task for life in lives]),
        "attempts": _write(Attempt, [attempt for life in lives for attempt in life.attempts]),
        "dead letters": _write(DeadLetter, letters),
        "failures": _write(Failure, list(_failures(shop, letters, lives))),
        "statistics": _write(TaskStat, _statistics(shop, lives, since)),
        "journal": _write(Journal, sorted(journal, key=lambda entry: entry.at)),
        "operation items": _write(OperationItem, redriven.items),
        "workers": _write(Worker, shop.workers),
    }


def _start_of_ten_minutes(at: datetime) -> datetime:
    return at.replace(minute=at.minute // 10 * 10, second=0, microsecond=0)


def _refuse_unless_empty() -> None:
    # Schedules that code declares are there as soon as a scheduler has run.
    found = [str(model._meta.verbose_name_plural) for model in (Task, TaskStat, DeadLetter) if model.objects.exists()]
    if found:
        raise CallboardError(
            f"expected an empty stack, but there are {', '.join(found)}; made-up rows must not mix with real ones"
        )


def _write(model: type[models.Model], rows: Sequence[Any]) -> int:
    """Insert rows in one statement: Django would take a minute for the defaults of so many columns."""
    found = [{str(field.column): _value(field, row) for field in model._meta.concrete_fields} for row in rows]
    columns = ", ".join(name for name in found[0] if any(row[name] is not None for row in found))
    fetch(
        f"INSERT INTO {model._meta.db_table} ({columns})"  # noqa: S608 - names of our own tables
        f" SELECT {columns} FROM json_populate_recordset(NULL::{model._meta.db_table}, %(rows)s) RETURNING 1",
        {"rows": as_json(found)},
    )
    return len(rows)


def _value(field: Any, row: models.Model) -> Any:
    value = getattr(row, field.attname)
    if isinstance(value, DatabaseDefault):
        value = None if isinstance(field.db_default, models.expressions.BaseExpression) else field.db_default
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value


def _failures(shop: Shop, letters: Sequence[DeadLetter], lives: Sequence[Life]) -> Iterator[Failure]:
    last = {life.letter.pk: life.attempts[life.letter.attempt - 1] for life in lives if life.letter}
    builds = {worker.pk: worker.build for worker in shop.workers}
    groups: dict[str, list[DeadLetter]] = defaultdict(list)
    for letter in sorted(letters, key=lambda one: one.died_at):
        groups[letter.fingerprint].append(letter)
    for cause, found in groups.items():
        newest = found[-1]
        yield Failure(
            fingerprint=cause, actor=newest.actor, error_type=newest.error_type, error_message=newest.error_message,
            task_id=newest.task_id, frame=own_frame(last[newest.pk].traceback), first_seen_at=found[0].died_at,
            last_seen_at=newest.died_at, open=sum(one.is_open for one in found), total=len(found),
            first_build=builds[last[found[0].pk].worker_id], last_build=builds[last[newest.pk].worker_id],
        )  # fmt: skip


# --- Statistics ------------------------------------------------------------------------------------------------------


def _statistics(shop: Shop, lives: Sequence[Life], since: datetime) -> list[TaskStat]:
    counts: dict[_Key, Count] = defaultdict(Count)
    for life in lives:
        _count_life(counts, shop.now, life)
    for work in WORK:
        for at in starts(work, since=shop.now - STATISTICS, until=since, rng=shop.rng):
            span = HOUR if at < since - timedelta(hours=2) else TEN_MINUTES
            _count(counts, span, at, (work.actor, work.queue, TaskOutcome.SUBMITTED))
            run = work.seconds * shop.rng.lognormvariate(0, 0.5)
            _count(counts, span, at, (work.actor, work.queue, TaskOutcome.SUCCEEDED), run=run, wait=0.2)
    return [
        TaskStat(span_seconds=span, start=start, actor=actor, queue=queue, outcome=outcome, **vars(count))
        for (span, start, actor, queue, outcome), count in sorted(counts.items())
    ]


def _count_life(counts: dict[_Key, Count], now: datetime, life: Life) -> None:
    task = life.task

    def add(at: datetime, outcome: TaskOutcome, **seconds: float) -> None:
        span = MINUTE if at > now - _FINE else TEN_MINUTES
        _count(counts, span, at, (task.actor, task.queue, outcome), **seconds)

    add(task.created_at, TaskOutcome.SUBMITTED)
    if task.status == Status.CANCELLED and task.finished_at:
        add(task.finished_at, TaskOutcome.CANCELLED)
    for attempt, wait in zip(life.attempts, life.waits, strict=True):
        outcome = TaskOutcome.SUCCEEDED
        if attempt.outcome != AttemptOutcome.SUCCEEDED:
            is_last = life.letter is not None and life.letter.attempt == attempt.number
            outcome = TaskOutcome.DEAD if is_last else TaskOutcome.RETRYING
        run = (attempt.finished_at - attempt.started_at).total_seconds() if attempt.started_at else 0.0
        add(attempt.finished_at, outcome, run=run, wait=wait)


def _count(counts: dict[_Key, Count], span: int, at: datetime, of: tuple[str, str, str], **seconds: float) -> None:
    start = datetime.fromtimestamp(at.timestamp() // span * span, at.tzinfo)
    one = counts[(span, start, *of)]
    one.count += 1
    if seconds:
        one.run_seconds += seconds["run"]
        count_in(one.runs, seconds["run"])
        count_in(one.waits, seconds["wait"])
