"""The shared predicates mean what the query sets mean, stand in one place, and SQL has two homes."""

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from dlq.models import DeadLetter
from tasks import lifecycle
from tasks.lifecycle import predicates, workers
from tasks.models import Task, Worker
from tasks.states import Status
from tests.factories import age, let_lease_run_out, make_task, make_worker, open_letter

ROOT = Path(settings.BASE_DIR)
FENCE = "tasks/lifecycle/predicates.py"
#: Where statements stand.
HOMES = ("tasks/lifecycle/", "tasks/queries/")
#: Where statements may stand that name no table of the product: they are about sessions, the clock and the server.
ABOUT_SESSIONS = ("tasks/db/", "tasks/testing/clock.py", "scheduler_site/embedded/")

IS_SQL = re.compile(r"^\s*(WITH \w+ AS|SELECT|INSERT INTO|UPDATE \w+ |DELETE FROM|LOCK TABLE|PREPARE|EXPLAIN)\b")
NAMES_A_TABLE = re.compile(r"\b(FROM|JOIN|INTO|UPDATE|TABLE|ONLY) callboard_")
#: What would be a second copy of a shared predicate.
COPIES = {
    "the leader's term": re.compile(r"FROM callboard_term\b"),
    "a live worker": re.compile(r"'ALIVE' AND (\w+\.)?lease_expires_at|lease_expires_at > statement_timestamp"),
    "due": re.compile(r"'PENDING', 'RETRYING'\)|run_at <= statement_timestamp"),
    "waiting": re.compile(r"'BLOCKED', 'PENDING'"),
    "young enough to start": re.compile(r"expires_at IS NULL OR (?!token\.)\w+\.expires_at > statement_timestamp"),
    "how a batch is found": re.compile(r"ANY\(ARRAY\[|COALESCE\((\w+\.)?status,"),
    "an open dead letter": re.compile(r"resolution = ''"),
}


def sources() -> Iterator[str]:
    """List the product's files that are not migrations."""
    for room in ("tasks", "dlq", "scheduler_site"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT))


def texts(path: str) -> Iterator[str]:
    """Give the strings of a file, pieces of f-strings included, docstrings left out; white space made one space."""
    tree = ast.parse((ROOT / path).read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield re.sub(r"\s+", " ", node.value)


def test_statements_stand_in_lifecycle_and_queries_only() -> None:
    strangers = [
        (path, text[:80])
        for path in sources()
        if not path.startswith(HOMES)
        for text in texts(path)
        if NAMES_A_TABLE.search(text) or (IS_SQL.search(text) and not path.startswith(ABOUT_SESSIONS))
    ]
    assert strangers == []


@pytest.mark.parametrize("predicate", COPIES)
def test_a_shared_predicate_is_written_once(predicate: str) -> None:
    homes = {path for path in sources() for text in texts(path) if COPIES[predicate].search(text)}
    # Some are put together from the words of tasks/states.py, and so are not even there in one piece.
    assert homes <= {FENCE}


@pytest.mark.parametrize(
    ("copy", "predicate"),
    [
        ("SELECT FROM callboard_term WHERE", "the leader's term"),
        ("worker.status = 'ALIVE' AND worker.lease_expires_at > statement_timestamp()", "a live worker"),
        (predicates.IS_DUE, "due"),
        (predicates.IS_WAITING, "waiting"),
        (predicates.CAN_STILL_START, "young enough to start"),
        (predicates.in_batch("hint"), "how a batch is found"),
        (predicates.has_status(Status.QUEUED), "how a batch is found"),
        (predicates.IS_OPEN, "an open dead letter"),
    ],
)
def test_a_copy_would_be_found(copy: str, predicate: str) -> None:
    assert COPIES[predicate].search(copy)


def found(table: str, alias: str, predicate: str) -> set[object]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {alias}.id FROM {table} AS {alias} WHERE {predicate}")
        return {id for (id,) in cursor.fetchall()}


@pytest.mark.django_db
def test_predicates_of_tasks_mean_what_the_query_set_means(worker) -> None:
    for status in Status:
        make_task(status, worker=worker)
    age(make_task(Status.PENDING), run_at=timedelta(hours=1))
    make_task(Status.PENDING, delay_seconds=60)

    def ids(rows):
        return set(rows.values_list("pk", flat=True))

    assert found("callboard_task", "task", predicates.IS_DUE) == ids(Task.objects.due())
    assert found("callboard_task", "task", predicates.DISPATCHABLE) == ids(Task.objects.waiting_to_run())
    waiting = ids(Task.objects.cancellable()) - ids(Task.objects.running())
    assert found("callboard_task", "task", predicates.IS_WAITING) == waiting
    for status in Status:
        assert found("callboard_task", "task", predicates.has_status(status)) == ids(Task.objects.in_status([status]))


@pytest.mark.django_db
def test_predicates_of_workers_and_dead_letters_mean_what_the_query_sets_mean() -> None:
    alive, draining, silent, gone = (make_worker() for _ in range(4))
    workers.ask_to_drain([draining.pk])
    let_lease_run_out(silent)
    workers.leave(gone.pk)
    assert found("callboard_worker", "worker", predicates.LIVE_WORKER) == {alive.pk}
    assert {one.pk for one in Worker.objects.taking()} == {alive.pk}
    assert found("callboard_worker", "worker", predicates.NOT_GONE) == {alive.pk, draining.pk, silent.pk}
    letter, discarded = (open_letter(make_task(Status.DEAD)) for _ in range(2))
    lifecycle.discard(discarded.pk)
    assert found("callboard_deadletter", "letter", predicates.IS_OPEN) == {letter.pk}
    assert {one.pk for one in DeadLetter.objects.open()} == {letter.pk}
