"""``make soak MINUTES=30``: real processes under load while one fault after another hits them, then the invariants.

Faults and load come from a seed, which is printed; the same seed picks the same faults in the same order. Exits 1 if an
invariant does not hold.
"""

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import redis

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.servers import PostgresServer, RedisServer
from tasks.states import FINAL
from tests.acceptance.harness.processes import Process, is_alive, pause, resume
from tests.acceptance.harness.rig import CLOCKS, Rig
from tests.acceptance.harness.servers import Databases, start_postgres
from tests.waiting import wait_until

SCHEDULERS, SUPERVISORS = 2, 2
#: Between two faults, so that there is something to recover to.
CALM_SECONDS = 4.0
TASKS_PER_SECOND = 20
LEASE_SECONDS = float(CLOCKS["WORKER_LEASE_SECONDS"])
RECOVERY_SECONDS = 60.0
#: Actors of tests.acceptance.stage with their payloads, and how many of a hundred tasks they are.
LOAD: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("effect", {}, 62),
    ("last", {"seconds": 0.1}, 20),
    ("book", {}, 10),
    ("fail", {"times": 2}, 6),
    ("fail", {"times": 9}, 1.8),
    ("crash", {"how": "exit"}, 0.2),
)


class Soak:
    """A stack, a client that submits all the time, and a nemesis."""

    def __init__(self, rig: Rig, postgres: PostgresServer, broker: RedisServer, *, seed: int) -> None:
        self.rig, self.postgres, self.broker = rig, postgres, broker
        self.random = random.Random(seed)
        self.schedulers: list[Process] = []
        self.supervisors: list[Process] = []
        self.faults: Counter[str] = Counter()
        self.recoveries: dict[str, list[float]] = {}
        self._submitted_at = 0.0

    def run(self, minutes: float) -> None:
        """Submit and break things for so long."""
        self.rig.board.query("CREATE TABLE booking (task uuid)")
        until = time.monotonic() + minutes * 60
        self._keep_running()
        self.rig.await_workers(SUPERVISORS)
        while time.monotonic() < until:
            self._calm(CALM_SECONDS)
            fault = self.random.choice(FAULTS)
            fault(self)
            name = fault.__name__.strip("_")
            self.faults[name] += 1
            seconds = self._recover()
            self.recoveries.setdefault(name, []).append(seconds)
            left = max(0.0, until - time.monotonic())
            print(f"{name:<26} recovered in {seconds:5.1f} s, {left / 60:4.1f} min left", flush=True)  # noqa: T201

    def verdict(self) -> dict[str, Any]:
        """Let everything end and check it; the figures.

        Raises:
            AssertionError: with one sentence for each violation.
        """
        self._keep_running()
        self.rig.verify(within=180)
        rows = self.rig.board.snapshot()
        booked = self.rig.board.query("SELECT count(*), count(DISTINCT task) FROM booking")[0]
        succeeded = [task for task in rows.tasks if task.actor == "book" and task.status == "SUCCEEDED"]
        assert booked == (len(succeeded), len(succeeded)), f"rows booked, by tasks: {booked}; tasks: {len(succeeded)}"
        successes = Counter(row.task for row in rows.attempts if row.outcome == "SUCCEEDED")
        times = sorted(second for seconds in self.recoveries.values() for second in seconds)
        return {
            "faults": dict(self.faults),
            "faults_in_all": sum(self.faults.values()),
            "tasks": len(rows.tasks),
            "attempts": len(rows.attempts),
            "by_status": dict(Counter(task.status for task in rows.tasks)),
            "attempts_by_outcome": dict(Counter(row.outcome for row in rows.attempts)),
            "lost": len(
                set(self.rig.client.history.accepted) - {task.id for task in rows.tasks if task.status in FINAL}
            ),
            "double_outcomes": sum(count > 1 for count in successes.values()),
            "recovery_seconds": {
                "median": round(statistics.median(times), 2) if times else None,
                "longest": round(times[-1], 2) if times else None,
                "by_fault": {name: round(max(seconds), 2) for name, seconds in sorted(self.recoveries.items())},
            },
        }

    # --- What a service manager and clients do ------------------------------------------------------------------

    def _keep_running(self) -> None:
        self.schedulers = [one for one in self.schedulers if one.code is None]
        self.supervisors = [one for one in self.supervisors if one.code is None]
        self.schedulers += [self.rig.start_scheduler() for _ in range(SCHEDULERS - len(self.schedulers))]
        self.supervisors += [
            self.rig.start_workers(processes=2, threads=4) for _ in range(SUPERVISORS - len(self.supervisors))
        ]

    def _calm(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._keep_running()
            self._submit()
            time.sleep(0.1)

    def _submit(self) -> None:
        now = time.monotonic()
        count = int(min(1.0, now - self._submitted_at) * TASKS_PER_SECOND)
        if not count:
            return
        self._submitted_at = now
        chosen = self.random.choices(LOAD, weights=[weight for *_, weight in LOAD], k=count)
        tasks = [
            {"actor": actor, "payload": payload, "priority": self.random.randint(1, 10)} for actor, payload, _ in chosen
        ]
        self.rig.client.submit_all(tasks)

    def _recover(self) -> float:
        """Tell how long it takes until a task that is submitted now has run."""
        began = time.monotonic()
        tasks: list[str] = []

        def has_run() -> bool:
            self._keep_running()
            if not tasks:
                tasks.extend(self.rig.client.submit("effect", priority=10))
            with suppress(psycopg2.Error, StopIteration):
                return bool(tasks) and self.rig.board.task(tasks[0]).status == "SUCCEEDED"
            return False

        wait_until(has_run, timeout=RECOVERY_SECONDS, interval=0.05, what="a new task to run after the fault")
        return time.monotonic() - began

    # --- Faults -------------------------------------------------------------------------------------------------

    def _worker(self) -> int | None:
        children = [pid for one in self.supervisors for pid in one.children() if is_alive(pid)]
        return self.random.choice(children) if children else None

    def _kill_worker(self) -> None:
        if pid := self._worker():
            os.kill(pid, signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        self.random.choice(self.supervisors).kill()

    def _kill_workers_and_supervisor(self) -> None:
        supervisor = self.random.choice(self.supervisors)
        for pid in supervisor.children():
            os.kill(pid, signal.SIGKILL)
        supervisor.kill()

    def _pause_worker(self) -> None:
        if pid := self._worker():
            pause(pid)
            self._calm(LEASE_SECONDS * 1.5)
            with suppress(ProcessLookupError):
                resume(pid)

    def _restart_workers_in_order(self) -> None:
        self.random.choice(self.supervisors).terminate()

    def _kill_scheduler(self) -> None:
        self.random.choice(self.schedulers).kill()

    def _pause_scheduler(self) -> None:
        scheduler = self.random.choice(self.schedulers)
        pause(scheduler.pid)
        self._calm(float(CLOCKS["LEADER_LEASE_SECONDS"]) * 2)
        resume(scheduler.pid)

    def _kill_redis(self) -> None:
        self.broker.stop(immediate=True)
        self._calm(self.random.uniform(0, 3))
        self.broker.start()

    def _freeze_redis(self) -> None:
        pause(self.broker.pid)
        self._calm(self.random.uniform(1, 6))
        resume(self.broker.pid)

    def _flush_redis(self) -> None:
        redis.Redis.from_url(self.broker.url).flushall()

    def _crash_postgres(self) -> None:
        self.postgres.stop(immediate=True)
        time.sleep(self.random.uniform(0, 3))
        self.postgres.start()

    def _cut_postgres_sessions(self) -> None:
        for _ in range(5):
            with suppress(psycopg2.Error):
                self.rig.board.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            self._calm(0.4)


FAULTS: tuple[Callable[[Soak], None], ...] = (
    Soak._kill_worker,
    Soak._kill_supervisor,
    Soak._kill_workers_and_supervisor,
    Soak._pause_worker,
    Soak._restart_workers_in_order,
    Soak._kill_scheduler,
    Soak._pause_scheduler,
    Soak._kill_redis,
    Soak._freeze_redis,
    Soak._flush_redis,
    Soak._crash_postgres,
    Soak._cut_postgres_sessions,
)


def main(arguments: list[str]) -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}, {options.minutes:g} minutes", flush=True)  # noqa: T201
    servers, folder = temporary_folder(), Path(tempfile.mkdtemp(prefix="soak-"))
    postgres, broker = start_postgres(servers), RedisServer(servers)
    broker.start()
    with Databases(postgres).fresh() as url:
        rig = Rig(database_url=url, broker=broker, folder=folder)
        soak = Soak(rig, postgres, broker, seed=seed)
        try:
            soak.run(options.minutes)
            figures = soak.verdict()
        except AssertionError as error:
            sys.stderr.write(f"seed {seed}: {error}\nlogs and ledger are in {folder}\n")
            return 1
        finally:
            rig.clear()
    postgres.stop(immediate=True)
    print(json.dumps({"seed": seed, "minutes": options.minutes, **figures}, indent=2))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
