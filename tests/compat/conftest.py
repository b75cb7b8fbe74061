"""A whole engine, and actors that exist for one test."""

from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest

from tasks.models import Task
from tests.engines import Engine


@pytest.fixture
def declare(scheduled: Engine) -> Callable[..., Any]:
    """Declare an actor on the test's broker: ``declare(function, **options)``."""

    def as_actor(function: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(broker=scheduled.broker, **options)(function)

    return as_actor


@pytest.fixture
def run(scheduled: Engine) -> Iterator[Callable[..., Any]]:
    """Run sent messages to their end and return their tasks; the worker starts with the first of them."""

    def run(*messages: Any, timeout: float = 15) -> Any:
        if scheduled.worker is None:
            scheduled.start_worker()
        found = scheduled.wait_for(*[Task.objects.get(pk=one.message_id) for one in messages], timeout=timeout)
        return found[0] if len(found) == 1 else found

    yield run
    scheduled.stop_worker()
