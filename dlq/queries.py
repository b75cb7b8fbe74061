"""Open dead letters, grouped and counted: a broken deploy leaves hundreds of them, and one decision to make."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.db.models.functions import Left

from dlq.models import DeadLetter
from tasks.models import Attempt, Task, Worker

#: The newest open dead letters that are read.
MOST_LETTERS = 1_000
LONGEST_ERROR = 200
#: Read of each error, so that what is cut off has been masked before.
_MOST_READ = 1_000


@dataclass(frozen=True)
class Cause:
    """A fingerprint that some of the open dead letters share."""

    fingerprint: str
    letters: int
    #: When each of them died, the newest first.
    died_at: tuple[datetime, ...]
    actor: str
    #: Of the newest of them: numbers and ids in it differ.
    error_type: str
    error_message: str
    task_id: UUID


@dataclass(frozen=True)
class Causes:
    """The causes of the open dead letters, most frequent first."""

    rows: list[Cause]
    letters: int
    is_capped: bool


def open_causes(*, most: int | None = None) -> Causes:
    """Group the newest open dead letters; return all of their causes, or the ``most`` frequent ones."""
    fields = ("fingerprint", "died_at", "actor", "error_type", Left("error_message", _MOST_READ), "task_id")
    letters = list(DeadLetter.objects.open().newest_first().values_list(*fields)[: MOST_LETTERS + 1])
    shown = letters[:MOST_LETTERS]
    groups: dict[str, list[Any]] = defaultdict(list)
    for fingerprint, *letter in shown:
        groups[fingerprint].append(letter)
    rows = [
        # The error is that of the newest.
        Cause(fingerprint, len(group), tuple(died_at for died_at, *_ in group), *group[0][1:])
        for fingerprint, group in groups.items()
    ]
    rows.sort(key=lambda cause: -cause.letters)
    return Causes(rows[:most], len(shown), is_capped=len(letters) > MOST_LETTERS)


#: Open dead letters of a failure that are compared with one another, the newest first.
MOST_COMPARED = 200


@dataclass(frozen=True)
class Sampled:
    """An open dead letter, its task unless that was removed, and the worker under which it died, with its build."""

    letter: DeadLetter
    task: Task | None
    worker: str
    build: str = ""


def sample(fingerprint: str) -> list[Sampled]:
    """Read the newest open dead letters of a failure, with what they may have in common."""
    letters = list(DeadLetter.objects.open_of_cause(fingerprint).newest_first()[:MOST_COMPARED])
    ids = [letter.task_id for letter in letters]
    tasks = Task.objects.only("actor", "args", "payload", "tags", "queue", "owner_id").in_bulk(ids)
    attempts = Attempt.objects.filter(task_id__in=ids).values_list("task_id", "number", "worker_id")
    workers = {(task, number): worker for task, number, worker in attempts}
    known = Worker.objects.only("host", "pid", "build").in_bulk({*workers.values()})

    def sampled(letter: DeadLetter) -> Sampled:
        id = workers.get((letter.task_id, letter.attempt))
        worker = known.get(id) if id else None
        return Sampled(letter, tasks.get(letter.task_id), str(worker) if worker else "", worker.build if worker else "")

    return [sampled(letter) for letter in letters]


def error_line(error_type: str, message: str) -> str:
    """Join an error's type and message; either may be missing."""
    return f"{error_type}: {message}".strip(": ")


def open_by_actor() -> dict[str, int]:
    """Count all open dead letters by actor."""
    return dict(DeadLetter.objects.open().order_by().values_list("actor").annotate(number=Count("*")))
