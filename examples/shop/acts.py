"""The acts of people and releases in the shop: the journal, an operation, schedules, and the workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

from dlq.models import DeadLetter
from examples.shop.lives import TAG, Life, Shop, id_at
from examples.shop.work import CANARY, DEPLOYED, FIXED, PAUSED, RESUMED, SPAN, WORK
from tasks.lifecycle import Author, schedules
from tasks.models import Journal, Operation, OperationItem, Schedule, Worker
from tasks.states import Door, ItemState, ObjectKind, OperationState, OperationVerb, Resolution, Status, WorkerStatus

ADA, GRACE = "ada", "grace"
#: The first release, the one with the bug, and the one with the fix.
BUILDS = ("shop-1", "shop-2", "shop-3")
MADE_UP = "made up for the demo"
CANARIES = 10
_PROCESSES = 3


def workers(now: datetime, since: datetime, rng: Random) -> list[Worker]:
    """Make the worker processes of three releases; all of them are gone."""
    moments = [since, now - DEPLOYED, now - FIXED, now]
    return [
        Worker(
            id=id_at(start, rng), host=f"demo-{number}", pid=rng.randint(200, 4_000), threads=4,
            queues=sorted({one.queue for one in WORK}), actors=sorted(one.actor for one in WORK), build=build,
            memory_bytes=rng.randint(90, 140) << 20, status=WorkerStatus.GONE, started_at=start, heartbeat_at=end,
            lease_expires_at=end, stopped_at=end,
        )
        for build, (start, end) in zip(BUILDS, pairwise(moments), strict=True)
        for number in range(1, _PROCESSES + 1)
    ]  # fmt: skip


def add_schedules(since: datetime, lives: Sequence[Life]) -> None:
    """Add the schedules that made some of the tasks, as if they had existed since then."""
    for work in WORK:
        if not work.every:
            continue
        made = [life.task for life in lives if life.task.actor == work.actor]
        by = Author(GRACE, Door.ADMIN, MADE_UP)
        payload = made[-1].payload if made else {}
        schedule = schedules.add(work.actor.replace("_", "-"), _definition(work.actor, work.every, payload), by=by)
        for task in made:
            task.schedule_id, task.scheduled_at = schedule.pk, task.created_at
        last = made[-1] if made else None
        Schedule.objects.filter(pk=schedule.pk).update(
            created_at=since, failures_since=since, last_fire_at=last and last.created_at, last_task_id=last and last.pk
        )
    # `add()` has dated the entries now, because that is when it ran.
    Journal.objects.filter(verb="add", by=GRACE).update(at=since)


def _definition(actor: str, cron: str, payload: dict[str, object]) -> dict[str, object]:
    return {"actor": actor, "cron": cron, "payload": payload, "options": {"tags": [TAG]}}


def cancel_some(shop: Shop, lives: Sequence[Life]) -> Iterator[Journal]:
    """Cancel some reminders that wait, all at once."""
    at = shop.now - timedelta(hours=3)
    many: dict[str, Any] = {"by": GRACE, "reason": "the baskets are empty", "operation_id": id_at(at, shop.rng)}
    waiting = [life.task for life in lives if life.task.status == Status.PENDING and life.task.created_at < at]
    chosen = [task for task in waiting if shop.rng.random() < 0.3]
    for task in chosen:
        task.status, task.finished_at = Status.CANCELLED, at
        fields = {"task_id": task.pk, "actor": task.actor, "queue": task.queue, **many}
        yield _entry(at, "cancel", kind=ObjectKind.TASK, object_id=str(task.pk), **fields)
    yield _entry(at, "cancel", kind=ObjectKind.TASK, count=len(chosen), **many)


def discard_old(shop: Shop, lives: Sequence[Life]) -> Iterator[Journal]:
    """Discard the dead letters of the night, all at once."""
    at = shop.now - timedelta(hours=2)
    many: dict[str, Any] = {"by": GRACE, "reason": "uploaded again", "operation_id": id_at(at, shop.rng)}
    chosen = [life.letter for life in lives if life.letter and life.letter.queue != "payments"]
    chosen = [letter for letter in chosen if letter.died_at < at]
    for letter in chosen:
        _resolve(letter, Resolution.DISCARDED, GRACE, at)
        yield _of_letter(letter, "discard", at, **many)
    yield _entry(at, "discard", kind=ObjectKind.DEAD_LETTER, count=len(chosen), **many)


def incident(shop: Shop) -> Iterator[Journal]:
    """Journal the releases, and the pause of a queue."""
    for ago, build in zip((SPAN, DEPLOYED, FIXED), BUILDS, strict=True):
        yield _entry(shop.now - ago, "deploy", kind=ObjectKind.BUILD, object_id=build, door=Door.WORKER)
    queue = {"kind": ObjectKind.QUEUE, "object_id": "payments", "object_name": "payments", "queue": "payments"}
    for ago, verb, reason in ((PAUSED, "pause", "cards in francs fail"), (RESUMED, "resume", "euros still work")):
        yield _entry(shop.now - ago, verb, by=ADA, reason=reason, **queue)


@dataclass
class Redriven:
    """An operation on dead letters, with its items and its entries in the journal."""

    operation: Operation
    items: list[OperationItem]
    journal: list[Journal]


def canary(shop: Shop, lives: Sequence[Life]) -> Redriven:
    """Re-drive the first dead letters of the bug, after it was fixed."""
    dead = [(life, life.letter) for life in lives if life.letter and life.letter.error_type == "KeyError"]
    begun = shop.now - CANARY
    ended = begun + timedelta(seconds=30)
    chosen = [(life, letter) for life, letter in dead if letter.died_at < begun][:CANARIES]
    operation = Operation(
        id=id_at(begun, shop.rng), verb=OperationVerb.REDRIVE, state=OperationState.DONE, by=ADA, door=Door.ADMIN,
        reason="canary after shop-3", failure=chosen[0][1].fingerprint, rate_per_second=1, canary=len(chosen),
        stop_percent=20, created_at=begun, started_at=begun, paced_at=begun, watched_from=begun,
        ended_at=ended, total=len(chosen), moved=len(chosen), succeeded=len(chosen),
    )  # fmt: skip
    many: dict[str, Any] = {"by": ADA, "reason": operation.reason, "operation_id": operation.pk}
    found = Redriven(operation, [], [])
    for number, (life, letter) in enumerate(chosen):
        moved = begun + timedelta(seconds=1 + number)
        _resolve(letter, Resolution.REDRIVEN, ADA, moved)
        life.task.failures, life.task.run_at = 0, moved
        shop.succeed(life, start=moved + timedelta(seconds=0.2), due=moved, seconds=0.3)
        found.items.append(
            OperationItem(
                operation=operation, row_id=letter.pk, task_id=letter.task_id, state=ItemState.SUCCEEDED,
                moved_at=moved, ended_at=moved + timedelta(seconds=1),
            )
        )  # fmt: skip
        found.journal.append(_of_letter(letter, "redrive", moved, **many))
    found.journal.append(_entry(ended, "redrive", kind=ObjectKind.DEAD_LETTER, count=len(chosen), **many))
    return found


def _resolve(letter: DeadLetter, resolution: Resolution, by: str, at: datetime) -> None:
    letter.resolution, letter.resolved_by, letter.resolved_at = resolution, by, at


def _of_letter(letter: DeadLetter, verb: str, at: datetime, **fields: Any) -> Journal:
    fields |= {"task_id": letter.task_id, "actor": letter.actor, "queue": letter.queue}
    return _entry(at, verb, kind=ObjectKind.DEAD_LETTER, object_id=str(letter.pk), **fields)


def _entry(at: datetime, verb: str, **fields: Any) -> Journal:
    values = {"by": "", "door": Door.ADMIN, "reason": "", "object_id": "", "object_name": "", "actor": "", "queue": ""}
    return Journal(**{**values, "detail": {}, **fields}, at=at, verb=verb)
