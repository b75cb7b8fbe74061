"""The rig of one test: a database, a Redis, Callboard's processes, a client, and the verdict at the end."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pika
import redis

from scheduler_site.embedded.processes import free_port
from tests.acceptance.harness.api import Api
from tests.acceptance.harness.checker import Evidence, violations
from tests.acceptance.harness.client import Client
from tests.acceptance.harness.database import Database
from tests.acceptance.harness.hints import Hints, RabbitHints
from tests.acceptance.harness.ledger import Ledger
from tests.acceptance.harness.processes import Process
from tests.acceptance.harness.servers import ROOT
from tests.waiting import wait_until
from tests.workflows import INVARIANTS, OF_BATCHES

#: Short enough that a fault is over within seconds, long enough that a busy machine does not lose a lease by itself.
CLOCKS = {
    "HEARTBEAT_INTERVAL_SECONDS": "0.3",
    "WORKER_LEASE_SECONDS": "2",
    "LEADER_LEASE_SECONDS": "1.5",
    "HINT_GRACE_SECONDS": "1",
    "SWEEP_INTERVAL_SECONDS": "0.2",
    "STUCK_AFTER_SECONDS": "2",
    "SHUTDOWN_GRACE_SECONDS": "2",
    "DEFAULT_MIN_BACKOFF_SECONDS": "0.2",
}
#: Time until the last hints are gone after the last task. An acknowledgement on a dead connection times out after five
#: seconds, and an idle worker sends it again.
TIDY_SECONDS = 8
STOP_SECONDS = 15
#: Longest start of a process; after it, what is waited for is looked at anyway.
START_SECONDS = 30


class Broker(Protocol):
    """A Redis or a RabbitMQ, however it is reached."""

    @property
    def url(self) -> str:
        """The value of BROKER_URL."""

    def stop(self, *, immediate: bool = False) -> None:
        """End it."""


class Rig:
    """Everything one test works with.

    Parameters:
        folder: for logs and the ledger.
        broker: of which fresh Redis; None means the in-process broker.
    """

    def __init__(self, *, database_url: str, broker: Broker | None, folder: Path) -> None:
        self.folder = folder
        self.database = Database(database_url)
        self.ledger = Ledger(folder / "ledger")
        #: As the fixture made it; its faults depend on its class.
        self.redis: Any = broker
        self.token = folder / "failpoint"
        self.processes: list[Process] = []
        self.was_verified = False
        self._client: Client | None = None

    # --- Processes ----------------------------------------------------------------------------------------------

    def start_scheduler(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Start ``runscheduler``; ``env`` extends the environment of all processes."""
        return self._start("scheduler", ["manage.py", "runscheduler", *arguments], env or {})

    def start_workers(
        self, *, processes: int = 1, threads: int = 4, env: Mapping[str, str] | None = None, is_read: bool = True
    ) -> Process:
        """Start ``runworkers``; ``env`` extends the environment; without ``is_read`` its output has no reader."""
        counts = ["-p", str(processes), "-t", str(threads)]
        return self._start("workers", ["manage.py", "runworkers", *counts], env or {}, is_read=is_read)

    def start_stock_workers(self, *, env: Mapping[str, str] | None = None) -> Process:
        """Start ``rundramatiq`` with one process; ``env`` extends the environment."""
        return self._start("workers", ["manage.py", "rundramatiq", "-p", "1", "-t", "2"], env or {})

    def start_api(self, *, env: Mapping[str, str] | None = None, token: str = "") -> Api:
        """Start gunicorn with one process, and wait until it answers; ``env`` extends the environment.

        Parameters:
            token: one that exists; by default a new one is issued.
        """
        port = free_port()
        arguments = ["--bind", f"127.0.0.1:{port}", "--threads", "4", "--graceful-timeout", "1", "--no-control-socket"]
        command = ["-m", "gunicorn", "scheduler_site.wsgi", *arguments]
        process = self._start("api", command, {"WAIT_SECONDS": "0", "HTTPS": "false", **(env or {})})
        api = Api(process, port=port, token=token or self.client.issue_token(), history=self.client.history)
        wait_until(lambda: api.answers, timeout=30, what="the api")
        return api

    def manage(self, *arguments: str) -> None:
        """Run a command of manage.py to its end."""
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self._environment({}), check=True)

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments to its end; return its exit code and output."""
        command, variables = [sys.executable, *arguments], self._environment(env or {})
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=30)

    @property
    def client(self) -> Client:
        """The client, started on first use."""
        if self._client is None:
            self._client = Client(env=self._environment({}), folder=self.folder)
        return self._client

    def outcomes(self, task: str) -> list[str]:
        """List the outcomes of a task's attempts."""
        return [row.outcome for row in self.database.attempts(task)]

    def runs(self) -> Counter[str]:
        """Count the attempts of each task; a claim that was put back is not an attempt."""
        return Counter(row.task for row in self.database.snapshot().attempts)

    def await_workers(self, count: int = 1) -> None:
        """Wait until so many worker processes have registered."""
        wait_until(
            lambda: len(self.database.present_workers()) >= count, timeout=START_SECONDS, what=f"{count} workers"
        )

    def arm(self, failpoint: str, *, now: bool = True) -> dict[str, str]:
        """Return the environment of processes of which one hits the fail point, once.

        Parameters:
            now: arm it now; otherwise the test arms it by touching ``token``.
        """
        if now:
            self.token.touch()
        return {"FAILPOINT": failpoint, "FAILPOINT_TOKEN": str(self.token)}

    def cue(self, name: str = "cue") -> str:
        """Name a cue, for ``await_cue``."""
        return str(self.folder / f"cue-{name}")

    def give_cue(self, name: str = "cue") -> None:
        """Let the actors that wait for the cue end."""
        Path(self.cue(name)).touch()

    @property
    def was_hit(self) -> bool:
        """Whether the armed fail point was reached."""
        return not self.token.exists()

    @property
    def hints(self) -> Any:
        """The broker's queues: ``Hints``, or ``RabbitHints``."""
        assert self.redis is not None
        return RabbitHints(self.redis.url) if self.redis.url.startswith("amqp") else Hints(self.redis.url)

    def _start(self, name: str, command: list[str], variables: Mapping[str, str], *, is_read: bool = True) -> Process:
        numbered = f"{name}-{sum(one.name.startswith(name) for one in self.processes) + 1}"
        process = Process(numbered, command, env=self._environment(variables), folder=self.folder, is_read=is_read)
        self.processes.append(process)
        return process

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
            "SECRET_KEY": "stage-key-of-32-characters-or-more",
            "ENV_FILE": os.devnull,
            "LOG_FORMAT": "json",
            "DATABASE_URL": self.database.url,
            "BROKER_URL": self.redis.url if self.redis else "inprocess://",
            **CLOCKS,
            **self.ledger.variables,
            **variables,
        }

    # --- Waiting ------------------------------------------------------------------------------------------------

    def await_event(self, event: str, *, task: str, attempt: int | None = None, timeout: float = 15) -> None:
        """Wait until an actor did something."""
        wait_until(
            lambda: [one for one in self.ledger.of(task, event) if attempt in {None, one.attempt}],
            timeout=timeout,
            what=f"{event} of task {task}, attempt {attempt or 'any'}",
        )

    def await_starts(self, tasks: Sequence[str], *, timeout: float = 15) -> None:
        """Wait until all of these tasks run or have run."""
        for task in tasks:
            self.await_event("START", task=task, timeout=timeout)

    def await_effects(self, count: int, *, timeout: float = 15) -> None:
        """Wait until so many tasks had their effect."""
        wait_until(lambda: len(self.effects()) >= count, timeout=timeout, what=f"effects of {count} tasks")

    def effects(self) -> Counter[str]:
        """Count effects by task."""
        return Counter(entry.task for entry in self.ledger.entries() if entry.event == "EFFECT")

    def start_delays(self, tasks: Sequence[str]) -> list[float]:
        """Measure the seconds from submission to first start of each of these tasks."""
        submitted = dict(self.database.query("SELECT task_id::text, at FROM move_log WHERE before IS NULL"))
        started: dict[str, float] = {}
        for entry in self.ledger.entries():
            if entry.event == "START":
                started.setdefault(entry.task, entry.wall)
        return [started[task] - submitted[task].timestamp() for task in tasks]

    def settle(self, seconds: float) -> None:
        """Wait until every task is final; on a busy machine a start may take longer than the work."""
        self._await_readiness()
        wait_until(
            lambda: self.database.counts() and not self.database.unfinished() and not self.database.running_batches(),
            timeout=seconds,
            interval=0.05,
            what=lambda: f"all tasks to end, and batches; they are {self.database.counts()}",
        )

    def _await_readiness(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        started = [one for one in self.processes if one.name.startswith(("scheduler", "workers"))]
        while any(one.is_starting for one in started) and time.monotonic() < deadline:
            time.sleep(0.05)

    # --- The verdict --------------------------------------------------------------------------------------------

    def verify(self, *, within: float, crash_limit: int = 3) -> None:
        """Wait until all tasks are final, stop all processes in order, and check I1 to I10.

        Parameters:
            crash_limit: the processes' CRASH_LIMIT.

        Raises:
            AssertionError: with one sentence for each violation.
        """
        self.settle(within)
        evidence = replace(self.close(), crash_limit=crash_limit)
        found = [*violations(evidence), *self.broken_workflows()]
        self.was_verified = True
        assert not found, "\n".join(found)

    def broken_workflows(self) -> list[str]:
        """Check I10: dependencies and batches say what their tasks say, and nothing waits for what has ended."""
        queries = {**INVARIANTS, **OF_BATCHES}
        broken = [(name, id) for name, query in queries.items() for (id,) in self.database.query(query)]
        return [f"I10: {name}: not so for {id}" for name, id in broken]

    def close(self) -> Evidence:
        """Stop all processes in order; return the evidence."""
        residue = [*self._residue_in_the_broker(), *self.stop()]
        return Evidence(self.client.history, self.ledger.entries(), self.database.snapshot(), residue)

    def stop(self) -> list[str]:
        """Stop all processes in order; describe those that did not end as they should."""
        running = [process for process in self.processes if process.code is None]
        # Workers first, so that the scheduler learns of their ends.
        for process in sorted(running, key=lambda one: not one.name.startswith("workers")):
            process.terminate()
        residue = []
        for process in running:
            try:
                code = process.wait(STOP_SECONDS)
            except AssertionError as error:
                residue.append(str(error))
                continue
            # One that was asked while its interpreter was still starting has no handler yet, and has begun nothing.
            if code and not (code == -signal.SIGTERM and not process.log.stat().st_size):
                residue.append(f"{process.name} was asked to stop and ended with {code}")
        for process in self.processes:
            residue += [f"process {pid} of {process.name} has outlived it" for pid in process.living()]
        return residue

    def clear(self) -> None:
        """End everything, whatever the test's result."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.clear()
        if self._client is not None:
            self._client.close()
        if self.redis is not None:
            self.redis.stop(immediate=True)

    def tails(self) -> list[tuple[str, str]]:
        """Return the last lines of every log."""
        return [(process.name, process.tail()) for process in self.processes]

    def _residue_in_the_broker(self) -> list[str]:
        if self.redis is None:
            return []
        deadline = time.monotonic() + TIDY_SECONDS
        while (found := self._hints_that_lie_about()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _hints_that_lie_about(self) -> list[str]:
        try:
            hints = self.hints
            found = [f"{count} hints wait in {name} for nothing" for name, count in hints.waiting().items()]
            for worker in self.database.present_workers():
                held = hints.unacknowledged(worker.id)
                found += [f"worker {worker.id} never acknowledged {sorted(held)[:3]}"] if held else []
        except (redis.RedisError, pika.exceptions.AMQPError) as error:
            return [f"the broker does not answer: {error!r}"]
        return found
