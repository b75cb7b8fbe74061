"""Stand-ins around a loop of the scheduler: a clock, a leadership and a broker that do as the test says."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from dlq.models import DeadLetter
from tasks.broker.sources.base import Taken
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tasks.models import Attempt, Task
from tasks.scheduler import capacity, cursors, dispatcher, unrunnable, window
from tests.factories import make_lead

#: The modules in which a round of the dispatcher reads the process's own clock.
TIMED = (capacity, cursors, dispatcher, unrunnable, window)


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the dispatcher's time stand still; a test moves ``now``."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    for module in TIMED:
        monkeypatch.setattr(module, "time", clock)
    return clock


def born_earlier(task: Task, by: timedelta) -> Task:
    """Give a task the id that it would have if it had been submitted earlier."""
    id = UUID(int=task.pk.int - (int(by.total_seconds() * 1000) << 80))
    for model, name in ((Task, "id"), (Attempt, "task_id"), (DeadLetter, "task_id")):
        model._default_manager.filter(**{name: task.pk}).update(**{name: id})
    return Task.objects.get(pk=id)


class Leading:
    """Leads, or follows with a term of None."""

    def __init__(self, *, has_settled: bool = True) -> None:
        self.term: int | None = make_lead()["term"]
        self.has_settled = has_settled


class Broker:
    """A broker whose queues are lists; while it is away, every call raises."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Hint]] = defaultdict(list)
        self.is_away = self.refuses_hints = False
        self.cleaned: list[set[str]] = []
        self.while_publishing: Callable[[], Any] = lambda: None

    @property
    def hints(self) -> list[Hint]:
        """All hints, in any order."""
        return [hint for hints in self.queues.values() for hint in hints]

    def clear(self) -> None:
        """Let workers take all hints."""
        self.queues.clear()

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        self.ping()
        self.while_publishing()
        if self.refuses_hints:
            raise BrokerUnavailable("full")
        for name, hint in hints:
            self.queues[name].append(hint)

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        self.ping()
        return {name: len(self.queues[name]) for name in queues}

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        self.ping()
        ready = {hint for queue, held in self.queues.items() if queue.startswith(f"{name}.") for hint in held}
        return [hint for hint in hints if hint not in ready]

    def remove_leftovers(self, present: set[str]) -> None:
        self.ping()
        self.cleaned.append(present)

    def ping(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("away")

    def take(self, queues: Sequence[str], limit: int, *, done: Sequence[Taken] = ()) -> list[Taken]:
        raise NotImplementedError

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        raise NotImplementedError

    def done(self, taken: Sequence[Taken]) -> None:
        raise NotImplementedError

    def put_back(self, taken: Sequence[Taken]) -> None:
        raise NotImplementedError


# Functions that the session finds before those of pg_catalog, so that it reads this time.
_FAKE = """
CREATE SCHEMA fake;
CREATE FUNCTION fake.statement_timestamp() RETURNS timestamptz STABLE LANGUAGE sql AS $$
    SELECT pg_catalog.statement_timestamp() + current_setting('fake.ahead')::double precision * interval '1 second'
$$;
CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS $$
    SELECT pg_catalog.clock_timestamp() + current_setting('fake.ahead')::double precision * interval '1 second'
$$;
SET LOCAL search_path = fake, public, pg_catalog;
SET LOCAL fake.ahead = 0;
"""


class Clocks:
    """The database's clock and the process's own."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._ahead = self._passed = 0.0
        query(_FAKE)

    @staticmethod
    def now() -> datetime:
        """Return the database's time."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT statement_timestamp()")
            return cursor.fetchone()[0]  # type: ignore[no-any-return]

    def monotonic(self) -> float:
        """Return the process's own time."""
        return time.monotonic() - self._began + 1000 + self._passed

    def step(self, seconds: float) -> None:
        """Let the database's clock step."""
        self._ahead += seconds
        query(f"SET LOCAL fake.ahead = {self._ahead}")

    def go_on(self, seconds: float) -> None:
        """Let time pass on both."""
        self._passed += seconds
        self.step(seconds)


def query(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
