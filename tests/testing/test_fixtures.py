"""The fixture of pytest and the mixin of TestCase."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.test import SimpleTestCase, TestCase

import tasks.testing
from tasks.broker import notifier
from tasks.lifecycle import transitioned
from tasks.testing import CallboardTestMixin
from tests.actors import add, note


def test_the_fixture_has_the_functions_and_a_database(callboard) -> None:
    add.send(1, 2)
    callboard.assert_submitted(add, times=1)
    assert [task.result for task in callboard.drain()] == [3]


def test_the_fixture_goes_with_a_test_that_commits(callboard, transactional_db) -> None:
    add.send(1, 2)
    assert not connection.in_atomic_block
    assert [task.result for task in callboard.drain()] == [3]


def test_the_mixin_has_every_function_of_the_package() -> None:
    functions = {name for name in tasks.testing.__all__ if name.islower()}
    assert functions == {name for name in vars(CallboardTestMixin) if name.islower() and not name.startswith("_")}
    for name in functions:
        assert getattr(CallboardTestMixin(), name) is getattr(tasks.testing, name)


def test_a_name_that_the_package_has_not_is_an_attribute_error() -> None:
    assert not hasattr(tasks.testing, "drian")
    assert set(tasks.testing.__all__) == {name for name in tasks.testing.__all__ if getattr(tasks.testing, name)}


class MixedInTest(CallboardTestMixin, TestCase):
    """Uses the mixin as a user's test does."""

    @classmethod
    def setUpTestData(cls) -> None:
        note.send("of all tests")

    def test_everything_is_a_method(self) -> None:
        assert self.perform(add, 1, b=2) == 3
        with self.inline():
            assert add.send(1, 2).get_result() == 3
        with self.travel(by=timedelta(days=1)):
            self.drain()
        self.assert_not_submitted(note, payload__contains={"args_0": "x"})
        assert [task.status for task in self.submitted()] == ["SUCCEEDED", "SUCCEEDED"]

    def test_hooks_of_a_commit_are_captured_as_usual(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            add.send(1, 2)
            self.drain()
        self.assert_submitted(add, times=1)


def test_the_mixin_switches_wake_ups_off_and_on_again() -> None:
    def connected() -> list[Any]:
        return [key[0] for key, *_ in transitioned.receivers]

    class Case(CallboardTestMixin, SimpleTestCase):
        pass

    notifier.connect()
    try:
        Case.setUpClass()
        assert "callboard.wakeups" not in connected()
        Case.tearDownClass()
        Case.doClassCleanups()
        assert "callboard.wakeups" in connected()
        assert "callboard.task_stats" not in connected(), "it was off before"
    finally:
        notifier.disconnect()
