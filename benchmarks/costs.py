"""What a task costs the database: WAL, disk, buffers and sessions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import measures
from benchmarks.measures import Figures
from benchmarks.stack import CALLBOARD, Contestant, Stack

_WAL = "SELECT wal_bytes, wal_records, wal_fpi FROM pg_stat_wal"
_SIZES = """
SELECT pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relname IN ('callboard_task', 'callboard_attempt')
"""
_TOUCHED = "SELECT sum(blks_hit + blks_read), sum(blks_read) FROM pg_stat_database"
_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def costs(stack: Stack, contestant: Contestant) -> Figures:
    """Submit one by one, and in hundreds, while workers run; count what PostgreSQL writes and keeps for a task."""
    if contestant is not CALLBOARD:
        return {}
    figures: dict[str, float] = {}
    for verb, name in (("single", "one by one"), ("hundreds", "in hundreds")):
        stack.empty()
        # No page is written whole because a checkpoint came before, in either of them.
        stack.checkpoint()
        with _most_sessions(stack) as sessions:
            before = _read(stack)
            cpu = measures.live_through(stack, contestant, verb, name)
            after = _read(stack)
        figures |= {figure: value for figure, value in cpu.items() if "CPU" in figure}
        figures |= {f"{name}: {what} a task": (after[what] - before[what]) / measures.TASKS for what in after}
        figures[f"{name}: sessions at most"] = max(sessions)
    return figures


def _read(stack: Stack) -> dict[str, float]:
    """Read the counters and sizes that grow with each task."""
    stack.query("SELECT pg_stat_force_next_flush()")
    ((wal, records, images),) = stack.query(_WAL)
    ((touched, read),) = stack.query(_TOUCHED)
    sizes = stack.query(_SIZES)
    return {
        "bytes of WAL": float(wal),
        "WAL records": float(records),
        "pages written whole into WAL": float(images),
        "pages touched": float(touched),
        "pages read from disk or its cache": float(read),
        "bytes of tables": float(sum(table for table, _ in sizes)),
        "bytes of indexes": float(sum(indexes for _, indexes in sizes)),
    }


@contextmanager
def _most_sessions(stack: Stack) -> Iterator[list[int]]:
    """Count the sessions of all processes twice a second."""
    counts, stopped = [0], threading.Event()

    def count() -> None:
        while not stopped.wait(0.5):
            counts.append(stack.query(_SESSIONS)[0][0])

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        stopped.set()
        thread.join()
