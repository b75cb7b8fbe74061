"""The supervisor of worker processes: starts them, replaces those that end, and reports at once how they ended."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from uuid import UUID

import dramatiq
from django.db import Error as DatabaseProblem
from django.db import close_old_connections

from tasks.broker.notifier import Event, notifier
from tasks.conf import conf
from tasks.db import call_timeout
from tasks.lifecycle import workers
from tasks.log import get_logger
from tasks.models import new_id
from tasks.worker.flight_recorder import Ending, FlightRecorder, Record
from tasks.worker.forks import Forks, environment, paths_of
from tasks.worker.hang_detector import HangDetector

log = get_logger(__name__)

TICK_SECONDS = 0.1
REPORT_PAUSE_SECONDS = 1.0
#: How often an ending supervisor tries to report to a database that is away.
LAST_REPORTS = 3
#: Processes that end sooner than this after their start are restarted with a growing delay.
HEALTHY_AFTER_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 30.0
#: Most processes for each one wanted, including those that retire and still finish long tasks.
MOST_PER_PLACE = 3
#: Time beyond the grace period until the remaining processes are killed.
LAST_SECONDS = 10.0

#: Longest call to the database. Meanwhile no process is reaped or replaced.
CALL_SECONDS = 2.0
#: How often the registry is asked which workers were declared gone.
GONE_LOOK_SECONDS = 2.0
#: How long a process that was declared gone may take to end by itself before it is killed.
GONE_GRACE_SECONDS = 2.0
#: A round of the supervisor that takes longer than this is a fault; its calls to the database take less.
ROUND_SECONDS = 15.0

_ENDINGS = {
    Ending.IN_ORDER: "it ended in order",
    Ending.RETIRED: "it had retired",
    Ending.UNFINISHED: "its worker had to end",
    Ending.UNHEALTHY: "its worker was unhealthy",
    Ending.LEASE_LOST: "its worker lost its lease",
}


@dataclass
class Child:
    """One worker process, and what the supervisor knows about it."""

    worker_id: UUID
    process: subprocess.Popen[bytes]
    recorder: FlightRecorder
    started_at: float = field(default_factory=time.monotonic)
    #: Set if this supervisor killed it: the kind and the detail to report.
    killed: tuple[str, str] | None = None
    gone_since: float | None = None
    is_asked_to_retire: bool = False
    hang_detector: HangDetector = field(init=False)

    def __post_init__(self) -> None:
        self.hang_detector = HangDetector(self.process.pid, self.recorder)


@dataclass(frozen=True)
class End:
    """How a process ended, kept until it is reported to the database."""

    worker_id: UUID
    #: See ``workers.report_end``.
    kind: str
    detail: str
    records: list[Record]


class Supervisor:
    """Keeps ``processes`` workers of ``threads`` threads alive until it is asked to stop."""

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
        self._next_gone_look = 0.0
        self._stops = 0
        self._round_at = time.monotonic()
        self._is_asked_to_reload = False
        #: Processes to be replaced, one after another: those of a reload, and worn ones that ask for a successor.
        self._outdated: list[Child] = []
        # Children end when the write end closes, which happens even if the supervisor is killed with SIGKILL.
        self._read_end, self._write_end = os.pipe()
        self._forks = Forks(paths_of(dramatiq.get_broker().middleware), parent=self._read_end)

    def run(self) -> int:
        """Work until SIGTERM or SIGINT, replace the processes at SIGHUP; return 0 if all ended in order."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        while not self._stops:
            self._round_at = time.monotonic()
            self._end_hung()
            self._reap()
            self._start_missing()
            self._forks.start_missing()
            self._replace_outdated()
            self._report()
            self._look_for_gone()
            time.sleep(TICK_SECONDS)
        return self._stop()

    @property
    def is_working(self) -> bool:
        """Whether some worker process works, and takes tasks."""
        return not self._stops and any(child.hang_detector.is_working for child in list(self._children))

    @property
    def is_complete(self) -> bool:
        """Whether all worker processes work."""
        return sum(child.hang_detector.is_working for child in list(self._children)) >= self._processes

    def faults(self) -> list[str]:
        """Say what does not turn: this loop, and processes that give no sign of life; another thread asks this.

        A silent process is replaced soon after its lease; it is a fault until then.
        """
        if (stood := time.monotonic() - self._round_at) > ROUND_SECONDS:
            return [f"the supervisor has stood still for {stood:.0f} s"]
        # With a long lease not much before the supervisor acts, or an orchestrator would restart all of it first.
        patience = max(conf.WORKER_LEASE_SECONDS / 2, conf.WORKER_LEASE_SECONDS - ROUND_SECONDS)
        silent = {child.process.pid: child.hang_detector.silent_for for child in list(self._children)}
        return [
            f"worker process {pid} has given no sign of life for {seconds:.0f} s"
            for pid, seconds in silent.items()
            if seconds > patience
        ]

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stops += 1

    def _on_reload(self, _number: int, _frame: object) -> None:
        self._is_asked_to_reload = True

    def _replace_outdated(self) -> None:
        """Let the next outdated process retire once its successor works."""
        if self._is_asked_to_reload:
            self._is_asked_to_reload = False
            self._outdated = list(self._children)
            log.info("replacing worker processes one after another", processes=len(self._outdated))
        taking = self._taking()
        asking = [child for child in taking if child.recorder.asks_to_retire and child not in self._outdated]
        self._outdated = [child for child in self._outdated if child in taking] + asking
        is_waiting = any(child.is_asked_to_retire or not child.recorder.ticks for child in taking)
        if self._outdated and not is_waiting and len(taking) > self._processes:
            self._outdated[0].is_asked_to_retire = True
            self._outdated[0].process.send_signal(signal.SIGHUP)

    def _start_missing(self) -> None:
        while self._is_short() and time.monotonic() >= self._next_start:
            try:
                self._children.append(self._start())
            except OSError as error:
                # Out of memory, processes or descriptors. That passes, and the other processes need a supervisor.
                self._delay_next_start(lived_seconds=0)
                wait_seconds = max(0.0, self._next_start - time.monotonic())
                log.error("cannot start a worker process; trying again", error=str(error), wait_seconds=wait_seconds)

    def _is_short(self) -> bool:
        """Tell whether a process is missing: the successor of one that retires, or of an outdated one."""
        taking = self._taking()
        wanted = self._processes + any(child in taking for child in self._outdated)
        return len(taking) < wanted and len(self._children) < MOST_PER_PLACE * self._processes

    def _taking(self) -> list[Child]:
        """List the processes that do not retire."""
        return [child for child in self._children if not child.recorder.is_retiring]

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
            sys.executable, "-m", "tasks.worker.process",
            "--worker-id", str(worker_id), "--threads", str(self._threads), "--recorder", str(recorder.descriptor),
            "--parent", str(self._read_end), "--queues", *self._queues,
        ]  # fmt: skip
        return subprocess.Popen(
            command,
            pass_fds=(recorder.descriptor, self._read_end),
            env=environment(),
            # Ctrl-C in a terminal signals the whole process group; only the supervisor should get it.
            process_group=0,
        )

    def _end_hung(self) -> None:
        """Kill processes that hang."""
        for child in self._children:
            if child.hang_detector.is_held():
                self._kill(child, "crashed", "a call kept its interpreter")
            elif child.hang_detector.is_silent():
                self._kill(child, "faulted", "its worker gave no sign of life")
            elif child.gone_since is not None and time.monotonic() - child.gone_since > GONE_GRACE_SECONDS:
                self._kill(child, "faulted", "its worker was declared gone and did not end")

    def _kill(self, child: Child, kind: str, detail: str) -> None:
        log.error("killing a worker process", pid=child.process.pid, detail=detail)
        child.killed = (kind, detail)
        child.process.kill()
        child.process.wait()

    def _look_for_gone(self) -> None:
        """Ask the registry which workers were declared gone; their tasks belong to others, and they must end."""
        if not self._children or time.monotonic() < self._next_gone_look:
            return
        self._next_gone_look = time.monotonic() + GONE_LOOK_SECONDS
        try:
            with call_timeout.bounded(CALL_SECONDS):
                gone = workers.gone_among([child.worker_id for child in self._children])
        except DatabaseProblem:
            # While the database is away no sweeper can declare a worker gone either.
            close_old_connections()
            return
        for child in self._children:
            if child.worker_id in gone and child.gone_since is None:
                child.gone_since = time.monotonic()

    def _reap(self) -> None:
        for child in [child for child in self._children if child.process.poll() is not None]:
            self._children.remove(child)
            self._note_end(child)

    def _note_end(self, child: Child) -> None:
        records, ending = child.recorder.read(), child.recorder.ending
        child.recorder.close()
        kind, detail = child.killed or _classify(ending, child.process.returncode)
        self._ends.append(End(child.worker_id, kind, detail, records))
        if ending is Ending.RETIRED:
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
            with call_timeout.bounded(CALL_SECONDS):
                for end in list(self._ends):
                    workers.report_end(end.worker_id, kind=end.kind, detail=end.detail, records=end.records)
                    self._ends.remove(end)
        except DatabaseProblem as error:
            log.warning("cannot report a worker's end; trying again", error=str(error).strip())
            self._next_report = time.monotonic() + REPORT_PAUSE_SECONDS
            return
        notifier.notify(Event.WORKER_ENDED)

    def _stop(self) -> int:
        log.info("stopping workers", processes=len(self._children), grace_seconds=self._grace_seconds)
        self._signal_all(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_seconds + LAST_SECONDS
        in_order = True
        while self._children:
            self._round_at = time.monotonic()
            if self._stops > 1 or time.monotonic() > deadline:
                log.warning("killing workers that have not ended", processes=len(self._children))
                for child in self._children:
                    child.killed = ("stopped", "it did not end in time and was killed")
                self._signal_all(signal.SIGKILL)
                in_order, deadline = False, float("inf")
                self._stops = 1
            # A process that a call holds does not hear of the stop, and its task is to be blamed as at any other time.
            self._end_hung()
            self._reap()
            time.sleep(TICK_SECONDS / 2)
        self._forks.stop()
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


def _classify(ending: Ending, code: int) -> tuple[str, str]:
    """Give the kind of a process's end, and its description."""
    if ending is Ending.NONE:
        return "crashed", _describe(code)
    return "faulted" if ending.is_fault else "stopped", _ENDINGS[ending]


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
