"""A test's database, read without Django and without locks."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import psycopg2

from tasks.states import FINAL


class TaskRow(NamedTuple):
    """A task."""

    id: str
    actor: str
    status: str
    dispatch: int
    attempt: int
    failures: int
    crashes: int
    max_retries: int | None
    tags: list[str]
    error: str


class AttemptRow(NamedTuple):
    """An attempt."""

    task: str
    number: int
    outcome: str
    worker: str
    started_at: datetime | None
    finished_at: datetime
    error_type: str


class LetterRow(NamedTuple):
    """A dead letter."""

    task: str
    reason: str
    resolution: str


class WorkerRow(NamedTuple):
    """A worker process; ``crash`` is what its supervisor reported."""

    id: str
    pid: int
    status: str
    lease_expires_at: datetime
    stopped_at: datetime | None
    crash: Any


class EventRow(NamedTuple):
    """What a person did to a task."""

    task: str
    verb: str


class Move(NamedTuple):
    """A change of status; ``before`` is None when the task was submitted."""

    at: datetime
    task: str
    before: str | None
    after: str
    dispatch: int
    attempt: int
    run_at: datetime


@dataclass(frozen=True)
class Snapshot:
    """All rows at one moment."""

    tasks: Sequence[TaskRow] = ()
    attempts: Sequence[AttemptRow] = ()
    letters: Sequence[LetterRow] = ()
    workers: Sequence[WorkerRow] = ()
    events: Sequence[EventRow] = ()
    move_log: Sequence[Move] = field(default=(), repr=False)


_TASKS = """SELECT id::text, actor, status, dispatch, attempt, failures, crashes, max_retries, tags, error
FROM callboard_task WHERE %(id)s IS NULL OR id = %(id)s::uuid ORDER BY id"""
_ATTEMPTS = """SELECT task_id::text, number, outcome, worker_id::text, started_at, finished_at, error_type
FROM callboard_attempt WHERE %(id)s IS NULL OR task_id = %(id)s::uuid ORDER BY task_id, number"""
_LETTERS = "SELECT task_id::text, reason, resolution FROM callboard_deadletter ORDER BY id"
_WORKERS = """SELECT id::text, pid, status, lease_expires_at, stopped_at, crash
FROM callboard_worker ORDER BY id"""
_EVENTS = "SELECT task_id::text, verb FROM callboard_journal WHERE task_id IS NOT NULL ORDER BY id"
_MOVE_LOG = "SELECT at, task_id::text, before, after, dispatch, attempt, run_at FROM move_log ORDER BY id"


class Database:
    """One test's database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement on its own connection; return its rows."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall()) if cursor.description else []

    def snapshot(self) -> Snapshot:
        """Read everything."""
        return Snapshot(
            tasks=[TaskRow(*row) for row in self.query(_TASKS, {"id": None})],
            attempts=[AttemptRow(*row) for row in self.query(_ATTEMPTS, {"id": None})],
            letters=[LetterRow(*row) for row in self.query(_LETTERS)],
            workers=self.workers(),
            events=[EventRow(*row) for row in self.query(_EVENTS)],
            move_log=self._move_log(),
        )

    def _move_log(self) -> list[Move]:
        """Read the moves in portions. A soak has half a million, so equal texts are shared."""
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection.cursor("move_log") as cursor:
            cursor.itersize = 10_000
            cursor.execute(_MOVE_LOG)
            return [
                Move(at, sys.intern(task), before and sys.intern(before), sys.intern(after), *numbers)
                for at, task, before, after, *numbers in cursor
            ]

    def task(self, id: str) -> TaskRow:
        """Read one task."""
        return next(map(TaskRow._make, self.query(_TASKS, {"id": id})))

    def attempts(self, id: str) -> list[AttemptRow]:
        """Read one task's attempts."""
        return [AttemptRow(*row) for row in self.query(_ATTEMPTS, {"id": id})]

    def workers(self) -> list[WorkerRow]:
        """Read all workers, past ones included."""
        return [WorkerRow(*row) for row in self.query(_WORKERS)]

    def present_workers(self) -> list[WorkerRow]:
        """Read the workers that are present."""
        return [row for row in self.workers() if row.status != "GONE"]

    def counts(self) -> dict[str, int]:
        """Count tasks by status."""
        return dict(self.query("SELECT status, count(*) FROM callboard_task GROUP BY status"))

    def unfinished(self) -> dict[str, int]:
        """Count tasks that are not final by status."""
        return {status: count for status, count in self.counts().items() if status not in FINAL}

    def running_batches(self) -> list[str]:
        """List the batches that wait for the leader, or for tasks."""
        return [id for (id,) in self.query("SELECT id::text FROM callboard_batch WHERE status = 'RUNNING'")]
