"""Dead letters, counted and compared by cause: a broken deploy leaves hundreds of them, and one decision to make."""

from dataclasses import dataclass

from django.db.models import Count, Sum

from dlq.models import DeadLetter, Failure, FailureDelta
from tasks.models import Attempt, Task, Worker

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


def open_letters() -> int:
    """Count all open dead letters, by the counts of their failures and what the leader has not added up yet."""
    counted = Failure.objects.open().aggregate(sum=Sum("open"))["sum"] or 0
    waiting = FailureDelta.objects.aggregate(sum=Sum("opened"))["sum"] or 0
    return max(0, counted + waiting)


def error_line(error_type: str, message: str) -> str:
    """Join an error's type and message; either may be missing."""
    return f"{error_type}: {message}".strip(": ")


def open_by_actor() -> dict[str, int]:
    """Count all open dead letters by actor."""
    return dict(DeadLetter.objects.open().order_by().values_list("actor").annotate(number=Count("*")))
