"""Circles: no task waits for the batch that counts it, over however many tasks and batches."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks.lifecycle import DependsOn, batches, circles
from tests.factories import submit
from tests.lifecycle.test_batches import act
from tests.lifecycle.test_children_of_batches import child_of, make_batch, refusal

pytestmark = pytest.mark.django_db


@contextmanager
def captured() -> Iterator[list[str]]:
    statements: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        yield statements
    statements += [one["sql"] for one in queries.captured_queries]


def test_a_task_does_not_wait_for_its_own_batch() -> None:
    batch, _ = make_batch(0)
    field, code, message = refusal(act(batch=batch.pk, depends_on=[DependsOn(batch=batch.pk)]))
    assert (field, code) == ("depends_on", "cycle")
    assert f"batch {batch.pk}, which counts it" in message
    assert batches.find(batch.pk).count("total") == 0


def test_a_task_does_not_wait_for_its_batch_over_other_tasks_and_batches() -> None:
    first, _ = make_batch(0)
    second, _ = make_batch(0)
    between = child_of(first)
    submit(batch=second.pk, depends_on=[between.pk])
    assert refusal(act(batch=first.pk, depends_on=[DependsOn(between.pk)]))[1] == "cycle"
    assert refusal(act(batch=first.pk, depends_on=[DependsOn(batch=second.pk)]))[1] == "cycle"
    assert refusal(act(), act(batch=first.pk, ref="x", depends_on=[between.pk]))[0] == "tasks.1.depends_on"
    # Other batches, and tasks that wait for nothing of it, may be waited for.
    third, _ = make_batch(0)
    submit(batch=third.pk, depends_on=[DependsOn(batch=second.pk), DependsOn(between.pk)])
    submit(batch=first.pk, depends_on=[submit().pk])


def test_a_task_does_not_wait_for_its_batch_over_another_of_the_same_call() -> None:
    batch, _ = make_batch(0)
    waits = act(ref="waits", depends_on=[DependsOn(batch=batch.pk)])
    assert refusal(waits, act(batch=batch.pk, depends_on=[DependsOn("waits")]))[1] == "cycle"


def test_a_walk_that_is_too_long_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(circles, "MOST_WALKED", 3)
    batch, _ = make_batch(0)
    children = [child_of(batch) for _ in range(3)]
    other = child_of(make_batch(0)[0])
    assert refusal(act(batch=batch.pk, depends_on=[children[0].pk, other.pk]))[:2] == ("batch", "too_large")


@pytest.mark.parametrize("more", [{}, {"batch": True}, {"depends_on": True}, {"batch": True, "depends_on": True}])
def test_only_what_could_close_a_circle_asks_for_one(more) -> None:
    batch, _ = make_batch(0)
    parent = submit()
    fields = {**more, **({"batch": batch.pk} if "batch" in more else {})}
    fields |= {"depends_on": [parent.pk]} if "depends_on" in more else {}
    with captured() as statements:
        submit(**fields)
    assert not any("callboard circles" in sql or "later" in sql for sql in statements)
    with captured() as statements:
        submit(batch=batch.pk, depends_on=[DependsOn(batch=make_batch(0)[0].pk)])
    assert any("callboard circles" in sql for sql in statements)
