"""Dramatiq's brokers as Callboard uses them: stock classes and one mixin.

A sent message becomes a row (``enqueue``), a queue has a band for each third of its priorities and no delay queue
(``declare_queue``), and a worker claims tasks from PostgreSQL before it runs them (``consume``). Only the dispatcher
publishes, through ``source``.
"""

import asyncio
import logging
from collections.abc import Callable
from queue import Queue
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from dramatiq import Actor, Message, Middleware, get_encoder
from dramatiq import broker as stock_broker
from dramatiq.broker import Consumer
from dramatiq.brokers import redis as stock_redis
from dramatiq.brokers import stub as stock_stub
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import QueueNotFound
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    GroupCallbacks,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from dramatiq.results import Results
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks import registry
from tasks.broker import dramatiq_internals, redis_url
from tasks.broker.groups import TaskGroups
from tasks.broker.results import TaskResults
from tasks.broker.sources.base import Source
from tasks.broker.sources.inprocess import InProcessSource
from tasks.broker.sources.redis import RedisSource
from tasks.conf import conf
from tasks.errors import NotSupported
from tasks.priority import broker_queues, is_broker_queue

if TYPE_CHECKING:
    from dramatiq import Broker as _Stock
else:
    _Stock = object

logger = logging.getLogger(__name__)

#: Dramatiq's default of an actor's ``queue_name``.
UNNAMED_QUEUE = "default"

dramatiq_internals.make_ids_of_messages_task_ids()

#: Seconds until a call to Redis counts as failed. The client itself never retries: a script could run twice.
REDIS_TIMEOUT_SECONDS = 5.0


#: Dramatiq's middleware whose work is done by rows. Beside that it would do it a second time, a retry above all.
REPLACED = (AgeLimit, Callbacks, GroupCallbacks, Pipelines, Retries, ShutdownNotifications, TimeLimit)


class CallboardBroker(_Stock):
    """The part that all brokers share."""

    source: Source
    #: Makes the consumer of a broker queue; set by a worker for as long as this process is one.
    make_consumer: Callable[[str], Consumer] | None = None

    def add_middleware(self, middleware: Middleware, *, before: Any = None, after: Any = None) -> None:
        """Add a middleware, where Dramatiq would add it; leave out one whose work is done by rows.

        Raises:
            NotSupported: it is left out, and has other defaults than Dramatiq's, or is a class of the team's own.
        """
        if isinstance(middleware, REPLACED) and not isinstance(middleware, TaskGroups):
            _leave_out(middleware)
            return
        super().add_middleware(middleware, before=self._in_place_of(before), after=self._in_place_of(after))

    def _in_place_of(self, stock: Any) -> Any:
        ours = (type(one) for one in self.middleware if stock in getattr(one, "in_place_of", ()))
        return next(ours, stock)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Submit a message as a task in the caller's transaction and return it.

        The task has the message's id. A message that was submitted before comes back with the id of its new task.

        Raises:
            InvalidTask: the arguments do not fit the actor; nothing is written.
            NotSupported: called inside a running event loop, or with an encoder that makes no JSON.
        """
        # Not at the top: django-dramatiq builds the broker before Django has models.
        from tasks import lifecycle
        from tasks.broker.send import submission_of
        from tasks.models.ids import usable_id

        _refuse_event_loop()
        _refuse_encoder()
        self.emit_before("enqueue", message, delay)
        submission = submission_of(message, delay=delay)
        task_id = str(lifecycle.accept(submission))
        if message.message_id != task_id and usable_id(submission.message_id):
            message = message.copy(message_id=task_id)
        self.emit_after("enqueue", message, delay)
        return message

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        """Declare an actor; one that names no queue is of ``DEFAULT_QUEUE``."""
        if actor.queue_name == UNNAMED_QUEUE:
            actor.queue_name = conf.DEFAULT_QUEUE
        super().declare_actor(actor)

    def declare_queue(self, queue_name: str) -> None:
        """Declare the bands of a queue; a delayed task is a row with ``run_at``, so there are no delay queues."""
        if is_broker_queue(queue_name):
            # For a worker that is told to serve it, the name would be ambiguous.
            raise ValueError(f"expected a queue name without a band's ending, got {queue_name!r}: rename the queue")
        for band in broker_queues(queue_name):
            if band in self.queues:
                continue
            self.emit_before("declare_queue", band)
            self._add_queue(band)
            self.emit_after("declare_queue", band)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> Consumer:
        """Return the process's one consumer; the worker lets Dramatiq start a single consumer thread."""
        assert self.make_consumer is not None, "consume() needs a worker: start it with runworkers or rundramatiq"
        return self.make_consumer(queue_name)

    def join(
        self, queue_name: str, *, timeout: int | None = None, fail_fast: bool | None = None, interval: int = 100
    ) -> None:
        """Wait until the tasks of a queue have ended, those with a delay and retries too; for tests with real workers.

        Parameters:
            timeout, interval: in milliseconds, as in Dramatiq.
            fail_fast: raise if a task died; by default as in Dramatiq, where only the in-process broker does.

        Raises:
            QueueNotFound: no actor declares the queue.
            QueueJoinTimeout, ResultFailure, NotSupported: see ``tasks.broker.join``.
        """
        # Not at the top: django-dramatiq builds the broker before Django has models.
        from tasks.broker.join import join

        self._require_queue(queue_name)
        join(
            queue_name,
            timeout_seconds=None if timeout is None else timeout / 1000,
            interval_seconds=interval / 1000,
            fail_fast=getattr(self, "fail_fast_default", False) if fail_fast is None else fail_fast,
        )

    def flush(self, queue_name: str) -> None:
        """Cancel the tasks of a queue that wait. Dead letters stay, and so does what runs.

        Raises:
            QueueNotFound: no actor declares the queue.
        """
        # Not at the top: django-dramatiq builds the broker before Django has models.
        from tasks.broker.flush import flush

        self._require_queue(queue_name)
        flush(queue_name)

    def flush_all(self) -> None:
        """Cancel the tasks of all queues that wait."""
        from tasks.broker.flush import flush

        for queue_name in registry.queue_names():
            flush(queue_name)

    def _require_queue(self, queue_name: str) -> None:
        if not self.get_declared_queues().issuperset(broker_queues(queue_name)):
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]

    def _add_queue(self, band: str) -> None:
        # Dramatiq's networked brokers keep a set of names.
        self.queues.add(band)


def _leave_out(middleware: Middleware) -> None:
    kind = type(middleware)
    # A group's barrier is a row, whatever back end was given for it.
    make: Any = kind
    is_usual = kind is GroupCallbacks or (kind in REPLACED and _parameters(middleware) == _parameters(make()))
    if not is_usual:
        raise NotSupported(
            f"{kind.__name__} is a middleware of Dramatiq whose work is done by rows here, and would do it twice: "
            "remove it, and set its defaults by DEFAULT_MAX_RETRIES, DEFAULT_TIME_LIMIT_SECONDS and the like"
        )
    logger.warning("%s is left out: its work is done by rows. Remove it from your middleware.", kind.__name__)


def _parameters(middleware: Middleware) -> dict[str, Any]:
    return {name: value for name, value in vars(middleware).items() if name not in ("logger", "manager")}


def refuse_early_actors() -> None:
    """Refuse to begin if actors are bound to another broker, because they were imported before this one existed.

    Their messages would go to that broker's server, where Callboard's workers do not look.
    """
    early = stock_broker.global_broker
    if early is not None and not isinstance(early, CallboardBroker) and early.actors:
        names = ", ".join(sorted(early.actors))
        raise ImproperlyConfigured(
            f"actors were declared before Callboard's broker existed, and are bound to {type(early).__name__}: "
            f"{names:.300}. Import their modules after django.setup(), not from settings."
        )


def _refuse_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise NotSupported("send() writes a row and would block this event loop: use `await sync_to_async(actor.send)(…)`")


def _refuse_encoder() -> None:
    if type(get_encoder()) is not JSONEncoder:
        name = type(get_encoder()).__name__
        raise NotSupported(
            f"tasks are stored as JSON; {name} would be ignored: remove set_encoder() or DRAMATIQ_ENCODER"
        )


def with_ours(middleware: list[Any] | None) -> list[Any]:
    """Add the middleware of Dramatiq's options that work without its own back ends: results and groups."""
    # Dramatiq's own Results, or it would warn of every result that it "has been discarded".
    make: Any = Results
    results = make(backend=TaskResults(), store_results=True)
    for hook in ("after_process_message", "after_skip_message", "after_nack"):
        # Middleware's own hooks, which do nothing: the completer stores results.
        setattr(results, hook, getattr(super(Results, results), hook))
    return [*(middleware or []), results, TaskGroups()]


class RedisBroker(CallboardBroker, stock_redis.RedisBroker):
    """Hints through Redis.

    Parameters:
        url: see ``tasks.broker.redis_url``.
        namespace: prefix of every key.
    """

    def __init__(self, *, url: str, middleware: list[Any] | None = None, namespace: str = "callboard") -> None:
        refuse_early_actors()
        client = redis_url.client(
            url,
            socket_timeout=REDIS_TIMEOUT_SECONDS,
            socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        super().__init__(  # type: ignore[no-untyped-call]
            client=client, middleware=with_ours(middleware), namespace=namespace, maintenance_chance=0
        )
        self.source = RedisSource(self)


class InProcessBroker(CallboardBroker, stock_stub.StubBroker):
    """Hints through memory, for a scheduler and workers that share a process."""

    def __init__(self, *, middleware: list[Any] | None = None) -> None:
        refuse_early_actors()
        super().__init__(middleware=with_ours(middleware))
        self.source = InProcessSource(self)

    def _add_queue(self, band: str) -> None:
        self.queues[band] = Queue()
