"""Fixtures for the engine: brokers for one test, and a whole engine inside the test's process."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dramatiq
import pytest
from django.utils.module_loading import import_string
from dramatiq import Worker as Dramatiq

from tasks.broker import notifier
from tasks.broker.brokers import InProcessBroker
from tasks.broker.dramatiq_settings import MIDDLEWARE
from tasks.models import Task
from tasks.scheduler.process import Scheduler
from tasks.states import FINAL
from tasks.worker import consumer
from tasks.worker import drain as drain_module
from tasks.worker import watchdog as watchdog_module
from tasks.worker.middleware import WorkerProcess
from tasks.worker.runtime import WorkerRuntime
from tests.waiting import wait_until


def middleware() -> list[Any]:
    """Make the middleware of the settings."""
    return [import_string(name)() for name in MIDDLEWARE]


@pytest.fixture
def inprocess_broker() -> Iterator[InProcessBroker]:
    """Make an in-process broker that knows every declared actor, and set it as the process's broker."""
    usual = dramatiq.get_broker()
    broker = InProcessBroker(middleware=middleware())
    functions = {actor: actor.fn for actor in usual.actors.values()}
    for actor in functions:
        broker.declare_actor(actor)
    dramatiq.set_broker(broker)
    yield broker
    dramatiq.set_broker(usual)
    for actor, function in functions.items():
        actor.fn = function


class Engine:
    """A scheduler and a worker in this process, over an in-process broker."""

    def __init__(self, broker: InProcessBroker) -> None:
        self.broker = broker
        self.scheduler = Scheduler()
        self.worker: Dramatiq | None = None
        #: Signals and exits that would have hit this process.
        self.signals: list[int] = []
        self.exits: list[int] = []

    @property
    def runtime(self) -> WorkerRuntime:
        """The worker's runtime."""
        process = next(one for one in self.broker.middleware if isinstance(one, WorkerProcess))
        assert process.runtime is not None
        return process.runtime

    def start_scheduler(self) -> None:
        """Start the scheduler and wait until it leads, so that a test's own dispatch names the same term."""
        self.scheduler.start()
        wait_until(lambda: self.scheduler._leadership.term is not None, what="the scheduler to lead")

    def start_worker(self, *, threads: int = 4, queues: set[str] | None = None) -> None:
        """Start a worker."""
        self.worker = Dramatiq(self.broker, queues=queues, worker_threads=threads, worker_timeout=20)
        self.worker.start()

    def stop_worker(self) -> None:
        """Stop the worker in order."""
        if self.worker is not None:
            self.worker.stop(timeout=10_000)
            self.worker = None

    def wait_for(self, *tasks: Task, timeout: float = 15) -> list[Task]:
        """Wait until the tasks have ended and return them as they are then."""
        ids = [task.pk for task in tasks]

        def ended() -> bool:
            return Task.objects.filter(pk__in=ids, status__in=FINAL).count() == len(ids)

        def stands() -> object:
            return list(Task.objects.filter(pk__in=ids).values_list("actor", "status", "error"))

        wait_until(ended, timeout=timeout, what=stands)
        found = Task.objects.in_bulk(ids)
        return [found[id] for id in ids]


@pytest.fixture
def idle_engine(
    inprocess_broker: InProcessBroker, direct_database: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """Give an engine without a running scheduler or worker."""
    settings.HEARTBEAT_INTERVAL_SECONDS = 0.1
    settings.SWEEP_INTERVAL_SECONDS = 0.1
    settings.SHUTDOWN_GRACE_SECONDS = 2
    engine = Engine(inprocess_broker)
    # A worker that finds a fault ends its process, which is the test's here.
    signals = SimpleNamespace(kill=lambda _pid, number: engine.signals.append(number), getpid=lambda: 0)
    monkeypatch.setattr(drain_module, "os", signals)
    monkeypatch.setattr(watchdog_module, "os", SimpleNamespace(_exit=engine.exits.append))
    # An idle consumer wakes this often by itself, so that a stop does not wait longer for it.
    monkeypatch.setattr(consumer, "IDLE_WAIT_SECONDS", 0.05)
    notifier.connect()
    yield engine
    engine.stop_worker()
    notifier.disconnect()


@pytest.fixture
def engine(idle_engine: Engine) -> Iterator[Engine]:
    """Start a scheduler and a worker with 4 threads."""
    idle_engine.start_scheduler()
    idle_engine.start_worker()
    yield idle_engine
    idle_engine.stop_worker()
    idle_engine.scheduler.stop()


@pytest.fixture
def scheduled(idle_engine: Engine) -> Iterator[Engine]:
    """Start a scheduler only; the test starts the worker."""
    idle_engine.start_scheduler()
    yield idle_engine
    idle_engine.stop_worker()
    idle_engine.scheduler.stop()
