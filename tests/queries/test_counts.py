"""Counts by status, and where they stop."""

import pytest

from tasks.queries import counts
from tasks.states import Status
from tests.factories import make_task, submit

pytestmark = pytest.mark.django_db


def test_every_status_is_counted(worker) -> None:
    for status in Status:
        make_task(status, worker=worker)
    assert counts.counts_by_status() == dict.fromkeys(Status, counts.Count(1, False))


def test_counting_stops_at_the_cap_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "COUNT_CAP", 2)
    for _ in range(3):
        submit()
    found = counts.counts_by_status()
    assert found[Status.PENDING] == (2, True)
    assert found[Status.DEAD] == (0, False)


def test_statuses_without_an_index_say_when_older_tasks_were_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "NEWEST_TASKS", 2)
    make_task(Status.SUCCEEDED)
    assert counts.counts_by_status()[Status.SUCCEEDED] == (1, False)
    submit()
    submit()
    assert counts.counts_by_status()[Status.SUCCEEDED] == (0, True)
