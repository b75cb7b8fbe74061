"""``make soak MINUTES=30``: run real processes under load, hit them with fault after fault, then check the invariants.

Some of the load is hostile: it leaks locks and transactions, swallows interrupts, keeps the interpreter, or ends its
process. Faults come from a seed, which is printed. The same seed picks the same faults in the same order, though not
the same victims. The command prints its figures, and exits with 1 if an invariant does not hold.
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
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg2
import redis

from scheduler_site.embedded.accounts import temporary_folder
from scheduler_site.embedded.servers import PostgresServer, RedisServer
from tasks.states import FINAL
from tests.acceptance.harness.checker import violations
from tests.acceptance.harness.faults import locked, locked_rows
from tests.acceptance.harness.idleness import Idleness
from tests.acceptance.harness.processes import Process, is_alive, pause, resume
from tests.acceptance.harness.repeats import repeated
from tests.acceptance.harness.rig import CLOCKS, Rig
from tests.acceptance.harness.servers import Databases, start_postgres
from tests.waiting import wait_until

SCHEDULERS, SUPERVISORS = 2, 2
#: Pause between two faults, in which the stack recovers.
CALM_SECONDS = 4.0
#: Submission rate while the client can submit; at times faults keep it from that.
TASKS_PER_SECOND = 45
#: Most seconds of load that it makes up for after a slow call.
MOST_SECONDS_AT_ONCE = 3.0
LEASE_SECONDS = float(CLOCKS["WORKER_LEASE_SECONDS"])
RECOVERY_SECONDS = 60.0
#: A worker that does nothing for longer while due work waits is a violation.
MOST_IDLE_SECONDS = LEASE_SECONDS + 5
#: Share of the tasks that depend on an earlier one of their call, and of those that depend on one of the last tasks.
SHARE_WITH_PARENTS, MOST_RECENT = 0.1, 200
#: Share of the calls that submit a batch with callbacks, and of the tasks that depend on one of the last batches.
SHARE_OF_BATCHES, SHARE_AFTER_BATCHES, MOST_RECENT_BATCHES = 0.2, 0.05, 10
#: Most violations printed for each invariant.
MOST_SENTENCES = 8
_TABLES = ("callboard_task", "callboard_worker", "callboard_attempt")


def _load(actor: str, weight: float, /, **fields: Any) -> tuple[dict[str, Any], float]:
    limits: dict[str, Any] = {
        name: fields.pop(name) for name in ("time_limit_seconds", "max_retries") if name in fields
    }
    return {"actor": actor, "payload": fields, **limits}, weight


#: The tasks to submit, each with its share in percent.
LOAD: tuple[tuple[dict[str, Any], float], ...] = (
    _load("effect", 63),
    _load("last", 14, seconds=0.1),
    _load("book", 8),
    _load("fail", 5, times=2),
    _load("fail", 1.5, times=9),
    _load("ask", 4),
    _load("ask_async", 4),
    # Tasks that end their process, three times each; every time costs two seconds of a processor.
    _load("crash", 0.02, how="exit"),
    _load("leave", 0.01, code=0),
    _load("leave", 0.01, code=70),
    _load("leave", 0.01, code=75),
    _load("leave", 0.01, code=77),
    _load("hold", 0.01, seconds=2.5 * LEASE_SECONDS),
    _load("hold", 0.01, seconds=2.5 * LEASE_SECONDS, busy=True),
    _load("stop_loop", 0.01),
    _load("stubborn", 0.01, seconds=120, time_limit_seconds=0.5, max_retries=0),
    _load("stubborn_async", 0.01, seconds=120, time_limit_seconds=0.5, max_retries=0),
    # Tasks that leave something behind.
    _load("seize", 0.005, what="handlers"),
    _load("seize", 0.005, what="blocks"),
    _load("trace", 0.005, how="sys"),
    _load("leak", 0.05, how="open"),
    _load("leak", 0.05, how="suspended"),
    _load("leak", 0.05, how="cycle"),
    _load("leak", 0.02, how="broken"),
    _load("leak", 0.02, how="autocommit"),
    _load("fork", 0.02),
    _load("multiprocess", 0.02),
    # Tasks that end by themselves or at their limit.
    _load("chatty", 0.25, time_limit_seconds=0.5, max_retries=0),
    _load("stubborn", 0.05, seconds=60, times=1, time_limit_seconds=0.5, max_retries=0),
    _load("hold", 0.02, seconds=0.3 * LEASE_SECONDS),
    _load("explode", 0.02, how="unprintable"),
    _load("explode", 0.02, how="exit"),
    _load("explode_async", 0.02, how="keyboard"),
)


class Soak:
    """A stack under load, and the faults that hit it."""

    def __init__(self, rig: Rig, postgres: PostgresServer, broker: RedisServer, *, seed: int) -> None:
        self.rig, self.postgres, self.broker = rig, postgres, broker
        self.random = random.Random(seed)
        # A generator of its own, because the draws for the load depend on the speed of the machine.
        self._choosing = random.Random(seed)
        self.schedulers: list[Process] = []
        self.supervisors: list[Process] = []
        self.faults: Counter[str] = Counter()
        self.recoveries: dict[str, list[float]] = {}
        self.found: list[str] = []
        #: Processes that a fault killed or paused; tasks whose outcome they had not written may run again.
        self.felled: set[int] = set()
        self.idleness = Idleness(rig.database, rig.ledger, children=self._workers, allowed_seconds=MOST_IDLE_SECONDS)
        self._submitted_at = 0.0

    def run(self, minutes: float) -> None:
        """Submit tasks and break things for so long, or until the stack does not recover from a fault."""
        self.rig.database.query("CREATE TABLE booking (task uuid)")
        until = time.monotonic() + minutes * 60
        self._keep_running()
        self.rig.await_workers(2 * SUPERVISORS)
        self.idleness.start()
        try:
            while time.monotonic() < until:
                self._calm(CALM_SECONDS)
                self._break_something(left_seconds=until - time.monotonic())
        except AssertionError as error:
            self.found.append(f"I12: {error}")

    def _break_something(self, *, left_seconds: float) -> None:
        fault = self._choosing.choice(FAULTS)
        name = fault.__name__.strip("_")
        self.faults[name] += 1
        fault(self)
        seconds = self._recover(name)
        self.recoveries.setdefault(name, []).append(seconds)
        print(f"{name:<26} recovered in {seconds:5.1f} s, {max(0.0, left_seconds) / 60:4.1f} min left", flush=True)  # noqa: T201

    def verdict(self) -> dict[str, Any]:
        """Let everything end and check it; return the figures, and put the violations into ``found``."""
        self._keep_running()
        try:
            self.rig.settle(180)
        except AssertionError as error:
            self.found.append(f"I5: {error}")
        # The watch includes this end, because tasks that no worker takes would show here.
        self.idleness.stop()
        evidence = self.rig.close()
        again = repeated(evidence, felled=self.felled)
        self.found += [
            *violations(evidence),
            *self.rig.broken_workflows(),
            *again,
            *self.idleness.sentences,
            *self._bookings(),
        ]
        rows = evidence.rows
        batches = self.rig.database.query("SELECT status, count(*) FROM callboard_batch GROUP BY status")
        ((waited,),) = self.rig.database.query("SELECT count(*) FROM callboard_dependency WHERE is_batch")
        successes = Counter(row.task for row in rows.attempts if row.outcome == "SUCCEEDED")
        times = sorted(second for seconds in self.recoveries.values() for second in seconds)
        ended = {task.id for task in rows.tasks if task.status in FINAL}
        return {
            "faults": dict(self.faults),
            "faults_in_all": sum(self.faults.values()),
            "tasks": len(rows.tasks),
            "batches": dict(batches),
            "dependencies_on_batches": waited,
            "attempts": len(rows.attempts),
            "workers": len(rows.workers),
            "by_status": dict(Counter(task.status for task in rows.tasks)),
            "attempts_by_outcome": dict(Counter(row.outcome for row in rows.attempts)),
            "deaths_by_reason": dict(Counter(letter.reason for letter in rows.letters)),
            "lost": len(set(self.rig.client.history.accepted) - ended),
            "double_outcomes": sum(count > 1 for count in successes.values()),
            "finished_and_repeated": len(again),
            "idle_for_too_long": len(self.idleness.sentences),
            "longest_idle_seconds": round(self.idleness.longest, 1),
            "violations": dict(Counter(sentence.partition(":")[0] for sentence in self.found)),
            "recovery_seconds": {
                "median": round(statistics.median(times), 2) if times else None,
                "longest": round(times[-1], 2) if times else None,
                "by_fault": {name: round(max(seconds), 2) for name, seconds in sorted(self.recoveries.items())},
            },
        }

    def _bookings(self) -> list[str]:
        """Compare the rows written in actors' own transactions with the tasks that succeeded."""
        booked = self.rig.database.query("SELECT count(*), count(DISTINCT task) FROM booking")[0]
        ((count,),) = self.rig.database.query(
            "SELECT count(*) FROM callboard_task WHERE actor = 'book' AND status = 'SUCCEEDED'"
        )
        return [] if booked == (count, count) else [f"I2: rows booked, by tasks: {booked}; tasks: {count}"]

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
        count = int(min(MOST_SECONDS_AT_ONCE, now - self._submitted_at) * TASKS_PER_SECOND)
        if not count:
            return
        self._submitted_at = now
        chosen = self.random.choices(LOAD, weights=[weight for _, weight in LOAD], k=count)
        tasks = [{**fields, "priority": self.random.randint(1, 10)} for fields, _ in chosen]
        # A few customers, one of them with most of the tasks; and tasks of nobody.
        keys = self.random.choices(["big", "small", "tiny", None], weights=[8, 2, 1, 4], k=len(tasks))
        tasks = [task if key is None else {**task, "fairness_key": key} for task, key in zip(tasks, keys, strict=True)]
        linked = [{**task, "ref": str(place), **self._parents(place)} for place, task in enumerate(tasks)]
        if self.random.random() < SHARE_OF_BATCHES:
            callback = {"actor": "effect"}
            self.rig.client.submit_batch(linked, dict.fromkeys(("on_death", "on_complete", "on_success"), callback))
        else:
            self.rig.client.submit_all(linked)

    def _parents(self, place: int) -> dict[str, Any]:
        """Let some tasks depend on earlier ones of their call, and on other tasks and batches of the last seconds."""
        recent = self.rig.client.history.accepted[-MOST_RECENT:]
        named = [str(self.random.randrange(place))] if place and self.random.random() < SHARE_WITH_PARENTS else []
        if recent and self.random.random() < SHARE_WITH_PARENTS:
            named.append(self.random.choice(recent))
        if self.rig.client.history.batches and self.random.random() < SHARE_AFTER_BATCHES:
            named.append("batch:" + self.random.choice(self.rig.client.history.batches[-MOST_RECENT_BATCHES:]))
        # Not "block": a task whose parent died would wait for an operator.
        return {"depends_on": [(one, self.random.choice(["cancel", "run"])) for one in named]}

    def _recover(self, fault: str) -> float:
        """Measure how long it takes until a task that is submitted now has run."""
        began = time.monotonic()
        tasks: list[str] = []

        def has_run() -> bool:
            self._keep_running()
            if not tasks:
                tasks.extend(self.rig.client.submit("effect", priority=10))
            with suppress(psycopg2.Error, StopIteration):
                return bool(tasks) and self.rig.database.task(tasks[0]).status == "SUCCEEDED"
            return False

        wait_until(has_run, timeout=RECOVERY_SECONDS, interval=0.05, what=f"a new task to run after {fault}")
        return time.monotonic() - began

    # --- Faults -------------------------------------------------------------------------------------------------

    def _workers(self) -> list[int]:
        return [pid for one in self.supervisors for pid in one.children() if is_alive(pid)]

    def _worker(self) -> int | None:
        children = self._workers()
        return self.random.choice(children) if children else None

    def _kill_worker(self) -> None:
        if pid := self._worker():
            self.felled.add(pid)
            os.kill(pid, signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        self.random.choice(self.supervisors).kill()

    def _kill_workers_and_supervisor(self) -> None:
        supervisor = self.random.choice(self.supervisors)
        for pid in supervisor.children():
            self.felled.add(pid)
            os.kill(pid, signal.SIGKILL)
        supervisor.kill()

    def _pause_worker(self) -> None:
        if pid := self._worker():
            self.felled.add(pid)
            pause(pid)
            self._calm(LEASE_SECONDS * 1.5)
            with suppress(ProcessLookupError):
                resume(pid)

    def _restart_workers_in_order(self) -> None:
        self.random.choice(self.supervisors).terminate()

    def _reload_workers(self) -> None:
        os.kill(self.random.choice(self.supervisors).pid, signal.SIGHUP)

    def _drain_worker(self) -> None:
        self.rig.database.query(
            "UPDATE callboard_worker SET status = 'DRAINING' WHERE id ="
            " (SELECT id FROM callboard_worker WHERE status = 'ALIVE' ORDER BY random() LIMIT 1)"
        )

    def _kill_scheduler(self) -> None:
        self.random.choice(self.schedulers).kill()

    def _pause_scheduler(self) -> None:
        scheduler = self.random.choice(self.schedulers)
        pause(scheduler.pid)
        self._calm(float(CLOCKS["LEADER_LEASE_SECONDS"]) * 2)
        resume(scheduler.pid)

    def _kill_redis(self) -> None:
        with self.idleness.excused():
            self.broker.stop(immediate=True)
            self._calm(self.random.uniform(0, 3))
            self.broker.start()

    def _freeze_redis(self) -> None:
        with self.idleness.excused():
            pause(self.broker.pid)
            self._calm(self.random.uniform(1, 6))
            resume(self.broker.pid)

    def _flush_redis(self) -> None:
        redis.Redis.from_url(self.broker.url).flushall()

    def _crash_postgres(self) -> None:
        with self.idleness.excused():
            self.postgres.stop(immediate=True)
            time.sleep(self.random.uniform(0, 3))
            self.postgres.start()

    def _cut_postgres_sessions(self) -> None:
        for _ in range(5):
            self._cut("true")
            self._calm(0.4)

    def _cut_sessions_of_actors(self) -> None:
        """Cut the sessions of actors, including asynchronous ones."""
        for _ in range(3):
            self._cut("query ILIKE 'SELECT COUNT(*)%%FROM \"callboard_task\"%%'")
            self._calm(0.4)

    def _cut(self, condition: str) -> None:
        with suppress(psycopg2.Error):
            self.rig.database.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}",
                [],
            )

    def _lock_rows(self) -> None:
        """Lock the rows of some running tasks until these would count as stuck."""
        running = self.rig.database.query(
            "SELECT id::text FROM callboard_task WHERE status = 'RUNNING' ORDER BY random() LIMIT 4"
        )
        with ExitStack() as stack:
            with suppress(psycopg2.Error):
                stack.enter_context(locked_rows(self.rig.database, [id for (id,) in running]))
            self._calm(self.random.uniform(1, 3) * LEASE_SECONDS)

    def _lock_table(self) -> None:
        """Lock a table for up to three leases; the client would wait for the lock, so it submits nothing meanwhile."""
        with self.idleness.excused(), locked(self.rig.database, self.random.choice(_TABLES)):
            time.sleep(self.random.uniform(0.5, 3) * LEASE_SECONDS)


FAULTS: tuple[Callable[[Soak], None], ...] = (
    Soak._kill_worker,
    Soak._kill_supervisor,
    Soak._kill_workers_and_supervisor,
    Soak._pause_worker,
    Soak._restart_workers_in_order,
    Soak._reload_workers,
    Soak._drain_worker,
    Soak._kill_scheduler,
    Soak._pause_scheduler,
    Soak._kill_redis,
    Soak._freeze_redis,
    Soak._flush_redis,
    Soak._crash_postgres,
    Soak._cut_postgres_sessions,
    Soak._cut_sessions_of_actors,
    Soak._lock_rows,
    Soak._lock_table,
)


def main(arguments: list[str]) -> int:
    """Run a soak and print the figures."""
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
        finally:
            rig.clear()
    postgres.stop(immediate=True)
    print(json.dumps({"seed": seed, "minutes": options.minutes, **figures}, indent=2))  # noqa: T201
    _print(soak.found)
    if soak.found:
        sys.stderr.write(f"seed {seed}: {len(soak.found)} violations; logs and ledger are in {folder}\n")
    return 1 if soak.found else 0


def _print(found: list[str]) -> None:
    printed: Counter[str] = Counter()
    for sentence in found:
        invariant = sentence.partition(":")[0]
        printed[invariant] += 1
        if printed[invariant] <= MOST_SENTENCES:
            sys.stderr.write(sentence[:500] + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
