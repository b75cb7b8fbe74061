"""Callboard as an application uses it: ``send()``, and ``submit_many()`` for many."""

import os
from typing import Any

import django
from django.db import transaction

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from benchmarks.actors import noop  # noqa: E402
from tasks.lifecycle import DependsOn, Submission  # noqa: E402
from tasks.lifecycle import submit_many as submit_all  # noqa: E402
from tasks.lifecycle.batches import NewBatch, close, create  # noqa: E402
from tasks.models import Task  # noqa: E402
from tasks.states import Status  # noqa: E402

#: The number of tasks in one call.
CHUNK = 1_000
#: Long tasks in the middle of short ones.
LONG, LONG_SECONDS = 12, 10.0


def submit(number: int, *, delay_seconds: float = 0) -> None:
    """Send one message, which commits one row."""
    noop.send_with_options(args=(number,), delay=int(delay_seconds * 1000) or None)


def submit_urgent(number: int) -> None:
    """Send one message of the highest priority."""
    noop.send_with_options(args=(number,), priority=10)


def submit_many(numbers: range, *, chunk: int = CHUNK) -> None:
    """Submit tasks, ``chunk`` of them in a call."""
    for start in range(0, len(numbers), chunk):
        submit_all([Submission(actor="noop", payload={"number": one}) for one in numbers[start : start + chunk]])


def submit_unique(numbers: range) -> None:
    """Submit tasks, each with a unique key of its own."""
    for start in range(0, len(numbers), CHUNK):
        submit_all([_noop(one, unique=f"benchmark {one}") for one in numbers[start : start + CHUNK]])


def submit_into_batch(numbers: range) -> None:
    """Submit tasks into one batch."""
    batch = create(NewBatch(is_open=True)).batch
    for start in range(0, len(numbers), CHUNK):
        submit_all([_noop(one, batch=batch.pk) for one in numbers[start : start + CHUNK]])
    close(batch.pk)


def submit_long_tasks(writes: int) -> None:
    """Submit a task that writes so many checkpoints, and one of so many steps."""
    names = ("checkpoints", "steps")
    submit_all(
        [Submission(actor=name, payload={"number": place, "writes": writes}) for place, name in enumerate(names, 1)]
    )


def submit_pair(number: int) -> None:
    """Submit a parent and its child."""
    submit_all([_noop(number, ref="parent"), _noop(number + 1, depends_on=[DependsOn("parent")])])


def submit_workflow(shape: str, count: int) -> None:
    """Submit tasks of which the first comes before all others, or the last after them, or each after the one before."""
    with transaction.atomic():
        if shape == "fan-in":
            submit_many(range(1, count + 1))
            parents = Task.objects.filter(actor="noop", status=Status.PENDING).values_list("pk", flat=True)
            submit_all([_noop(count + 1, depends_on=list(parents))])
            return
        last = submit_all([_noop(1)])[0]
        for start in range(2, count + 1 + (shape == "fan-out"), CHUNK):
            numbers = range(start, min(start + CHUNK, count + 1 + (shape == "fan-out")))
            if shape == "fan-out":
                submit_all([_noop(number, depends_on=[last.pk]) for number in numbers])
            else:
                before = [last.pk, *(DependsOn(str(number)) for number in numbers)]
                tasks = [
                    _noop(number, ref=str(number), depends_on=[before[place]]) for place, number in enumerate(numbers)
                ]
                last = submit_all(tasks)[-1]


def _noop(number: int, **fields: Any) -> Submission:
    return Submission(actor="noop", payload={"number": number}, **fields)


def submit_mixed(numbers: range) -> None:
    """Submit short tasks with a few long ones among them, in one call."""
    submissions = [Submission(actor="claimed", payload={"number": one}) for one in numbers]
    middle = len(submissions) // 2
    long = [Submission(actor="hold", payload={"seconds": LONG_SECONDS})] * LONG
    submit_all([*submissions[:middle], *long, *submissions[middle:]])
