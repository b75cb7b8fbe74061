"""Races: each function runs in a thread and a connection of its own, and all start at the same moment."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections, transaction

Result = Any


class Race:
    """Runs functions side by side."""

    def together(self, *functions: Callable[[], Any], timeout: float = 20) -> list[Result]:
        """Call the functions at the same moment; return what they returned or the errors they raised, in order."""
        barrier = threading.Barrier(len(functions))
        results: list[Result] = [None] * len(functions)

        def run(place: int, function: Callable[[], Any]) -> None:
            try:
                connection.ensure_connection()
                barrier.wait(timeout)
                results[place] = function()
            except Exception as error:  # noqa: BLE001 - the test looks at it
                results[place] = error
            finally:
                connections.close_all()

        threads = [
            threading.Thread(target=run, args=(place, function), daemon=True)
            for place, function in enumerate(functions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
        assert not any(thread.is_alive() for thread in threads), "a racer hangs"
        return results

    def while_open(self, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Result, Result]:
        """Call ``first`` in a transaction that stays open until ``second`` waits for one of its locks, or is done."""
        return self._overlap(first, second, then=None)

    def while_waiting(
        self, first: Callable[[], Any], second: Callable[[], Any], then: Callable[[], Any]
    ) -> tuple[Result, Result]:
        """Call ``first``, and ``then`` in the same transaction once ``second`` waits for it; return the last two.

        If ``second`` holds by then what ``then`` needs, they deadlock, and one of the two answers is that error.
        """
        return self._overlap(first, second, then=then)

    def _overlap(
        self, first: Callable[[], Any], second: Callable[[], Any], *, then: Callable[[], Any] | None
    ) -> tuple[Result, Result]:
        holds, is_done = threading.Event(), threading.Event()
        waiter: dict[str, int] = {}

        def hold() -> Result:
            with transaction.atomic():
                result = first()
                holds.set()
                self._wait_for_lock(waiter, is_done)
                if then is None:
                    return result
                assert not is_done.is_set(), "the second did not wait for the first"
                return then()

        def follow() -> Result:
            holds.wait(10)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                waiter["pid"] = cursor.fetchone()[0]
            try:
                return second()
            finally:
                is_done.set()

        held, followed = self.together(hold, follow)
        return held, followed

    def _wait_for_lock(self, waiter: dict[str, int], is_done: threading.Event) -> None:
        for _ in range(2000):
            if is_done.wait(0.005):
                return
            if "pid" not in waiter:
                continue
            with connection.cursor() as cursor:
                cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [waiter["pid"]])
                if cursor.fetchone()[0]:
                    return
        raise AssertionError("the second neither waited nor ended")


@pytest.fixture
def race(transactional_db: None) -> Race:
    """Give what runs functions side by side."""
    return Race()
