"""travel: the database's clock, as the test's session sees it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import ProgrammingError, connection, transaction
from django.db.models.functions import Now

from tasks.db.statements import fetch
from tasks.models import Task
from tasks.testing import drain, travel
from tasks.testing.clock import now
from tests import factories
from tests.actors import act

pytestmark = pytest.mark.django_db

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def ahead() -> timedelta:
    moment: datetime = factories.database_now()
    return moment - datetime.now(UTC)


def test_the_clock_is_ahead_within_the_block_only() -> None:
    with travel(by=DAY):
        assert abs(ahead() - DAY) < SECOND
        assert abs(now() - factories.database_now()) < SECOND
    assert abs(ahead()) < SECOND


def test_it_goes_to_a_date_and_on_from_there() -> None:
    with travel(to=datetime(2040, 1, 1, tzinfo=UTC)):
        first, second = now(), now()
    assert datetime(2040, 1, 1, tzinfo=UTC) <= first < second < datetime(2040, 1, 1, 0, 1, tzinfo=UTC)


def test_it_goes_into_the_past() -> None:
    with travel(to=datetime(2020, 1, 1, tzinfo=UTC)):
        act.send("return")
        (task,) = drain()
    assert task.finished_at is not None
    assert task.finished_at.year == 2020


def test_journeys_are_nested() -> None:
    with travel(by=DAY):
        with travel(by=DAY):
            assert abs(ahead() - 2 * DAY) < SECOND
        assert abs(ahead() - DAY) < SECOND


def test_a_task_that_is_submitted_on_the_way_is_due_then() -> None:
    with travel(by=DAY):
        act.send("return")
        assert [task.status for task in drain()] == ["SUCCEEDED"]


def test_the_orm_travels_along() -> None:
    act.send_with_options(args=("return",), delay=86_000_000)
    with travel(by=DAY):
        assert Task.objects.filter(run_at__lte=Now()).exists()
        assert Task.objects.due().exists()
    assert not Task.objects.due().exists()


def test_the_search_path_is_as_before_and_new_tables_are_made_where_they_were() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        before = cursor.fetchone()
        with travel(by=DAY), travel(by=DAY):
            cursor.execute("SELECT current_schema()")
            assert cursor.fetchone() == ("public",)
        cursor.execute("SHOW search_path")
        assert cursor.fetchone() == before


def test_an_error_on_the_way_is_not_hidden() -> None:
    with pytest.raises(ProgrammingError, match="no_such_column"), transaction.atomic(), travel(by=DAY):
        fetch("SELECT no_such_column", {})
    assert abs(ahead()) < SECOND


@pytest.mark.django_db(transaction=True)
def test_a_new_session_travels_along() -> None:
    with travel(by=DAY):
        connection.close()
        assert abs(ahead() - DAY) < SECOND
        connection.close()
    assert abs(ahead()) < SECOND
    connection.close()
    assert abs(ahead()) < SECOND


@pytest.mark.parametrize("given", [{}, {"to": datetime(2040, 1, 1, tzinfo=UTC), "by": DAY}])
def test_it_takes_one_of_to_and_by(given) -> None:
    with pytest.raises(ValueError, match="expected one of"), travel(**given):
        pass
