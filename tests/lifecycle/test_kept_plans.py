"""Prepared statements: which sessions keep them, and that a plan made for empty tables is right for full ones."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tasks import lifecycle
from tasks.db import statements
from tasks.lifecycle import Probe
from tasks.queries import due
from tasks.queries.due import Lane
from tasks.states import Status
from tests.factories import claim, dispatch, make_worker, outcome, submit

pytestmark = pytest.mark.django_db(transaction=True)

LANES = {Lane("default", 5): Probe(5, "any", 1)}


def live() -> Status:
    """Take a task through its life."""
    worker = make_worker()
    task = submit()
    due.first_tasks(LANES)
    lifecycle.complete_many([outcome(claim(dispatch(task), worker), worker)])
    task.refresh_from_db()
    return Status(task.status)


def query(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def kept() -> set[str]:
    return {name for (name,) in query("SELECT name FROM pg_prepared_statements")}


def in_a_thread(work: Callable[[], Any], *, of_the_engine: bool = True) -> Any:
    """Do it in a thread, whose session is new."""
    results: list[Any] = []

    def run() -> None:
        if of_the_engine:
            statements.keep_plans()
        try:
            results.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return results[0]


def test_a_session_of_the_engine_keeps_its_frequent_statements() -> None:
    assert in_a_thread(lambda: (live(), kept())) == (
        Status.SUCCEEDED,
        {"callboard_submit", "callboard_first_tasks", "callboard_dispatch", "callboard_claim", "callboard_complete"},
    )


def test_another_session_keeps_only_the_submission_and_its_planner_is_left_alone() -> None:
    def work() -> Any:
        return live(), kept(), query("SHOW enable_seqscan")

    assert in_a_thread(work, of_the_engine=False) == (Status.SUCCEEDED, {"callboard_submit"}, [("on",)])


def test_behind_a_pooler_nothing_is_kept(monkeypatch) -> None:
    # A pooler gives its clients process ids of its own.
    monkeypatch.setattr(statements, "_is_direct", lambda *_: False)
    assert in_a_thread(lambda: (live(), kept(), query("SHOW enable_seqscan"))) == (Status.SUCCEEDED, set(), [("on",)])


def test_planner_settings_outlive_a_transaction_that_is_rolled_back() -> None:
    def work() -> Any:
        with transaction.atomic():
            submit()
            in_transaction = kept()
            transaction.set_rollback(True)
        submit()
        return in_transaction, kept(), query("SHOW plan_cache_mode")

    assert in_a_thread(work) == (set(), {"callboard_submit"}, [("force_generic_plan",)])


def test_a_session_that_lost_its_prepared_statements_fails_once() -> None:
    def work() -> Any:
        submit()
        query("DISCARD ALL")
        with pytest.raises(OperationalError, match="does not exist"):
            submit()
        return live()

    assert in_a_thread(work) is Status.SUCCEEDED


_BACKLOG = """
INSERT INTO callboard_task (id, actor, payload, args, options, queue, priority, tags,
                            min_backoff_seconds, max_backoff_seconds, time_limit_seconds)
SELECT gen_random_uuid(), 'act', '{}', '[]', '{}', 'default', 5, '{}', 2, 3600, 300 FROM generate_series(1, 20000)
"""
_READ = """
SELECT seq_scan, seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'callboard_task'
"""


def test_a_plan_that_was_made_for_an_empty_table_does_not_read_all_of_a_full_one() -> None:
    query("VACUUM ANALYZE callboard_task")

    def work() -> Any:
        # By default PostgreSQL makes plans for single executions for a while before it keeps one.
        for _ in range(8):
            live()
        query(_BACKLOG)
        with transaction.atomic():
            ((scans, rows),) = query(_READ) or [(0, 0)]
            live()
            ((scans_after, rows_after),) = query(_READ)
        return scans_after - scans, rows_after - rows

    scans, rows = in_a_thread(work)
    assert scans == 0
    assert rows < 100


@pytest.mark.parametrize("rows", [0, 20_000])
@pytest.mark.parametrize(
    ("name", "parameters", "indexes"),
    [
        ("callboard_dispatch", 5, {"callboard_task_pkey", "task_lane_idx"}),
        ("callboard_claim", 2, {"callboard_task_pkey"}),
        ("callboard_complete", 1, {"callboard_task_pkey"}),
    ],
)
def test_a_batch_finds_its_tasks_by_their_key_whatever_the_statistics_say(name, parameters, indexes, rows) -> None:
    if rows:
        query(_BACKLOG)
    query("VACUUM ANALYZE callboard_task")

    def work() -> Any:
        live()
        return "\n".join(line for (line,) in query(f"EXPLAIN EXECUTE {name} ({', '.join(['NULL'] * parameters)})"))

    plan = in_a_thread(work)
    assert set(re.findall(r"using (\w+) on callboard_task", plan)) == indexes, plan
    assert "Join Filter" not in plan, plan
