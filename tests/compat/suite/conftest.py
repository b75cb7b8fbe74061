"""Actors of one test on a broker of their own, run by ``drain()``: by the real verbs, in the test's transaction."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tasks.models import Task
from tasks.testing import drain


@pytest.fixture(autouse=True)
def _broker(db: None, inprocess_broker: Any) -> None:
    """Give each test a broker of its own, which is the process's meanwhile."""


@pytest.fixture
def broker(inprocess_broker: Any) -> Any:
    """The test's broker."""
    return inprocess_broker


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run what is due within a day, retries included, and return the tasks of the given messages, or all of them."""

    def run(*messages: Any) -> Any:
        drain(until=timedelta(days=1))
        found = [Task.objects.get(pk=one.message_id) for one in messages] or list(Task.objects.order_by("pk"))
        return found[0] if len(found) == 1 else found

    return run
