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


@pytest.mark.parametrize("retrying_cap", [100, 2])
def test_tasks_that_wait_for_a_retry_are_not_among_the_pending_ones(
    monkeypatch: pytest.MonkeyPatch, worker, retrying_cap: int
) -> None:
    # The queries are built at import; the smaller cap is that of a board with very many retries.
    with_cap = counts._PENDING.replace(str(counts.RETRYING_CAP), str(retrying_cap))
    monkeypatch.setattr(counts, "_COUNTS", counts._COUNTS.replace(counts._PENDING, with_cap))
    for _ in range(3):
        make_task(Status.RETRYING, worker=worker)
    for _ in range(2):
        submit()
    found = counts.counts_by_status()
    assert (found[Status.PENDING], found[Status.RETRYING]) == ((2, False), (3, False))
    monkeypatch.setattr(counts, "COUNT_CAP", 1)
    assert counts.counts_by_status()[Status.PENDING] == (1, True)


def test_statuses_without_an_index_say_when_older_tasks_were_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "NEWEST_TASKS", 2)
    make_task(Status.SUCCEEDED)
    assert counts.counts_by_status()[Status.SUCCEEDED] == (1, False)
    submit()
    submit()
    assert counts.counts_by_status()[Status.SUCCEEDED] == (0, True)
