"""Bounded reads of lists: what is found, how far a read looks, and that following it finds everything once."""

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dlq.models import DeadLetter
from tasks.contract.filters import filtered
from tasks.contract.pages import page
from tasks.contract.tasks import FILTERS
from tasks.models import Task
from tasks.queries import scan as scanning
from tasks.queries.scan import scan
from tasks.states import Resolution, Status
from tests.factories import database_now, make_task, submit

pytestmark = pytest.mark.django_db

#: Rows that a read looks at in these tests.
PARTS = (2, 3, 4)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "PARTS", PARTS)
    monkeypatch.setattr(scanning, "SCATTERED_PARTS", PARTS)
    monkeypatch.setattr(scanning, "FEW", 1)


def marked(pattern: str) -> list[Task]:
    """Submit tasks from old to new, those of an ``x`` with priority 9; return these, newest first."""
    tasks = [(one, submit(priority=9 if one == "x" else 5)) for one in pattern]
    return [task for one, task in reversed(tasks) if one == "x"]


def test_a_read_stops_after_a_bounded_part_and_says_where(small_parts) -> None:
    old, new = marked("x..........x...")[::-1]
    looked = scan(Task.objects.with_priority(9), wanted=5)
    assert looked.found == [new]
    assert looked.end is not None
    assert old.pk < looked.end < new.pk
    assert Task.objects.filter(pk__gte=looked.end).count() == sum(PARTS)


def test_a_read_that_finds_enough_or_reaches_the_end_is_complete(small_parts) -> None:
    tasks = marked("x.x.x")
    assert scan(Task.objects.with_priority(9), wanted=2) == (tasks[:2], None)
    assert scan(Task.objects.with_priority(9), wanted=9) == (tasks, None)
    assert scan(Task.objects.with_priority(9), wanted=9, order="pk") == (tasks[::-1], None)


def test_a_read_of_the_whole_list_goes_on(small_parts) -> None:
    tasks = marked("x" + "." * 30 + "x")
    assert scan(Task.objects.with_priority(9), wanted=9, whole=True) == (tasks, None)


def test_a_read_does_not_begin_its_last_part_after_its_time(small_parts, monkeypatch) -> None:
    monkeypatch.setattr(scanning, "LONGEST_SECONDS", 0)
    marked("." * 20)
    looked = scan(Task.objects.with_priority(9), wanted=9)
    assert Task.objects.filter(pk__gte=looked.end).count() == sum(PARTS[:2])


@pytest.mark.parametrize("pattern", ["x" * 9, "x..........", "..x......x.x..............x..", "...................."])
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_pages_lead_to_every_match_once_in_both_directions(small_parts, pattern: str, limit: int) -> None:
    tasks = marked(pattern)
    rows = Task.objects.with_priority(9)
    there: list[Task] = []
    back: list[Task] = []
    asked: dict[str, list[str]] = {"limit": [str(limit)]}
    for _ in range(40):
        one = page(rows, asked)
        there += one.rows
        assert one.searched is not None
        assert one.searched.is_complete or one.next
        if one.next is None:
            break
        asked["cursor"] = [one.next.encode()]
    assert there == tasks
    back = list(one.rows)
    for _ in range(40):
        if one.previous is None:
            break
        one = page(rows, {**asked, "cursor": [one.previous.encode()]})
        back = [*one.rows, *back]
    assert back == tasks


def test_a_page_says_until_when_it_looked(small_parts) -> None:
    marked("." * 20)
    found = page(Task.objects.with_priority(9), {})
    assert (found.rows, found.previous) == ([], None)
    assert found.searched is not None
    assert found.searched.until is not None
    assert abs(found.searched.until - database_now()) < timedelta(minutes=1)


def owned(rows: Any) -> Any:
    return rows.owned_by(User.objects.get(username="alice").pk)


#: Conditions that an index finds, however far behind.
FOUND_BY_INDEX: dict[str, Callable[[Any], Any]] = {
    "actor": lambda rows: rows.for_actor("elsewhere"),
    "queue": lambda rows: rows.in_queue("other"),
    "tag": lambda rows: rows.tagged("rare"),
    "trace id": lambda rows: rows.searched("4bf92f3577b34da6a3ce929d0e0e4736"),
    "search for a tag": lambda rows: rows.searched("rare"),
    "search for a whole name": lambda rows: rows.searched("elsewhere"),
    "search for the start of a name": lambda rows: rows.searched("elsew"),
    "actor and tag": lambda rows: rows.for_actor("elsewhere").tagged("rare"),
    "actor and priority": lambda rows: rows.for_actor("elsewhere").with_priority(5),
    "owner": owned,
    "owner and tag": lambda rows: owned(rows).tagged("rare"),
    "owner and priority": lambda rows: owned(rows).with_priority(5),
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("name", FOUND_BY_INDEX)
def test_few_matches_are_found_however_far_behind_and_in_any_status(small_parts, name, status, worker) -> None:
    alice = User.objects.create_user("alice")
    fields: dict[str, Any] = {
        "priority": 5,
        "tags": ["rare"],
        "queue": "other",
        "owner_id": alice.pk,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    if status in (Status.PENDING, Status.BLOCKED, Status.CANCELLED):
        task = make_task(status, actor="elsewhere", **fields)
    else:
        task = make_task(status, worker=worker, **fields)
        Task.objects.filter(pk=task.pk).update(actor="elsewhere")
        task.refresh_from_db()
    for _ in range(20):
        submit()
    assert scan(FOUND_BY_INDEX[name](Task.objects.all()), wanted=9) == ([task], None)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.SUCCEEDED])
def test_the_few_tasks_of_a_status_are_found_however_far_behind(small_parts, status, worker) -> None:
    task = make_task(status, worker=worker)
    newer = [submit() for _ in range(20)]
    if status is Status.PENDING:
        Task.objects.filter(pk__in=[one.pk for one in newer]).update(status=Status.BLOCKED)
    assert scan(Task.objects.in_status([status]), wanted=9) == ([task], None)
    assert scan(Task.objects.in_status([status, status]), wanted=9) == ([task], None)


def test_a_key_of_one_kind_is_not_taken_for_another() -> None:
    task = submit(tags=["actor:elsewhere", "queue:other", "elsewhere"])
    assert not Task.objects.for_actor("elsewhere").exists()
    assert not Task.objects.in_queue("other").exists()
    assert not Task.objects.tagged("queue:default").exists()
    assert not Task.objects.searched("actor:act").exists()
    assert Task.objects.tagged("actor:elsewhere").get() == task


def test_a_list_of_five_minutes_reads_no_day(monkeypatch) -> None:
    now = database_now()
    old = [submit() for _ in range(3)]
    for number, task in enumerate(old):
        made = int((now - timedelta(hours=1)).timestamp() * 1000)
        moved = uuid.UUID(int=(made << 80) | (7 << 76) | (2 << 62) | number)
        Task.objects.filter(pk=task.pk).update(id=moved, created_at=now - timedelta(hours=1))
    rows = Task.objects.created_after(now - timedelta(minutes=5))
    assert not rows.path.exists()
    assert Task.objects.created_before(now - timedelta(minutes=5)).path.count() == 3


def test_dead_letters_are_read_in_parts_too(small_parts, worker) -> None:
    for _ in range(12):
        make_task(Status.DEAD, worker=worker)
    looked = scan(DeadLetter.objects.searched("no such text"), wanted=5)
    assert looked.found == []
    assert DeadLetter.objects.filter(pk__gte=looked.end).count() == sum(PARTS)
    assert len(scan(DeadLetter.objects.resolved_as(Resolution.OPEN), wanted=50).found) == 12


ROWS, LOOKED_AT = 50_000, (100, 900, 4_000)
_FILL = """
INSERT INTO callboard_task (id, actor, payload, args, options, queue, priority, status, run_at, tags, trace_id,
                            min_backoff_seconds, max_backoff_seconds, time_limit_seconds, finished_at, owner_id)
SELECT (lpad(to_hex(1700000000000 + n * 1000), 12, '0') || '7' || substr(md5(n::text), 1, 19))::uuid,
       'actor_' || n %% 7, '{}', '[]', '{}', 'queue_' || n %% 3, 1 + n %% 10,
       CASE WHEN n %% 11 = 0 THEN 'PENDING' WHEN n %% 13 = 0 THEN 'DEAD' ELSE 'SUCCEEDED' END, now(),
       CASE WHEN n %% 4 = 0 THEN ARRAY['common'] ELSE '{}' END, md5(n::text), 2, 3600, 300,
       CASE WHEN n %% 11 = 0 THEN NULL ELSE now() END, %s
FROM generate_series(1, %s) AS n
"""


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> User:
    """Fill the table for one user, and let reads look at a tenth of it."""
    monkeypatch.setattr(scanning, "PARTS", LOOKED_AT)
    monkeypatch.setattr(scanning, "SCATTERED_PARTS", LOOKED_AT)
    monkeypatch.setattr(scanning, "FEW", 200)
    owner = User.objects.create_user("owner")
    with connection.cursor() as cursor:
        cursor.execute(_FILL, [owner.pk, ROWS])
        cursor.execute("ANALYZE callboard_task")
    return owner


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


#: For each declared filter: values that most, some and no tasks have.
ASKED: dict[str, list[str]] = {
    "status": [*Status],
    "actor": ["actor_1", "nobody"],
    "queue": ["queue_1", "none"],
    "band": ["high"],
    "priority": ["10"],
    "tag": ["common", "none"],
    "error_type": ["KeyError"],
    "payload": ["user.id:42"],
    "schedule": ["0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"],
    "batch": ["0198d3c2-7a31-7c4e-9d55-1f2a3b4c5d6e"],
    "waiting_for": ["parents", "signal_missing", "queue_paused", "not_due"],
    "created_after": ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
    "created_before": ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
    "run_after": ["2099-01-01T00:00:00Z"],
    "run_before": ["1999-01-01T00:00:00Z"],
    "search": ["actor_", "common", "none", "018b", "d41d8cd98f00b204e9800998ecf8427e"],
}
TOGETHER = ("actor", "status"), ("queue", "tag"), ("tag", "created_after"), ("band", "run_after"), ("search", "status")


def _queries() -> Iterator[dict[str, str]]:
    for name, values in ASKED.items():
        yield from ({name: value} for value in values)
    for one, other in TOGETHER:
        for first, second in itertools.product(ASKED[one], ASKED[other]):
            yield {one: first, other: second}


def test_the_plans_cover_every_filter() -> None:
    assert set(ASKED) == set(FILTERS)


@pytest.mark.parametrize("sees_all", [True, False])
def test_no_filter_reads_the_whole_table(large, sees_all) -> None:
    visible = Task.objects.all() if sees_all else Task.objects.owned_by(large.pk)
    for query in _queries():
        rows = filtered(visible, {name: [value] for name, value in query.items()}, FILTERS)
        with CaptureQueriesContext(connection) as captured:
            page(rows, {})
        reads = [one["sql"] for one in captured.captured_queries if one["sql"].startswith("SELECT")]
        assert len(reads) <= 2 * (1 + len(LOOKED_AT)) + 3, query
        with connection.cursor() as cursor:
            # As the look-ups run; the other reads have no need of it.
            cursor.execute(f"SET LOCAL enable_seqscan = {'off' if len(reads) > 4 else 'on'}")
            for read in reads:
                cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + read.replace("%", "%%"), [])
                ((plan,),) = cursor.fetchall()
                plan = plan if isinstance(plan, list) else json.loads(plan)
                for node in nodes(plan[0]["Plan"]):
                    assert node["Node Type"] != "Seq Scan", (query, read, node)
                    looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                    is_bitmap = node["Node Type"].startswith("Bitmap")
                    # The planner may skip some rows of the primary key where that is cheaper than another index.
                    assert is_bitmap or looked_at <= ROWS / 3, (query, read, node)
            cursor.execute("SET LOCAL enable_seqscan = DEFAULT")
