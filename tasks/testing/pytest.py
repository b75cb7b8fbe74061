"""The pytest plugin: ``pytest_plugins = ["tasks.testing.pytest"]`` in the root ``conftest.py``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tasks.testing.case import CallboardTestMixin


@pytest.fixture(autouse=True, scope="session")
def _no_wakeups() -> Iterator[None]:
    """Keep wake-ups to a scheduler, and statistics, from opening connections of their own to the test database."""
    # Not at the top: pytest loads plugins before Django has models.
    from tasks.broker import notifier
    from tasks.telemetry import task_stats

    notifier.disconnect()
    task_stats.disconnect()
    yield
    task_stats.connect()
    notifier.connect()


@pytest.fixture
def callboard(db: None) -> "CallboardTestMixin":  # noqa: ARG001 - it brings the database
    """Give the functions of ``tasks.testing`` as methods, in a test with a database."""
    from tasks.testing.case import CallboardTestMixin

    return CallboardTestMixin()
