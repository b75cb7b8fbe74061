"""What a task's life costs in index insertions, and what the dispatcher reads: both are budgets of the design."""

import json
import sys
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from tasks import lifecycle
from tasks.lifecycle import Probe
from tasks.models import Queue
from tasks.queries import due
from tasks.queries.due import Lane
from tests.factories import claim, dispatch, dispatch_due, outcome, submit

pytestmark = pytest.mark.django_db

#: ARCHITECTURE: at most this many index insertions in a task's life.
BUDGET = 12

# Without BRIN indexes, which have an entry for each 128 pages, not for each row.
_INDEXES = """
SELECT indexrelid::regclass::text, pg_get_expr(indpred, indrelid)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE indrelid = %s::regclass AND amname <> 'brin'
"""


def matching_indexes(table: str, where: str, parameters: list[Any]) -> list[str]:
    """Name the indexes whose predicate the row satisfies: each costs an insertion for a version of the row."""
    with connection.cursor() as cursor:
        cursor.execute(_INDEXES, [table])
        matching = []
        for name, predicate in cursor.fetchall():
            cursor.execute(f"SELECT ({predicate or 'true'}) FROM {table} WHERE {where}", parameters)
            ((matches,),) = cursor.fetchall()
            if matches:
                matching.append(name)
    return matching


def test_one_life_stays_within_the_budget_of_index_insertions(worker, django_user_model) -> None:
    owner = django_user_model.objects.create(username="owner")
    versions: dict[str, list[str]] = {}

    def look(verb: str, task_id: UUID) -> None:
        versions[verb] = matching_indexes("callboard_task", "id = %s", [task_id])

    task = submit(owner_id=owner.pk)
    look("submit", task.pk)
    hint = dispatch(task)
    look("dispatch", task.pk)
    claimed = claim(hint, worker)
    look("claim", task.pk)
    lifecycle.succeed(outcome(claimed, worker))
    look("succeed", task.pk)
    versions["attempt"] = matching_indexes("callboard_attempt", "task_id = %s", [task.pk])
    assert all("callboard_task_pkey" in names for verb, names in versions.items() if verb != "attempt")
    assert sum(len(names) for names in versions.values()) <= BUDGET, json.dumps(versions, indent=2)


def test_every_index_on_tasks_is_partial_but_the_key() -> None:
    with connection.cursor() as cursor:
        cursor.execute(_INDEXES, ["callboard_task"])
        assert [name for name, predicate in cursor.fetchall() if predicate is None] == ["callboard_task_pkey"]


_BACKLOG = """
INSERT INTO callboard_task (id, actor, payload, args, options, queue, priority, lane, run_at, tags,
                            min_backoff_seconds, max_backoff_seconds, time_limit_seconds)
SELECT gen_random_uuid(), 'act', '{}', '[]', '{}', %s, %s, n %% %s,
       now() + %s * interval '1 day' + n * interval '1 millisecond', '{}', 2, 3600, 300
FROM generate_series(1, %s) AS n
"""


def fill(queue: str, *, priority: int, days: int, count: int, lanes: int = 1) -> None:
    Queue.objects.get_or_create(name=queue)
    # A queue for each test: the entries of one that was rolled back are still in the index.
    with connection.cursor() as cursor:
        cursor.execute(_BACKLOG, [queue, priority, lanes, days, count])
        cursor.execute("ANALYZE callboard_task")


def explained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let ``delivery`` and ``lines`` explain their statements instead; the list gets their plans."""
    plans: list[dict[str, Any]] = []

    def explain(statement: str, parameters: Any, **_: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
            ((plan,),) = cursor.fetchall()
        plans.append((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
        return []

    for module in (sys.modules["tasks.lifecycle.dispatch"], due):
        monkeypatch.setattr(module, "fetch", explain)
    return plans


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def buffers(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def test_neither_a_backlog_in_the_future_nor_one_of_lower_priority_is_walked(monkeypatch, lead) -> None:
    fill("crowded", priority=10, days=1, count=30_000)
    fill("crowded", priority=1, days=-1, count=30_000)
    for priority in (9, 5):
        fill("crowded", priority=priority, days=-1, count=20)
    plans = explained(monkeypatch)
    dispatch_due("crowded", space=30)
    picked = next(node for node in nodes(plans[0]) if node.get("Subplan Name") == "CTE picked")
    assert picked["Actual Rows"] == 30, json.dumps(picked, indent=1)
    scans = [node for node in nodes(picked) if node.get("Relation Name") == "callboard_task"]
    assert {scan.get("Index Name") for scan in scans} == {"task_lane_idx"}, json.dumps(scans, indent=1)
    # An index descent for each probe, a heap page and a lock for each of 30 rows; the backlogs have 1,000 pages each.
    assert buffers(picked) < 300, json.dumps(picked, indent=1)


def test_the_next_due_time_is_found_along_the_index(monkeypatch) -> None:
    fill("waiting", priority=5, days=-1, count=20_000)
    fill("waiting", priority=5, days=1, count=20_000)
    plans = explained(monkeypatch)
    with pytest.raises(ValueError, match="not enough values"):
        due.next_due_in_seconds(["waiting"])
    assert buffers(plans[0]) < 150, json.dumps(plans[0], indent=1)


def test_the_first_of_each_level_is_found_along_the_index(monkeypatch) -> None:
    fill("levels", priority=9, days=-1, count=20_000)
    fill("levels", priority=5, days=1, count=20_000)
    lanes = {Lane("levels", priority): Probe(priority, "any", 1) for priority in range(1, 11)}
    found = due.first_tasks(lanes)
    assert {lane.priority: first.due_in_seconds < 0 for lane, first in found.items()} == {9: True, 5: False}
    plans = explained(monkeypatch)
    due.first_tasks(lanes)
    assert buffers(plans[0]) < 150, json.dumps(plans[0], indent=1)


def test_lanes_are_found_by_a_jump_to_each(monkeypatch) -> None:
    fill("laned", priority=5, days=-1, count=20_000, lanes=10)
    assert len(due.first_tasks({}, ["laned"])) == 10
    plans = explained(monkeypatch)
    due.first_tasks({}, ["laned"])
    # Four pages for each of ten lanes, and a few for each level.
    assert buffers(plans[0]) < 150, json.dumps(plans[0], indent=1)


def test_a_queue_in_which_nothing_waits_costs_one_descent(monkeypatch) -> None:
    fill("full", priority=5, days=-1, count=20_000)
    names = [f"empty-{number}" for number in range(200)]
    assert set(due.first_tasks({}, [*names, "full"])) == {Lane("full", 5)}
    plans = explained(monkeypatch)
    due.first_tasks({}, names)
    # Three or four pages for each; ten levels would be thirty.
    assert buffers(plans[0]) < 200 * 5, json.dumps(plans[0], indent=1)
