"""The registry of workers: they register, send heartbeats and leave, or are declared gone."""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db import OperationalError, connection, transaction

from tasks import registry
from tasks.conf import conf
from tasks.db.statements import as_json, fetch, is_lock_timeout
from tasks.lifecycle.journal import UNKNOWN, Author, entries
from tasks.lifecycle.predicates import IS_LEADING, LEAD, LIVE_WORKER, NOT_GONE
from tasks.models import Queue
from tasks.states import Door


def declare_queues(**_: Any) -> None:
    """Make a row for each queue that an actor declares; existing rows stay as they are."""
    Queue.objects.bulk_create([Queue(name=name) for name in registry.queue_names()], ignore_conflicts=True)


# A build is deployed when its first worker comes; workers that are restarted deploy nothing, and a return to an older
# build is a deploy, too. The advisory lock lets one worker look at a time, or two could deploy the same build.
_REGISTER = f"""
SELECT pg_advisory_xact_lock(hashtext('callboard deploy'));
WITH deployed AS (
    SELECT %(build)s::text AS build
    WHERE %(build)s <> ''
      AND NOT EXISTS (SELECT FROM callboard_worker AS worker WHERE {NOT_GONE} AND worker.build = %(build)s)
      AND %(build)s IS DISTINCT FROM (
          SELECT last.object_id FROM callboard_journal AS last WHERE last.verb = 'deploy' ORDER BY last.id DESC LIMIT 1)
), noted AS (
    {entries("deployed", verb="'deploy'", kind="'build'", id="build")}
)
INSERT INTO callboard_worker (id, host, pid, queues, actors, threads, build, memory_bytes, lease_expires_at)
VALUES (%(id)s, %(host)s, %(pid)s, %(queues)s, %(actors)s, %(threads)s, %(build)s, %(memory)s,
        statement_timestamp() + %(lease)s * interval '1 second')
RETURNING id
"""


def register(
    worker_id: UUID, *, queues: Sequence[str], threads: int, build: str = "", memory_bytes: int | None = None
) -> None:
    """Register a worker; from now on tasks are dispatched for it. The first one of a build records a deploy.

    Parameters:
        queues: names of queues, for all of their bands, or of single bands ("default.high").
        build: of the user's code; "" is unknown, and records nothing.
    """
    fetch(
        _REGISTER,
        {
            "id": worker_id,
            "host": conf.WORKER_NAME,
            "pid": os.getpid(),
            "queues": list(queues),
            "actors": registry.actor_names(),
            "threads": threads,
            "build": build,
            "memory": memory_bytes,
            **Author(door=Door.WORKER).parameters,
            "lease": conf.WORKER_LEASE_SECONDS,
        },
    )


class HeartbeatReply(NamedTuple):
    """What a worker learns from its heartbeat."""

    is_present: bool
    is_draining: bool


#: How long a heartbeat waits for a lock. A transaction that holds the worker's row, or its table, also keeps the
#: sweeper from declaring the worker gone.
LOCK_SECONDS = 1.0
_LOCK_TIMEOUT = f"SET LOCAL lock_timeout = '{int(LOCK_SECONDS * 1000)}ms'; "

# It touches only the worker's own row: a lock on the table of tasks must not cost a worker its lease.
_HEARTBEAT = f"""
UPDATE callboard_worker AS worker
SET heartbeat_at = statement_timestamp(),
    lease_expires_at = statement_timestamp() + %(lease)s * interval '1 second',
    unwritten = %(unwritten)s,
    memory_bytes = %(memory)s
WHERE worker.id = %(id)s AND {NOT_GONE}
RETURNING worker.status
"""


def beat(
    worker_id: UUID, *, unwritten: Sequence[tuple[UUID, int]] = (), memory_bytes: int | None = None
) -> HeartbeatReply:
    """Renew a worker's lease, and tell it whether it is still present and should drain.

    A lease that has ended can still be renewed until the worker is declared gone: only after that declaration may its
    tasks be given away.

    Parameters:
        unwritten: task id and attempt number of runs that ended and whose outcome cannot be written yet; they are not
            stuck.
    """
    keys = [f"{id}:{attempt}" for id, attempt in unwritten]
    given = {"id": worker_id, "lease": conf.WORKER_LEASE_SECONDS, "unwritten": keys, "memory": memory_bytes}
    rows = fetch(_LOCK_TIMEOUT + _HEARTBEAT, given)
    return HeartbeatReply(is_present=bool(rows), is_draining=any(status == "DRAINING" for (status,) in rows))


class Reconciled(NamedTuple):
    """What a worker should know about the tasks that it owns by their rows."""

    cancelled: list[tuple[UUID, int]]
    #: RUNNING rows of this worker that it does not hold: the reply to its claim was lost.
    unheld: list[tuple[UUID, int]]


_RECONCILE = """
WITH held AS (
    SELECT * FROM json_to_recordset(%(held)s) AS held (id uuid, attempt integer)
)
SELECT task.id, task.attempt, task.cancel_requested_at IS NOT NULL AS is_cancelled, held.id IS NOT NULL AS is_held
FROM callboard_task AS task LEFT JOIN held ON held.id = task.id AND held.attempt = task.attempt
WHERE task.status = 'RUNNING' AND task.worker_id = %(id)s
  AND (task.cancel_requested_at IS NOT NULL
       OR (held.id IS NULL AND task.started_at < statement_timestamp() - interval '5 seconds'))
"""


def reconcile(worker_id: UUID, held: Sequence[tuple[UUID, int]]) -> Reconciled:
    """Find which of a worker's tasks were cancelled, and which it does not know of.

    Parameters:
        held: task id and attempt number of everything that it holds, started or not, written or not.
    """
    rows = [{"id": id, "attempt": attempt} for id, attempt in held]
    mine = fetch(_LOCK_TIMEOUT + _RECONCILE, {"id": worker_id, "held": as_json(rows)})
    return Reconciled(
        cancelled=[(id, attempt) for id, attempt, is_cancelled, is_held in mine if is_cancelled and is_held],
        unheld=[(id, attempt) for id, attempt, _, is_held in mine if not is_held],
    )


# Locks both tables as a heartbeat or a completion would; they are not open if that fails at once.
_OPEN = """
LOCK TABLE callboard_worker, callboard_task IN ROW EXCLUSIVE MODE NOWAIT
"""


def are_tables_open() -> bool:
    """Tell whether no lock on a whole table keeps workers from renewing leases and writing outcomes."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_OPEN)
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
        return False
    return True


# The advisory lock lets one worker decide at a time, or two could take the last place.
_BEGIN_ISOLATION = f"""
SELECT pg_advisory_xact_lock(hashtext('callboard isolation'));
UPDATE callboard_worker AS me SET isolating_at = statement_timestamp()
WHERE me.id = %(id)s AND me.status = 'ALIVE' AND (
    SELECT count(*) FILTER (WHERE worker.isolating_at IS NOT NULL AND worker.id <> me.id) < GREATEST(1, count(*) / 2)
    FROM callboard_worker AS worker WHERE {LIVE_WORKER})
RETURNING me.id
"""


def begin_isolation(worker_id: UUID) -> bool:
    """Let a worker take only quarantined tasks for a while; False if half of all workers do so already."""
    return bool(fetch(_BEGIN_ISOLATION, {"id": worker_id}))


def end_isolation(worker_id: UUID) -> None:
    """Let a worker take any task again."""
    fetch("UPDATE callboard_worker SET isolating_at = NULL WHERE id = %(id)s RETURNING id", {"id": worker_id})


_LEAVE = f"""
UPDATE callboard_worker AS worker SET status = 'GONE', stopped_at = statement_timestamp(), crash = %(crash)s
WHERE worker.id = %(id)s AND {NOT_GONE}
RETURNING worker.id
"""


def leave(worker_id: UUID) -> None:
    """Mark a worker gone that stopped in an orderly way."""
    fetch(_LEAVE, {"id": worker_id, "crash": None})


class Run(Protocol):
    """What a supervisor knows about a run in a worker that ended."""

    @property
    def key(self) -> str:
        """``<task id>:<attempt>``."""

    @property
    def since(self) -> datetime:
        """When the actor's function began, by the database's clock."""

    @property
    def is_stuck(self) -> bool:
        """Whether the actor resisted its time limit."""

    @property
    def has_ended(self) -> bool:
        """Whether the actor had returned or raised; its outcome was not yet written."""


def report_end(worker_id: UUID, *, kind: str, detail: str, records: Sequence[Run]) -> bool:
    """Mark a worker gone that did not leave by itself, and say how its process ended; False if it had left.

    Parameters:
        kind: ``crashed`` counts a crash for each run that had started, ``faulted`` counts one only if the next attempt
            ends like it, ``stopped`` counts none.
        records: the runs that had started, and those that had ended and were not written yet.
    """
    report = {
        "kind": kind,
        "detail": detail,
        "started": {record.key: record.since.isoformat() for record in records},
        "stuck": [record.key for record in records if record.is_stuck],
        "ended": [record.key for record in records if record.has_ended],
    }
    return bool(fetch(_LEAVE, {"id": worker_id, "crash": json.dumps(report)}))


def gone_among(worker_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these workers that were declared gone."""
    statement = "SELECT id FROM callboard_worker WHERE id = ANY(%(ids)s::uuid[]) AND status = 'GONE'"
    return {id for (id,) in fetch(statement, {"ids": [str(id) for id in worker_ids]})}


# A heartbeat in the future came before the clock stepped back, and the worker's silence would be noticed that much too
# late. It gets a new lease, as if its heartbeat had come now.
_SHORTEN_LEASES = f"""
WITH {LEAD}
UPDATE callboard_worker AS worker
SET heartbeat_at = statement_timestamp(),
    lease_expires_at = worker.lease_expires_at - (worker.heartbeat_at - statement_timestamp())
WHERE {NOT_GONE} AND worker.heartbeat_at > statement_timestamp() + interval '1 second' AND {IS_LEADING}
RETURNING worker.id
"""


def shorten_leases(*, lease: str, term: int) -> int:
    """Shorten the leases that were given before the database's clock stepped back; return how many."""
    return len(fetch(_SHORTEN_LEASES, {"lease": lease, "term": term}))


# A locked row is skipped: its worker cannot renew the lease either, so it may not be silent.
_DECLARE_SILENT_GONE = f"""
WITH {LEAD}
UPDATE callboard_worker SET status = 'GONE', stopped_at = statement_timestamp()
WHERE id IN (
    SELECT worker.id FROM callboard_worker AS worker
    WHERE {NOT_GONE} AND worker.lease_expires_at <= LEAST(statement_timestamp(), %(until)s::timestamptz)
    ORDER BY worker.id FOR UPDATE SKIP LOCKED)
  AND {IS_LEADING}
RETURNING id
"""


def declare_silent_gone(*, lease: str, term: int, until: datetime | None = None) -> list[UUID]:
    """Mark workers gone whose lease has ended, and return them.

    Parameters:
        until: a lease that had not ended at this time of the database's clock has not ended now; the clock may have
            stepped since.
    """
    return [id for (id,) in fetch(_DECLARE_SILENT_GONE, {"lease": lease, "term": term, "until": until})]


# A worker with RUNNING tasks stays: their rescue asks how it ended.
_FORGET_GONE = f"""
WITH {LEAD}
DELETE FROM callboard_worker AS worker
WHERE worker.status = 'GONE' AND worker.stopped_at < statement_timestamp() - %(seconds)s * interval '1 second'
  AND NOT EXISTS (SELECT FROM callboard_task AS task WHERE task.status = 'RUNNING' AND task.worker_id = worker.id)
  AND {IS_LEADING}
RETURNING worker.id
"""


def forget_gone(*, older_than_seconds: float, lease: str, term: int) -> int:
    """Remove the rows of workers that ended that long ago; return how many."""
    return len(fetch(_FORGET_GONE, {"seconds": older_than_seconds, "lease": lease, "term": term}))


_DRAIN = f"""
WITH asked AS (
    UPDATE callboard_worker SET status = 'DRAINING' WHERE id = ANY(%(ids)s::uuid[]) AND status = 'ALIVE'
    RETURNING id, host, pid
)
{entries("asked", verb="'drain'", kind="'worker'", name="host || ':' || pid")}
RETURNING id
"""


def ask_to_drain(worker_ids: Sequence[UUID], *, by: Author = UNKNOWN) -> int:
    """Ask workers to finish what they run and end; they learn of it with their next heartbeat. Return how many."""
    return len(fetch(_DRAIN, {"ids": [str(id) for id in worker_ids], **by.parameters}))


def present_ids() -> set[str]:
    """Return the ids of all workers that were not declared gone."""
    return {str(id) for (id,) in fetch(f"SELECT worker.id FROM callboard_worker AS worker WHERE {NOT_GONE}", {})}
