"""submitted, assert_submitted, assert_not_submitted: what a test has submitted, and messages that show it."""

import re
from typing import Any

import pytest
from django.db import transaction

from tasks.errors import UnknownActor
from tasks.testing import assert_not_submitted, assert_submitted, drain, submitted
from tests.actors import add, elsewhere, note, ship

pytestmark = pytest.mark.django_db

ORDER: Any = {"number": 1, "placed_on": "2030-01-02", "lines": ["a"]}


def test_submitted_lists_tasks_in_order_whatever_became_of_them() -> None:
    add.send(1)
    drain()
    note.send("x")
    elsewhere.send(1)
    assert [task.actor for task in submitted()] == ["add", "note", "elsewhere"]
    assert [task.actor for task in submitted(add)] == ["add"]
    assert [task.actor for task in submitted("note")] == ["note"]
    assert [task.actor for task in submitted(queue="other")] == ["elsewhere"]


def test_arguments_are_compared_by_name_however_they_were_passed() -> None:
    add.send(1, b=2)
    assert_submitted(add, payload={"a": 1, "b": 2})
    assert_submitted("add", payload__contains={"b": 2})
    (task,) = assert_submitted(add)
    assert task == submitted()[0]


def test_payload_means_all_of_it_and_contains_a_part_at_any_depth() -> None:
    ship.send(order=ORDER)
    assert_submitted(ship, payload__contains={"order": {"number": 1, "lines": ("a",)}})
    with pytest.raises(AssertionError):
        assert_submitted(ship, payload={"order": {"number": 1}})
    with pytest.raises(AssertionError):
        assert_submitted(ship, payload__contains={"order": {"missing": None}})


def test_true_is_not_one() -> None:
    add.send(1)
    with pytest.raises(AssertionError):
        assert_submitted(add, payload={"a": True})


@pytest.mark.parametrize(
    ("like", "unlike"),
    [({"times": 2}, {"times": 1}), ({"queue": "other"}, {"queue": "default"}), ({"priority": 8}, {"priority": "low"})],
)
def test_each_condition_counts(like, unlike) -> None:
    elsewhere.send(1)
    elsewhere.send(2)
    assert_submitted(elsewhere, **like)
    with pytest.raises(AssertionError):
        assert_submitted(elsewhere, **unlike)


def test_assert_not_submitted_takes_the_same_conditions() -> None:
    add.send(1)
    assert_not_submitted(note)
    assert_not_submitted(add, payload={"a": 2})
    with pytest.raises(AssertionError, match=r"expected add not to be submitted, found 1\.\nSubmitted were:\n  add"):
        assert_not_submitted(add)


def test_a_failure_shows_what_was_submitted_instead_the_actor_s_own_first() -> None:
    note.send("hello")
    add.send(1, b=2)
    expected = """\
expected add to be submitted 2 times with payload={'a': 1, 'b': 3}, found none.
Submitted were:
  add(a=1, b=2)  queue=default priority=5 PENDING
  note(args_0='hello')  queue=default priority=5 PENDING"""
    with pytest.raises(AssertionError, match=f"^{re.escape(expected)}$"):
        assert_submitted(add, times=2, payload={"a": 1, "b": 3})


def test_a_failure_names_hooks_that_wait_for_a_commit() -> None:
    transaction.on_commit(lambda: add.send(1))
    with pytest.raises(AssertionError, match=r"(?s)Nothing was submitted\.\n1 hooks of on_commit.*captureOnCommit"):
        assert_submitted(add)


def test_our_own_hooks_are_not_named() -> None:
    note.send("x")
    with pytest.raises(AssertionError) as caught:
        assert_submitted(add)
    assert "on_commit" not in str(caught.value)


def test_a_long_list_is_cut() -> None:
    for number in range(23):
        note.send(number)
    with pytest.raises(AssertionError, match="and 3 more"):
        assert_submitted(add)


def test_an_actor_that_nobody_declares_is_an_error_of_the_test() -> None:
    with pytest.raises(UnknownActor):
        assert_not_submitted("ad")
