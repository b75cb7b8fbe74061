"""Barriers: the completion callbacks of a group are submitted together with the success of its last task."""

from collections import Counter
from collections.abc import Sequence

from django.db import connection, transaction

from tasks.db.statements import as_json, fetch

#: How many forgotten barriers one new one clears away.
MOST_CLEARED = 100

_CLEAR = """
DELETE FROM callboard_barrier WHERE key IN (
    SELECT key FROM callboard_barrier WHERE expires_at < statement_timestamp() LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
"""
_ADD = """
INSERT INTO callboard_barrier (key, waiting_for, expires_at)
VALUES (%(key)s, %(parties)s, statement_timestamp() + %(ttl)s * interval '1 second')
ON CONFLICT (key) DO NOTHING
"""
# In the order of their keys, or two batches would deadlock.
_ARRIVE = """
WITH arrived AS (
    SELECT * FROM json_to_recordset(%(arrived)s) AS arrived (key text, count integer)
), locked AS MATERIALIZED (
    SELECT barrier.key FROM callboard_barrier AS barrier JOIN arrived USING (key)
    ORDER BY barrier.key FOR UPDATE OF barrier
)
UPDATE callboard_barrier AS barrier SET waiting_for = GREATEST(0, barrier.waiting_for - arrived.count)
FROM arrived JOIN locked USING (key) WHERE barrier.key = arrived.key
RETURNING barrier.key, barrier.waiting_for
"""
_REMOVE = "DELETE FROM callboard_barrier WHERE key IN (SELECT json_array_elements_text(%(keys)s))"


def add(key: str, *, parties: int, ttl_seconds: float) -> bool:
    """Make a barrier for a group of ``parties`` tasks, in the caller's transaction; False if it is there already."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLEAR, {"most": MOST_CLEARED})
        cursor.execute(_ADD, {"key": key, "parties": parties, "ttl": ttl_seconds})
        return bool(cursor.rowcount)


def arrive(keys: Sequence[str]) -> set[str]:
    """Count tasks that succeed, one for each key; return the keys of which these were the last, once."""
    arrived = [{"key": key, "count": count} for key, count in sorted(Counter(keys).items())]
    opened = {key for key, waiting_for in fetch(_ARRIVE, {"arrived": as_json(arrived)}) if waiting_for == 0}
    if opened:
        with connection.cursor() as cursor:
            cursor.execute(_REMOVE, {"keys": as_json(sorted(opened))})
    return opened
