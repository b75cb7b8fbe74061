"""Keyset pages and filters over plain parameters."""

import pytest

from tasks import lifecycle
from tasks.contract.filters import filtered
from tasks.contract.pages import Cursor, Order, page
from tasks.contract.tasks import FILTERS, running_attempt
from tasks.errors import InvalidQuery
from tasks.models import Task
from tasks.states import DeathReason
from tests.factories import failure, start, submit

pytestmark = pytest.mark.django_db


def _ids(rows):
    return [row.pk for row in rows]


def test_cursors_lead_to_the_next_page_and_back() -> None:
    newest_first = _ids(submit() for _ in range(5))[::-1]
    first = page(Task.objects.all(), {"limit": ["2"]})
    assert (_ids(first.rows), first.previous) == (newest_first[:2], None)
    assert first.next is not None
    second = page(Task.objects.all(), {"limit": ["2"], "cursor": [first.next.encode()]})
    assert _ids(second.rows) == newest_first[2:4]
    assert second.previous is not None
    assert _ids(page(Task.objects.all(), {"limit": ["2"], "cursor": [second.previous.encode()]}).rows) == _ids(
        first.rows
    )


@pytest.mark.parametrize("cursor", [Cursor(False, 0), Cursor(True, 2**128 - 1)])
def test_a_cursor_survives_its_text(cursor: Cursor) -> None:
    assert Cursor.read(cursor.encode()) == cursor


def test_filters_leave_the_parameters_of_pages_alone() -> None:
    urgent = submit(priority=9)
    submit(priority=1)
    parameters = {"band": ["high"], "limit": ["10"]}
    assert _ids(page(filtered(Task.objects.all(), parameters, FILTERS), parameters).rows) == [urgent.pk]


def test_an_attempt_that_ends_while_its_task_is_read_is_listed_once(worker) -> None:
    task = submit()
    claimed = start(task, worker)
    task.refresh_from_db()
    running = running_attempt(task)
    lifecycle.fail(failure(claimed, worker, death=DeathReason.NOT_RETRYABLE))
    by_number = Order("number", False, lambda attempt: attempt.number, int)
    assert [one.outcome for one in page(task.attempts.all(), {}, order=by_number, tail=running).rows] == ["FAILED"]


@pytest.mark.parametrize("parameters", [{"limit": ["0"]}, {"cursor": ["x"]}, {"limit": ["1", "2"]}])
def test_a_wrong_page_is_refused(parameters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidQuery) as caught:
        page(Task.objects.all(), parameters)
    assert [error.field for error in caught.value.errors] == list(parameters)


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="parameters"):
        filtered(Task.objects.all(), {"colour": ["red"]}, FILTERS)
