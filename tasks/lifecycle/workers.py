"""Which workers there are: registration, heartbeats, departures."""

import json
import os
import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, connection, transaction

from tasks import registry
from tasks.db.statements import as_json, fetch, is_lock_timeout
from tasks.lifecycle.fence import IS_LEADING, LEAD, LIVE_WORKER, NOT_GONE
from tasks.models import Queue


def declare_queues(**_: Any) -> None:
    """Make a row for each queue that some actor declares; those that exist stay as they are."""
    Queue.objects.bulk_create([Queue(name=name) for name in registry.queue_names()], ignore_conflicts=True)


_REGISTER = """
INSERT INTO callboard_worker (id, host, pid, queues, actors, threads, lease_expires_at)
VALUES (%(id)s, %(host)s, %(pid)s, %(queues)s, %(actors)s, %(threads)s,
        statement_timestamp() + %(lease)s * interval '1 second')
RETURNING id
"""


def register(worker_id: UUID, *, queues: Sequence[str], threads: int) -> None:
    """Announce a worker; from now on tasks are dispatched for it.

    Parameters:
        queues: names of ours for all of their bands, or of single bands ("default.high").
    """
    fetch(
        _REGISTER,
        {
            "id": worker_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": list(queues),
            "actors": registry.actor_names(),
            "threads": threads,
            "lease": settings.WORKER_LEASE_SECONDS,
        },
    )


class Heard(NamedTuple):
    """What a worker learns from its heartbeat."""

    is_present: bool
    is_draining: bool


#: How long a heartbeat waits for a lock. Who holds one on the worker's row, or on its table, keeps everybody else from
#: declaring the worker gone as well.
LOCK_SECONDS = 1.0
_LOCK_TIMEOUT = f"SET LOCAL lock_timeout = '{int(LOCK_SECONDS * 1000)}ms'; "

# Nothing but the worker's own row: a table of tasks that somebody has locked must not cost anybody the lease.
_HEARTBEAT = f"""
UPDATE callboard_worker AS worker
SET heartbeat_at = statement_timestamp(),
    lease_expires_at = statement_timestamp() + %(lease)s * interval '1 second',
    unwritten = %(unwritten)s
WHERE worker.id = %(id)s AND {NOT_GONE}
RETURNING worker.status
"""


def beat(worker_id: UUID, *, unwritten: Sequence[tuple[UUID, int]] = ()) -> Heard:
    """Renew a worker's lease and learn how it stands.

    A lease that is over can still be renewed while nobody has declared the worker gone: that declaration is the one
    moment after which its tasks may be given away.

    Parameters:
        unwritten: task id and attempt number of runs that ended and whose outcome cannot be written for the moment;
            they are not stuck.
    """
    keys = [f"{id}:{attempt}" for id, attempt in unwritten]
    rows = fetch(
        _LOCK_TIMEOUT + _HEARTBEAT, {"id": worker_id, "lease": settings.WORKER_LEASE_SECONDS, "unwritten": keys}
    )
    return Heard(is_present=bool(rows), is_draining=any(status == "DRAINING" for (status,) in rows))


class Concerns(NamedTuple):
    """What a worker should know about tasks that are its own by their rows."""

    cancelled: list[tuple[UUID, int]]
    #: RUNNING rows of this worker that it does not hold: a claim whose reply was lost.
    unheld: list[tuple[UUID, int]]


_CONCERNS = """
WITH held AS (
    SELECT * FROM json_to_recordset(%(held)s) AS held (id uuid, attempt integer)
)
SELECT task.id, task.attempt, task.cancel_requested_at IS NOT NULL AS is_cancelled, held.id IS NOT NULL AS is_held
FROM callboard_task AS task LEFT JOIN held ON held.id = task.id AND held.attempt = task.attempt
WHERE task.status = 'RUNNING' AND task.worker_id = %(id)s
  AND (task.cancel_requested_at IS NOT NULL
       OR (held.id IS NULL AND task.started_at < statement_timestamp() - interval '5 seconds'))
"""


def concerns(worker_id: UUID, held: Sequence[tuple[UUID, int]]) -> Concerns:
    """Tell which of a worker's tasks were cancelled, and which it does not know of.

    Parameters:
        held: task id and attempt number of everything it holds, started or not, written or not.
    """
    rows = [{"id": id, "attempt": attempt} for id, attempt in held]
    mine = fetch(_LOCK_TIMEOUT + _CONCERNS, {"id": worker_id, "held": as_json(rows)})
    return Concerns(
        cancelled=[(id, attempt) for id, attempt, is_cancelled, is_held in mine if is_cancelled and is_held],
        unheld=[(id, attempt) for id, attempt, _, is_held in mine if not is_held],
    )


# Both tables as a heartbeat or a completion would lock them; who cannot have them at once finds them closed.
_OPEN = """
LOCK TABLE callboard_worker, callboard_task IN ROW EXCLUSIVE MODE NOWAIT
"""


def are_tables_open() -> bool:
    """Tell whether workers can renew leases and write outcomes, as far as locks on whole tables go."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_OPEN)
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
        return False
    return True


# One at a time decides, or two could take the last place.
_BEGIN_ISOLATION = f"""
SELECT pg_advisory_xact_lock(hashtext('callboard isolation'));
UPDATE callboard_worker AS me SET isolating_at = statement_timestamp()
WHERE me.id = %(id)s AND me.status = 'ALIVE' AND (
    SELECT count(*) FILTER (WHERE worker.isolating_at IS NOT NULL AND worker.id <> me.id) < GREATEST(1, count(*) / 2)
    FROM callboard_worker AS worker WHERE {LIVE_WORKER})
RETURNING me.id
"""


def begin_isolation(worker_id: UUID) -> bool:
    """Let a worker take nothing but quarantined tasks for a while; False if half of all workers do so already."""
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
    """Take a worker that stopped in an orderly way off the board."""
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
    """Say how a worker process ended that did not leave by itself; False if it had left.

    Parameters:
        kind: ``crashed`` blames what had started, ``faulted`` what had started if it goes on like that, ``stopped``
            nothing.
        records: what ran, and what had ended unwritten.
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
    """Tell which of these workers were declared gone."""
    statement = "SELECT id FROM callboard_worker WHERE id = ANY(%(ids)s::uuid[]) AND status = 'GONE'"
    return {id for (id,) in fetch(statement, {"ids": [str(id) for id in worker_ids]})}


# A heartbeat in the future was before the clock stepped back: for as long nobody would find out that such a worker is
# silent. From now on it has a lease's time, as if it had been heard at this moment.
_SET_BACK = f"""
WITH {LEAD}
UPDATE callboard_worker AS worker
SET heartbeat_at = statement_timestamp(),
    lease_expires_at = worker.lease_expires_at - (worker.heartbeat_at - statement_timestamp())
WHERE {NOT_GONE} AND worker.heartbeat_at > statement_timestamp() + interval '1 second' AND {IS_LEADING}
RETURNING worker.id
"""


def set_back(*, lease: str, term: int) -> int:
    """Shorten leases that were given before the database's clock stepped back; return how many."""
    return len(fetch(_SET_BACK, {"lease": lease, "term": term}))


# A row that is locked cannot be renewed either, so its worker is not silent for sure.
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
    """Take workers off the board whose lease is over, and return them.

    Parameters:
        until: a lease that was not over then, by the database's clock, is not over now: the clock may have stepped.
    """
    return [id for (id,) in fetch(_DECLARE_SILENT_GONE, {"lease": lease, "term": term, "until": until})]


# What it ran may not be rescued yet: that asks how it ended.
_FORGET_GONE = f"""
WITH {LEAD}
DELETE FROM callboard_worker AS worker
WHERE worker.status = 'GONE' AND worker.stopped_at < statement_timestamp() - %(seconds)s * interval '1 second'
  AND NOT EXISTS (SELECT FROM callboard_task AS task WHERE task.status = 'RUNNING' AND task.worker_id = worker.id)
  AND {IS_LEADING}
RETURNING worker.id
"""


def forget_gone(*, older_than_seconds: float, lease: str, term: int) -> int:
    """Remove workers from the board that ended that long ago; return how many."""
    return len(fetch(_FORGET_GONE, {"seconds": older_than_seconds, "lease": lease, "term": term}))


def ask_to_drain(worker_ids: Sequence[UUID]) -> int:
    """Ask workers to finish what they run and end; they learn it with their next heartbeat."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE callboard_worker SET status = 'DRAINING' WHERE id = ANY(%s::uuid[]) AND status = 'ALIVE'",
            [[str(id) for id in worker_ids]],
        )
        return int(cursor.rowcount)


def present_ids() -> set[str]:
    """The ids of all workers that are not gone."""
    return {str(id) for (id,) in fetch(f"SELECT worker.id FROM callboard_worker AS worker WHERE {NOT_GONE}", {})}
