"""Which workers there are: registration, heartbeats, departures, and what they can run."""

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection

from tasks import registry
from tasks.engine.recorder import Record
from tasks.lifecycle.sql import as_json, fetch
from tasks.models import Queue
from tasks.priority import BANDS


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
    cancelled: list[tuple[UUID, int]]
    #: RUNNING rows of this worker that it does not hold: a claim whose reply was lost.
    unheld: list[tuple[UUID, int]]


_HEARTBEAT = """
WITH beat AS (
    UPDATE callboard_worker
    SET heartbeat_at = statement_timestamp(),
        lease_expires_at = statement_timestamp() + %(lease)s * interval '1 second'
    WHERE id = %(id)s AND status <> 'GONE'
    RETURNING status
), held AS (
    SELECT * FROM json_to_recordset(%(held)s) AS held (id uuid, attempt integer)
)
SELECT beat.status, mine.id, mine.attempt, mine.is_cancelled, mine.is_held
FROM beat LEFT JOIN LATERAL (
    SELECT task.id, task.attempt, task.cancel_requested_at IS NOT NULL AS is_cancelled, held.id IS NOT NULL AS is_held
    FROM callboard_task AS task LEFT JOIN held ON held.id = task.id AND held.attempt = task.attempt
    WHERE task.status = 'RUNNING' AND task.worker_id = %(id)s
      AND (task.cancel_requested_at IS NOT NULL
           OR (held.id IS NULL AND task.started_at < statement_timestamp() - interval '5 seconds'))
) AS mine ON true
"""


def beat(worker_id: UUID, held: Sequence[tuple[UUID, int]]) -> Heard:
    """Renew a worker's lease and learn what concerns it.

    A lease that is over can still be renewed while nobody has declared the worker gone: that declaration is the one
    moment after which its tasks may be given away.

    Parameters:
        held: task id and attempt number of everything it holds, started or not, written or not.
    """
    rows = fetch(
        _HEARTBEAT,
        {
            "id": worker_id,
            "lease": settings.WORKER_LEASE_SECONDS,
            "held": as_json([{"id": id, "attempt": attempt} for id, attempt in held]),
        },
    )
    mine = [row for row in rows if row[1] is not None]
    return Heard(
        is_present=bool(rows),
        is_draining=any(row[0] == "DRAINING" for row in rows),
        cancelled=[(id, attempt) for _, id, attempt, is_cancelled, is_held in mine if is_cancelled and is_held],
        unheld=[(id, attempt) for _, id, attempt, _, is_held in mine if not is_held],
    )


_LEAVE = """
UPDATE callboard_worker SET status = 'GONE', stopped_at = statement_timestamp(), crash = %(crash)s
WHERE id = %(id)s AND status <> 'GONE'
RETURNING id
"""


def leave(worker_id: UUID) -> None:
    """Take a worker that stopped in an orderly way off the board."""
    fetch(_LEAVE, {"id": worker_id, "crash": None})


def report_end(worker_id: UUID, *, crashed: bool, detail: str, records: Sequence[Record]) -> bool:
    """Say how a worker process ended that did not leave by itself; False if it had left.

    Parameters:
        crashed: whether what had started is to blame.
        records: what ran, and what had ended unwritten.
    """
    report = {
        "kind": "crashed" if crashed else "stopped",
        "detail": detail,
        "started": {record.key: record.since.isoformat() for record in records},
        "stuck": [record.key for record in records if record.is_stuck],
        "ended": [record.key for record in records if record.has_ended],
    }
    return bool(fetch(_LEAVE, {"id": worker_id, "crash": json.dumps(report)}))


_DECLARE_SILENT_GONE = """
UPDATE callboard_worker SET status = 'GONE', stopped_at = statement_timestamp()
WHERE status <> 'GONE' AND lease_expires_at <= statement_timestamp()
  AND EXISTS (SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE)
RETURNING id
"""


def declare_silent_gone(*, lease: str, term: int) -> list[UUID]:
    """Take workers off the board whose lease is over, and return them."""
    return [id for (id,) in fetch(_DECLARE_SILENT_GONE, {"lease": lease, "term": term})]


# What it ran may not be rescued yet: that asks how it ended.
_FORGET_GONE = """
DELETE FROM callboard_worker AS worker
WHERE worker.status = 'GONE' AND worker.stopped_at < statement_timestamp() - %(seconds)s * interval '1 second'
  AND NOT EXISTS (SELECT FROM callboard_task AS task WHERE task.status = 'RUNNING' AND task.worker_id = worker.id)
  AND EXISTS (SELECT FROM callboard_term WHERE name = %(lease)s AND term = %(term)s FOR SHARE)
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


class Service(NamedTuple):
    """What live workers offer for one band of a queue."""

    queue: str
    band: str
    threads: int
    #: Whether all of these workers serve the next higher band as well.
    follows: bool
    actors: list[str]


# A worker's queues name a queue for all of its bands, or one band ("default.high").
_SERVICES = """
WITH worker AS MATERIALIZED (
    SELECT id, queues, actors, threads FROM callboard_worker
    WHERE status = 'ALIVE' AND lease_expires_at > statement_timestamp()
), served AS (
    SELECT queue.name AS queue, band.name AS band, band.place, worker.*
    FROM callboard_queue AS queue
    CROSS JOIN unnest(%(bands)s::text[]) WITH ORDINALITY AS band (name, place)
    JOIN worker ON queue.name = ANY(worker.queues) OR queue.name || '.' || band.name = ANY(worker.queues)
    WHERE queue.paused_at IS NULL
)
SELECT queue, band, sum(threads)::integer,
       bool_and(EXISTS (
           SELECT FROM served AS higher
           WHERE higher.queue = served.queue AND higher.place = served.place - 1 AND higher.id = served.id)),
       ARRAY(SELECT DISTINCT actor FROM served AS one, unnest(one.actors) AS actor
             WHERE one.queue = served.queue AND one.band = served.band)
FROM served
GROUP BY queue, band, place
ORDER BY queue, place
"""


def services() -> list[Service]:
    """List what is served of the queues that are not paused, high bands first, with its workers' threads and actors."""
    return [Service(*row) for row in fetch(_SERVICES, {"bands": [band.name for band in BANDS]})]


def present_ids() -> set[str]:
    """The ids of all workers that are not gone."""
    return {str(id) for (id,) in fetch("SELECT id FROM callboard_worker WHERE status <> 'GONE'", {})}
