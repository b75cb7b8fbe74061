"""stats: what processes counted is added to the rows of the minute, and old rows move into those of longer periods."""

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.db.statements import as_json, fetch
from tasks.lifecycle.predicates import IS_LEADING, LEAD

#: The lengths of periods in seconds: processes count in the shortest, and each is a multiple of the one before.
PERIODS = MINUTE, TEN_MINUTES, HOUR, DAY = 60, 600, 3_600, 86_400

_KEY = "span_seconds, start, actor, queue, outcome"
_IS_OLD = " AND ".join(f"stat.{name} = old.{name}" for name in _KEY.split(", "))
_VALUES = "count, run_seconds, waits, runs"


def _added(histogram: str) -> str:
    """Add two histograms of any lengths."""
    return f"""ARRAY(
        SELECT COALESCE(mine, 0) + COALESCE(more, 0)
        FROM unnest(stat.{histogram}, EXCLUDED.{histogram}) WITH ORDINALITY AS pair (mine, more, bucket)
        ORDER BY bucket)"""


_ADD_UP = f"""
ON CONFLICT ({_KEY}) DO UPDATE
SET count = stat.count + EXCLUDED.count, run_seconds = stat.run_seconds + EXCLUDED.run_seconds,
    waits = {_added("waits")}, runs = {_added("runs")}"""

# In the order of the key, or two processes that add to the same rows would deadlock.
_RECORD = f"""
INSERT INTO callboard_taskstat AS stat ({_KEY}, {_VALUES})
SELECT {MINUTE}, date_bin('1 minute', statement_timestamp() - %(age)s * interval '1 second', 'epoch'),
       counted.actor, counted.queue, counted.outcome, counted.count, counted.run_seconds, counted.waits, counted.runs
FROM json_to_recordset(%(rows)s) AS counted (
    actor text, queue text, outcome text, count bigint, run_seconds double precision, waits bigint[], runs bigint[]
)
ORDER BY counted.actor, counted.queue, counted.outcome
{_ADD_UP}
RETURNING 1
"""


def record_stats(rows: Sequence[Mapping[str, Any]], *, age_seconds: float) -> int:
    """Add counts to the minute of ``age_seconds`` ago, in one statement; return how many rows it wrote."""
    return len(fetch(_RECORD, {"rows": as_json(rows), "age": age_seconds}))


# Moved, not copied: counts that come late are moved in a later round, and each is in one row only. Only a leader writes
# rows of longer periods.
_FOLD = f"""
WITH {LEAD}, old AS MATERIALIZED (
    SELECT {_KEY} FROM callboard_taskstat
    WHERE span_seconds = %(span)s AND {IS_LEADING}
      AND start < date_bin(
          %(into)s * interval '1 second', statement_timestamp() - %(keep)s * interval '1 second', 'epoch')
    ORDER BY start LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), moved AS (
    DELETE FROM callboard_taskstat AS stat USING old
    WHERE {_IS_OLD}
    RETURNING date_bin(%(into)s * interval '1 second', stat.start, 'epoch') AS start, stat.actor, stat.queue,
        stat.outcome, stat.count, stat.run_seconds, stat.waits, stat.runs
), bucket AS (
    SELECT start, actor, queue, outcome, bucket, sum(waits) AS waits, sum(runs) AS runs
    FROM (
        SELECT start, actor, queue, outcome, pair.bucket, pair.waits, pair.runs
        FROM moved CROSS JOIN LATERAL unnest(moved.waits, moved.runs) WITH ORDINALITY AS pair (waits, runs, bucket)
    ) AS opened
    GROUP BY start, actor, queue, outcome, bucket
), histogram AS (
    SELECT start, actor, queue, outcome,
           array_agg(COALESCE(waits, 0)::bigint ORDER BY bucket) AS waits,
           array_agg(COALESCE(runs, 0)::bigint ORDER BY bucket) AS runs
    FROM bucket GROUP BY start, actor, queue, outcome
), total AS (
    SELECT start, actor, queue, outcome, sum(count)::bigint AS count, sum(run_seconds) AS run_seconds
    FROM moved GROUP BY start, actor, queue, outcome
), folded AS (
    INSERT INTO callboard_taskstat AS stat ({_KEY}, {_VALUES})
    SELECT %(into)s, start, actor, queue, outcome, count, run_seconds, COALESCE(waits, '{{}}'), COALESCE(runs, '{{}}')
    FROM total LEFT JOIN histogram USING (start, actor, queue, outcome)
    ORDER BY start, actor, queue, outcome
    {_ADD_UP}
)
SELECT count(*) FROM moved
"""


def fold_stats(span: int, *, into: int, keep_seconds: float, batch: int, lease: str, term: int) -> int:
    """Move at most a batch of rows of one period into rows of a longer one; return how many.

    Parameters:
        span, into: lengths of periods in seconds; the longer one is a multiple of the shorter.
        keep_seconds: how old a row gets before it is moved, with all others of the same longer period.
    """
    bounds = {"span": span, "into": into, "keep": keep_seconds, "batch": batch}
    ((moved,),) = fetch(_FOLD, {**bounds, "lease": lease, "term": term})
    return int(moved)


_FORGET = f"""
WITH {LEAD}, old AS MATERIALIZED (
    SELECT {_KEY} FROM callboard_taskstat
    WHERE span_seconds = %(span)s AND start < statement_timestamp() - %(keep)s * interval '1 second' AND {IS_LEADING}
    ORDER BY start LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
DELETE FROM callboard_taskstat AS stat USING old
WHERE {_IS_OLD}
RETURNING 1
"""


def forget_stats(span: int, *, keep_seconds: float, batch: int, lease: str, term: int) -> int:
    """Remove at most a batch of rows of one period that are older than that; return how many."""
    return len(fetch(_FORGET, {"span": span, "keep": keep_seconds, "batch": batch, "lease": lease, "term": term}))
