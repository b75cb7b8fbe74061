"""Most database sessions of each process, as docs/deploy.md and the system check assume."""

from collections import Counter
from urllib.parse import urlsplit

import psutil
import pytest

from tasks import checks
from tests.acceptance.harness.rig import Rig
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

THREADS = 3


def sessions_of(rig: Rig, *pids: int) -> int:
    """Count connections of processes with the database's server."""
    port = urlsplit(rig.database.url).port
    found = [one for pid in pids for one in psutil.Process(pid).net_connections("tcp")]
    return sum(bool(one.raddr) and one.raddr.port == port for one in found)


def test_no_process_has_more_sessions_than_the_check_counts_with(rig: Rig) -> None:
    rig.database.query("CREATE TABLE booking (task uuid)")
    scheduler = rig.start_scheduler()
    workers = rig.start_workers(threads=THREADS)
    rig.await_workers()
    most: Counter[str] = Counter()

    def look() -> bool:
        # Failures make the worker send wake-ups, and submissions the client. Of a dead parent's children the scheduler
        # releases one, which wakes, and cancels one, which it counts.
        rig.client.submit("book", count=5 * THREADS)
        rig.client.submit("ask_database")
        rig.client.submit("fail", times=1)
        parent = {"actor": "fail", "payload": {"times": 1}, "max_retries": 0, "ref": "parent"}
        children = [{"actor": "effect", "depends_on": [("parent", one)]} for one in ("run", "cancel")]
        rig.client.submit_all([parent, *children])
        most["scheduler"] = max(most["scheduler"], sessions_of(rig, scheduler.pid))
        most["supervisor"] = max(most["supervisor"], sessions_of(rig, workers.pid))
        most["worker"] = max(most["worker"], sessions_of(rig, *workers.children()))
        return most["worker"] >= THREADS + checks.WORKER_SESSIONS and most["scheduler"] >= checks.SCHEDULER_SESSIONS

    wait_until(look, timeout=20, what=lambda: f"all sessions to be open; there were {dict(most)}")
    rig.verify(within=20)
    assert most["worker"] == THREADS + checks.WORKER_SESSIONS
    assert most["scheduler"] == checks.SCHEDULER_SESSIONS
    assert most["supervisor"] <= checks.SUPERVISOR_SESSIONS
