"""The supervisor of worker processes: executes them, restarts the dead, and says at once who died of what."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import close_old_connections

from tasks.engine import presence, silence
from tasks.engine.pulse import Pulse
from tasks.engine.recorder import FlightRecorder, Record
from tasks.engine.wakeups import News, notifier
from tasks.engine.watchdog import EXIT_LEASE_LOST, EXIT_RETIRED, EXIT_UNFINISHED, EXIT_UNHEALTHY
from tasks.models import new_id

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.1
REPORT_PAUSE_SECONDS = 1.0
#: How often a supervisor that ends tries to report to a database that is away.
LAST_REPORTS = 3
#: A process that dies sooner than this after its start is restarted with a growing delay.
HEALTHY_AFTER_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 30.0
#: Processes for each one wanted, those that retire and still have long tasks to finish among them.
MOST_PER_PLACE = 3
#: Beyond the grace and the interrupts' clean-up: then the processes are killed.
LAST_SECONDS = 10.0

#: Exit codes that blame no task.
_BLAMELESS = {
    EXIT_LEASE_LOST: "its worker lost its lease",
    EXIT_UNHEALTHY: "its worker was unhealthy",
    EXIT_UNFINISHED: "its worker had to end",
    EXIT_RETIRED: "it had retired",
}


@dataclass
class Child:
    """One worker process and what outlives it."""

    worker_id: UUID
    process: subprocess.Popen[bytes]
    recorder: FlightRecorder
    started_at: float = field(default_factory=time.monotonic)
    pulse: Pulse = field(init=False)

    def __post_init__(self) -> None:
        self.pulse = Pulse(self.process.pid, self.recorder)


@dataclass(frozen=True)
class End:
    """How a process ended, until the database knows."""

    worker_id: UUID
    crashed: bool
    detail: str
    records: list[Record]


class Supervisor:
    """Keeps ``processes`` workers of ``threads`` threads alive until it is told to stop."""

    def __init__(self, *, processes: int, threads: int, queues: list[str], grace_seconds: float) -> None:
        self._processes = processes
        self._threads = threads
        self._queues = queues
        self._grace_seconds = grace_seconds
        self._children: list[Child] = []
        self._ends: list[End] = []
        self._early_deaths = 0
        self._next_start = 0.0
        self._next_report = 0.0
        self._stops = 0
        # Children end when our side closes, which the kernel does even after a kill -9.
        self._read_end, self._write_end = os.pipe()

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; return 0 when every process ended in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while not self._stops:
            self._end_held()
            self._reap()
            self._start_missing()
            self._report()
            time.sleep(TICK_SECONDS)
        return self._stop()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stops += 1

    def _start_missing(self) -> None:
        while self._is_short() and time.monotonic() >= self._next_start:
            try:
                self._children.append(self._start())
            except OSError as error:
                # No memory, processes or descriptors left: that passes, and the other processes still have us.
                self._delay_next_start(lived_seconds=0)
                wait_seconds = max(0.0, self._next_start - time.monotonic())
                log.error("cannot start a worker process; trying again", error=str(error), wait_seconds=wait_seconds)

    def _is_short(self) -> bool:
        """Tell whether a process is missing; one that retires is replaced while it finishes its last tasks."""
        taking = sum(not child.recorder.is_retiring for child in self._children)
        return taking < self._processes and len(self._children) < MOST_PER_PLACE * self._processes

    def _start(self) -> Child:
        worker_id, recorder = new_id(), FlightRecorder.create(threads=self._threads)
        try:
            process = self._execute(worker_id, recorder)
        except OSError:
            recorder.close()
            raise
        log.info("worker process started", pid=process.pid, worker_id=str(worker_id))
        return Child(worker_id, process, recorder)

    def _execute(self, worker_id: UUID, recorder: FlightRecorder) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "tasks.engine.worker", "--worker-id", str(worker_id), "--threads", str(self._threads),
            "--recorder", str(recorder.descriptor), "--parent", str(self._read_end), "--queues", *self._queues,
        ]  # fmt: skip
        return subprocess.Popen(
            command,
            pass_fds=(recorder.descriptor, self._read_end),
            # Ctrl-C in a terminal goes to the whole group; only the supervisor shall hear it.
            process_group=0,
        )

    def _end_held(self) -> None:
        for child in self._children:
            if child.pulse.is_held():
                log.error("a call keeps the interpreter of a worker process; killing it", pid=child.process.pid)
                child.process.kill()
                child.process.wait()

    def _reap(self) -> None:
        for child in [child for child in self._children if child.process.poll() is not None]:
            self._children.remove(child)
            self._note_end(child)

    def _note_end(self, child: Child) -> None:
        code = child.process.returncode
        records = child.recorder.read()
        child.recorder.close()
        detail = _BLAMELESS.get(code) or _describe(code)
        is_blameless = code in _BLAMELESS or self._stops > 0
        self._ends.append(End(child.worker_id, not is_blameless, detail, records))
        if code == EXIT_RETIRED:
            log.info("worker process has retired", pid=child.process.pid)
        elif not self._stops:
            self._delay_next_start(lived_seconds=time.monotonic() - child.started_at)
            log.warning(
                "worker process ended; another takes its place",
                pid=child.process.pid,
                detail=detail,
                running=len(records),
                wait_seconds=max(0.0, self._next_start - time.monotonic()),
            )

    def _delay_next_start(self, *, lived_seconds: float) -> None:
        self._early_deaths = self._early_deaths + 1 if lived_seconds < HEALTHY_AFTER_SECONDS else 0
        delay = 0.0 if self._early_deaths <= 1 else min(LONGEST_DELAY_SECONDS, 0.5 * 2.0 ** (self._early_deaths - 1))
        self._next_start = time.monotonic() + delay

    def _report(self) -> None:
        if not self._ends or time.monotonic() < self._next_report:
            return
        close_old_connections()
        try:
            with silence.bounded(settings.WORKER_LEASE_SECONDS):
                for end in list(self._ends):
                    presence.report_end(end.worker_id, crashed=end.crashed, detail=end.detail, records=end.records)
                    self._ends.remove(end)
        except DatabaseProblem as error:
            log.warning("cannot report a worker's end; trying again", error=str(error).strip())
            self._next_report = time.monotonic() + REPORT_PAUSE_SECONDS
            return
        notifier.poke(News.ENDED)

    def _stop(self) -> int:
        log.info("stopping workers", processes=len(self._children), grace_seconds=self._grace_seconds)
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_seconds + LAST_SECONDS
        in_order = True
        while self._children:
            if self._stops > 1 or time.monotonic() > deadline:
                log.warning("killing workers that have not ended", processes=len(self._children))
                self._signal_all(signal.SIGKILL)
                in_order, deadline = False, float("inf")
                self._stops = 1
            self._reap()
            time.sleep(TICK_SECONDS / 2)
        self._report_at_the_end()
        log.info("workers have ended", in_order=in_order)
        return 0 if in_order else 1

    def _report_at_the_end(self) -> None:
        for _ in range(LAST_REPORTS):
            self._next_report = 0.0
            self._report()
            if not self._ends:
                return
            time.sleep(REPORT_PAUSE_SECONDS)
        log.error("workers' ends were not reported; their leases will run out", count=len(self._ends))

    def _signal_all(self, number: int) -> None:
        for child in self._children:
            child.process.send_signal(number)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
