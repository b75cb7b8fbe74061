"""The worker runtime: builds Callboard's parts of a worker process, starts them in order and stops them in order.

The middleware ``WorkerProcess`` makes one, so every way of starting a Dramatiq worker (``runworkers``,
``rundramatiq``) includes it.
"""

from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db import connections
from dramatiq import Broker, Worker
from dramatiq.middleware import Shutdown

from tasks import log_writer
from tasks.broker.brokers import CallboardBroker, RedisBroker
from tasks.broker.notifier import Event, notifier
from tasks.conf import conf
from tasks.db.statements import keep_plans
from tasks.lifecycle import workers
from tasks.log import get_logger
from tasks.models import new_id
from tasks.priority import BANDS, bands_named, is_broker_queue, shortest_names
from tasks.telemetry import metrics, task_stats
from tasks.telemetry.sampler import Sampler
from tasks.worker.completer import Completer
from tasks.worker.consumer import ClaimingConsumer, OneConsumer
from tasks.worker.drain import Drain
from tasks.worker.flight_recorder import Ending, NoRecorder, Recorder
from tasks.worker.grace_period import GracePeriod
from tasks.worker.heartbeat import Heartbeat
from tasks.worker.inflight import Inflight
from tasks.worker.interrupter import Interrupter
from tasks.worker.memory import resident_bytes
from tasks.worker.reporter import Reporter
from tasks.worker.watchdog import EXIT_UNFINISHED, Fault, Watchdog

log = get_logger(__name__)

#: How long it may take to leave the registry and to end threads after the last outcome.
LEAVING_SECONDS = 2.0


class WorkerRuntime:
    """This process as a worker, from its registration to its departure.

    Attributes:
        served: the broker's queues that it takes from, high bands first.
        queues: the same in short: "default" for all of its bands, "default.high" for one.
        is_finished: after the end, whether all outcomes were written.
    """

    def __init__(
        self, broker: Broker, worker: Worker, *, worker_id: UUID | None = None, recorder: Recorder | None = None
    ) -> None:
        assert isinstance(broker, CallboardBroker)
        self._broker, self._worker = broker, worker
        self._recorder = recorder or NoRecorder()
        self.served = _served(broker, worker.consumer_whitelist)
        self.queues = shortest_names(self.served)
        self.is_finished = False
        self.inflight = Inflight(worker_id or new_id(), threads=worker.worker_threads, recorder=self._recorder)
        self.interrupter = Interrupter()
        self.drain = Drain(self.inflight, self.interrupter, self._recorder)
        self.completer = Completer(self.inflight)
        self.reporter = Reporter(self.inflight.worker_id)
        self.inflight.reported = self.reporter.note
        self.heartbeat = Heartbeat(self.inflight, self.interrupter, self.completer, self.drain)
        self.watchdog = Watchdog(
            worker,
            interrupter=self.interrupter,
            completer=self.completer,
            heartbeat=self.heartbeat,
            drain=self.drain,
            recorder=self._recorder,
        )
        self._sampler = Sampler(self._sample, clear=self._clear_gauges)
        self._grace_period = GracePeriod(
            interrupt=self._interrupt_rest, end=self._end_hard if self._recorder.is_read else None
        )

    def start(self) -> None:
        """Join the registry, and replace Dramatiq's consumer and work queue."""
        log_writer.start()
        self._worker.work_queue = self.inflight.work_queue
        # One consumer thread serves all queues; Dramatiq starts one for each queue that this set names.
        self._worker.consumer_whitelist = {self.served[0]}
        self._worker.consumers = OneConsumer()
        if isinstance(self._broker, RedisBroker):
            # The sweeper learns from it which worker has the unacknowledged hints in Redis.
            self._broker.broker_id = str(self.inflight.worker_id)
        workers.declare_queues()
        workers.register(
            self.inflight.worker_id,
            queues=self.queues,
            threads=self._worker.worker_threads,
            build=conf.BUILD,
            memory_bytes=resident_bytes(),
        )
        self._broker.make_consumer = self.consumer
        for part in (self.interrupter, self.completer, self.heartbeat, self._grace_period, self._sampler):
            part.start()
        # Dramatiq's threads start before the watchdog, and the first task may keep the interpreter.
        self._recorder.tick()
        notifier.notify(Event.DUE_ANYWHERE)
        metrics.begin_failures_at_zero()
        # Before the first task runs: an actor may keep the lock that a new thread needs.
        task_stats.recorder.start()

    def watch(self) -> None:
        """Watch the threads that Dramatiq has started by now."""
        self.watchdog.start()
        log.info(
            "worker is ready",
            worker_id=str(self.inflight.worker_id),
            queues=self.queues,
            threads=self._worker.worker_threads,
            actors=len(self._broker.actors),
        )

    def consumer(self, _broker_queue_name: str) -> ClaimingConsumer:
        """Make the consumer; Dramatiq's one consumer thread calls this."""
        keep_plans()
        return ClaimingConsumer(
            self._broker,
            served=self.served,
            inflight=self.inflight,
            interrupter=self.interrupter,
            completer=self.completer,
            heartbeat=self.heartbeat,
            drain=self.drain,
            on_round=self.watchdog.note_consumer_round,
        )

    def ask_to_retire(self) -> None:
        """Let a fresh process take this one's place now; safe in a signal handler."""
        self.drain.request()
        self.heartbeat.beat_soon()

    def begin_stop(self) -> None:
        """Stop claiming, put back what has not started, and let running tasks have their grace period."""
        self.drain.begin()
        self.drain.heard()
        self.inflight.put_back_waiting(longer_than=0)
        self.interrupter.interrupt_all(Shutdown, only=lambda one: one.notify_shutdown is True)
        self._grace_period.begin()

    def stop(self) -> None:
        """Write the last outcomes and leave the registry."""
        self.watchdog.stop()
        # A row may be locked for longer than a lease, and the work of an outcome that is not written is done again.
        patience = max(conf.WORKER_LEASE_SECONDS, self._grace_period.seconds_left - LEAVING_SECONDS)
        flushed = self.completer.stop(timeout=patience)
        self.heartbeat.stop()
        self.reporter.stop()
        self._sampler.stop()
        self.interrupter.stop()
        self.inflight.put_back_unstarted()
        self.is_finished = flushed and not len(self.inflight)
        if self.is_finished:
            self._leave()
        else:
            log.error("worker ends while it holds tasks; the sweeper will rescue them", count=len(self.inflight))
        self._broker.make_consumer = None
        connections.close_all()
        self._grace_period.cancel()

    def say_ending(self, ending: Ending) -> None:
        """Tell the supervisor why this process ends: an end without a reason counts as a crash."""
        self._recorder.end_process(ending)

    def _end_hard(self) -> None:
        self.watchdog.end(Fault(Ending.UNFINISHED, EXIT_UNFINISHED, "its stop hangs"))

    def _interrupt_rest(self) -> None:
        log.warning("grace period is over; running tasks are interrupted and put back", count=len(self.inflight))
        self.interrupter.interrupt_all(Shutdown, only=lambda one: one.notify_shutdown is not False)

    def _sample(self) -> None:
        metrics.worker_threads.set(self._worker.worker_threads)
        metrics.busy_threads.set(self.interrupter.running)
        metrics.backlog.set(self.completer.backlog)

    @staticmethod
    def _clear_gauges() -> None:
        for gauge in (metrics.worker_threads, metrics.busy_threads, metrics.backlog):
            gauge.set(0)

    def _leave(self) -> None:
        try:
            workers.leave(self.inflight.worker_id)
        except DatabaseProblem as error:
            log.warning("cannot leave the registry; the lease will run out", error=str(error))


def _served(broker: CallboardBroker, whitelist: set[str] | None) -> list[str]:
    declared = sorted(filter(is_broker_queue, broker.get_declared_queues()))
    asked = {band for name in whitelist or declared for band in bands_named(name)}
    unknown = shortest_names(asked - set(declared))
    if unknown or not asked:
        queues = ", ".join(shortest_names(declared)) or "none"
        raise SystemExit(f"no actor declares {', '.join(unknown) or 'any queue'}; declared are: {queues}")
    return [name for band in BANDS for name in declared if name in asked and name.endswith(f".{band.name}")]
