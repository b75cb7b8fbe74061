"""The scheduler process: leadership and the loops of the leader; several may run, one leads."""

from collections.abc import Set

import dramatiq

from tasks.broker.brokers import CallboardBroker, InProcessBroker
from tasks.broker.notifier import Event, Listener, notifier
from tasks.conf import conf
from tasks.errors import BrokerUnavailable
from tasks.lifecycle import workers
from tasks.log import get_logger
from tasks.scheduler.cron import Cron
from tasks.scheduler.dispatcher import Dispatcher
from tasks.scheduler.leadership import Leadership
from tasks.scheduler.loop import Loop
from tasks.scheduler.operations import OperationRunner
from tasks.scheduler.pruner import Pruner
from tasks.scheduler.settler import Settler
from tasks.scheduler.sweeper import Sweeper
from tasks.telemetry import labels, metrics
from tasks.telemetry.sampler import Sampler

log = get_logger(__name__)


def broker() -> CallboardBroker:
    """Return the process's broker; it must be one of Callboard's."""
    found = dramatiq.get_broker()
    assert isinstance(found, CallboardBroker), f"expected a broker of tasks.broker.brokers, got {type(found)}"
    return found


class Scheduler:
    """Everything that runs in ``runscheduler``."""

    def __init__(self) -> None:
        self._source = source = broker().source
        self._leadership = Leadership()
        self._dispatcher = Dispatcher(self._leadership, source)
        self._sweeper = Sweeper(self._leadership, source)
        self._pruner = Pruner(self._leadership)
        self._cron = Cron(self._leadership)
        self._settler = Settler(self._leadership, lambda: self._dispatcher.wake(from_front=False))
        self._operations = OperationRunner(self._leadership)
        self._listener = Listener(self.wake)
        #: Queue and band of each window that has been sampled.
        self._windows: set[tuple[str, str]] = set()
        self._sampler = Sampler(self._sample, clear=self._clear_gauges)
        self._loops: tuple[Loop, ...] = (
            *(self._leadership, self._dispatcher, self._sweeper),
            *(self._pruner, self._cron, self._settler, self._operations),
        )

    def start(self) -> None:
        """Start all loops; this process leads once the lease is free."""
        workers.declare_queues()
        if isinstance(broker(), InProcessBroker):
            notifier.local = self.wake
        for loop in self._loops:
            loop.start()
        self._listener.start()
        self._sampler.start()
        self._warn_of_misconfigurations()
        log.info("scheduler is ready", broker=conf.BROKER_URL.partition("://")[0])

    def stop(self) -> None:
        """Stop all loops and let another scheduler lead at once."""
        notifier.local = None
        self._listener.stop()
        self._sampler.stop()
        for loop in (*self._loops[1:], self._leadership):
            loop.stop()
        self._leadership.resign()
        log.info("scheduler has ended")

    def faults(self) -> list[str]:
        """Say which loops do not turn."""
        found = [loop.fault for loop in self._loops if loop.fault is not None]
        return found if self._listener.is_alive else [*found, "the thread of the listener is dead"]

    def _sample(self) -> None:
        metrics.leader_term.set(self._leadership.term or 0)
        metrics.scheduler_lag.set(self._dispatcher.lag_seconds)
        # Those of a former term, or of a queue that no worker serves any more, have none.
        hints = dict.fromkeys(self._windows, 0)
        for name, count in self._dispatcher.hints.items():
            queue, _, band = name.rpartition(".")
            key = labels.queue(queue), band
            hints[key] = hints.get(key, 0) + count
        for key, count in hints.items():
            metrics.window.labels(*key).set(count)
        self._windows = set(hints)

    def _clear_gauges(self) -> None:
        metrics.leader_term.set(0)
        metrics.scheduler_lag.set(0)
        for key in self._windows:
            metrics.window.labels(*key).set(0)

    def _warn_of_misconfigurations(self) -> None:
        try:
            for problem in self._source.misconfigurations():
                log.warning("the broker is not set up for hints", problem=problem)
        except BrokerUnavailable as error:
            log.warning("broker is away; tasks wait in the database", error=str(error))

    def wake(self, events: Set[Event]) -> None:
        """Wake the loops that these events are for."""
        if events & {Event.DUE, Event.DUE_ANYWHERE}:
            self._dispatcher.wake(from_front=Event.DUE_ANYWHERE in events)
        if Event.SETTLE in events:
            self._settler.wake()
        elif Event.COUNT in events:
            self._settler.wake_to_count()
        if Event.WORKER_ENDED in events:
            self._sweeper.wake()
