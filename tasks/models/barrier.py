"""The barrier of a group of Dramatiq: its completion callbacks wait for the success of the last task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django.db import connection, models, transaction

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


class BarrierQuerySet(models.QuerySet["Barrier"]):
    """Barriers that are made and counted down in the caller's transaction."""

    def add(self, key: str, *, parties: int, ttl_seconds: float) -> bool:
        """Make a barrier for a group of ``parties`` tasks; False if it is there already."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_CLEAR, {"most": MOST_CLEARED})
            cursor.execute(_ADD, {"key": key, "parties": parties, "ttl": ttl_seconds})
            return bool(cursor.rowcount)

    def arrive(self, keys: Sequence[str]) -> set[str]:
        """Count tasks that succeed, one for each key; return the keys of which these were the last, once."""
        arrived = [{"key": key, "count": count} for key, count in sorted(Counter(keys).items())]
        opened = {key for key, waiting_for in fetch(_ARRIVE, {"arrived": as_json(arrived)}) if waiting_for == 0}
        if opened:
            self.filter(key__in=opened).delete()
        return opened


class Barrier(models.Model):
    """How many tasks of a group have still to succeed; the row goes with the last of them."""

    key = models.CharField(max_length=255, primary_key=True)
    waiting_for = models.PositiveIntegerField()
    expires_at = models.DateTimeField(help_text="After this a group whose tasks did not all succeed is forgotten.")

    objects = BarrierQuerySet.as_manager()

    class Meta:
        db_table = "callboard_barrier"
        indexes = [models.Index("expires_at", name="barrier_expired_idx")]

    def __str__(self) -> str:
        return f"{self.key} waits for {self.waiting_for}"
