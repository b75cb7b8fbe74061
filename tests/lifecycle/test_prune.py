"""prune: rows that were kept long enough are removed, by a leader only."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tasks import lifecycle
from tasks.lifecycle.prune import FIRST_ID, JOURNAL
from tasks.models import Attempt, IdempotencyKey, Journal, Task, Term
from tasks.states import Status
from tests.factories import Lead, age, database_now, make_task, open_letter
from tests.scheduler.stage import born_earlier

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=9)


def prune_all(lead: Lead) -> list[int]:
    """Remove everything that was kept for no time at all; tell how many rows of each kind went."""
    keep = {str(Status.SUCCEEDED): 0.0, str(Status.DEAD): 0.0}
    bounds: dict[str, Any] = {"batch": 100, **lead}
    return [
        lifecycle.prune_many(FIRST_ID, keep_seconds=keep, **bounds).removed,
        lifecycle.prune_keys(**bounds),
        lifecycle.discard_old(keep_seconds=0, **bounds),
        lifecycle.prune_history(JOURNAL, keep_seconds=0, **bounds),
    ]


def old_task(status: Status) -> Task:
    task = born_earlier(make_task(status), LONG_AGO)
    if task.is_final:
        age(task, finished_at=LONG_AGO)
    return task


def fill() -> None:
    for status in (Status.SUCCEEDED, Status.DEAD, Status.PENDING):
        old_task(status)
    IdempotencyKey.objects.create(owner_id=0, key="old", request_hash="", task_ids=[], expires_at=database_now())
    Journal.objects.create(task_id=UUID(int=1), kind="task", verb="cancel")


def test_rows_that_were_kept_long_enough_are_removed(lead) -> None:
    fill()
    # The dead task waits for its dead letter, which is discarded in the same round.
    assert prune_all(lead) == [1, 1, 1, 2]
    assert prune_all(lead) == [1, 0, 0, 0]
    assert [task.status for task in Task.objects.all()] == [Status.PENDING]
    assert not Attempt.objects.exists()


def test_a_deposed_leader_removes_nothing(lead) -> None:
    fill()
    Term.objects.update(term=lead["term"] + 1)
    assert prune_all(lead) == [0, 0, 0, 0]
    assert open_letter(Task.objects.get(status=Status.DEAD)).is_open


def test_a_walk_goes_on_from_its_position_and_says_how_much_it_read(lead) -> None:
    ids = sorted(old_task(Status.SUCCEEDED).pk for _ in range(3))
    keep = {str(Status.SUCCEEDED): 0.0}
    first = lifecycle.prune_many(FIRST_ID, keep_seconds=keep, batch=2, **lead)
    assert first == (2, 2, ids[1])
    assert lifecycle.prune_many(first.position, keep_seconds=keep, batch=2, **lead) == (1, 1, ids[2])
