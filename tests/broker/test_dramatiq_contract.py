"""What the engine takes for granted about Dramatiq 2.2: an upgrade that changes any of it fails here first.

One test for each private name in ``tasks.broker.dramatiq_internals`` and each habit that the engine builds on, in the
order of a task's life.
"""

import asyncio as python_asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from typing import Any
from uuid import UUID

import dramatiq
import pytest
from dramatiq import Message, asyncio
from dramatiq.asyncio import async_to_sync
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers import redis as stock_redis
from dramatiq.brokers.redis import RedisBroker as StockRedis
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Interrupt, Shutdown, TimeLimitExceeded
from dramatiq.middleware.middleware import MiddlewareError
from dramatiq.results import Missing, ResultBackend, Results
from dramatiq.threading import raise_thread_exception, thread_id_ctype
from dramatiq.worker import _WorkQueueItem, has_results_middleware

from tasks import registry
from tasks.broker import dramatiq_internals
from tasks.broker.brokers import InProcessBroker, RedisBroker
from tasks.models import new_id
from tasks.models.ids import usable_id
from tests.waiting import wait_until


def test_the_minor_version_is_the_one_that_this_was_written_for() -> None:
    assert version("dramatiq").startswith("2.2."), "read the changelog and worker.py, then raise this"


# --- The Redis broker: keys, script, arguments ---


@pytest.fixture
def stock(redis_url: str) -> Iterator[StockRedis]:
    broker: Any = StockRedis(url=redis_url, namespace=f"contract-{new_id()}", maintenance_chance=0)
    yield broker
    keys = broker.client.keys(f"{broker.namespace}:*")
    if keys:
        broker.client.delete(*keys)
    broker.close()


def test_the_script_takes_its_arguments_in_the_order_that_we_give_them() -> None:
    folder = Path(stock_redis.__file__).parent / "redis"
    lua = (folder / "dispatch.lua").read_text()
    found = dict(re.findall(r"local (\w+) = ARGV\[(\d)\]", lua))
    assert list(found) == [
        "command", "timestamp", "queue_name", "worker_id", "heartbeat_timeout", "dead_message_ttl", "do_maintenance",
        "max_unpack_size",
    ]  # fmt: skip
    assert list(found.values()) == [str(place) for place in range(1, 9)]
    assert "for i=9,#ARGV do" in lua
    assert 'if do_maintenance == "1"' in lua


def test_stock_calls_send_the_arguments_that_we_send(stock, monkeypatch) -> None:
    sent: list[Any] = []
    monkeypatch.setitem(stock.scripts, "dispatch", lambda *, args, keys: sent.append((keys, args)))
    stock.do_ack("default.high", "id")
    ((keys, args),) = sent
    assert keys == [stock.namespace]
    assert (args[0], args[2], args[3]) == ("ack", "default.high", stock.broker_id)
    unpack = dramatiq_internals.max_unpack_size(stock)
    assert args[4:8] == [stock.heartbeat_timeout, stock.dead_message_ttl, 0, unpack]
    assert args[8:] == ["id"]


def test_the_stock_script_keeps_its_keys_where_we_look(stock) -> None:
    client, namespace = stock.client, stock.namespace
    stock.do_enqueue("q", "id", b"body")
    assert client.lrange(f"{namespace}:q", 0, -1) == [b"id"]
    assert client.hgetall(f"{namespace}:q.msgs") == {b"id": b"body"}
    assert stock.do_fetch("q", 5) == [b"body"]
    assert client.smembers(f"{namespace}:__acks__.{stock.broker_id}.q") == {b"id"}
    assert client.zrange(f"{namespace}:__heartbeats__", 0, -1) == [stock.broker_id.encode()]
    stock.do_requeue("q", "id")
    assert client.lrange(f"{namespace}:q", 0, -1) == [b"id"]
    stock.do_fetch("q", 5)
    stock.do_ack("q", "id")
    assert {key.decode() for key in client.keys(f"{namespace}:*")} == {f"{namespace}:__heartbeats__"}


def test_the_script_has_a_digest_and_a_text() -> None:
    broker: Any = StockRedis(url="redis://127.0.0.1:1")
    script = broker.scripts["dispatch"]
    assert re.fullmatch("[0-9a-f]{40}", script.sha)
    assert b"fetch" in script.script
    assert isinstance(broker.queues, set)
    assert broker.heartbeat_timeout == 60_000


def test_maintenance_never_runs_by_itself() -> None:
    broker = RedisBroker(url="redis://127.0.0.1:1")
    assert broker.maintenance_chance == 0
    assert {broker._should_do_maintenance("fetch") for _ in range(1000)} == {0}


def test_stub_queues_are_a_dict_of_queues() -> None:
    assert StubBroker().queues == {}
    broker = InProcessBroker()
    broker.declare_queue("default")
    assert set(broker.queues) == {"default.high", "default.medium", "default.low"} == broker.get_declared_queues()


# --- The worker ---


def worker() -> Any:
    return dramatiq.Worker(StubBroker(), worker_threads=3)


def test_a_worker_has_what_the_runtime_replaces_and_reads() -> None:
    one = worker()
    assert (one.worker_threads, one.consumer_whitelist, one.workers, one.consumers) == (3, None, [], {})
    assert dramatiq.Worker(StubBroker(), queues={"a"}).consumer_whitelist == {"a"}
    assert one.work_queue.queue == []


def test_the_queue_and_the_whitelist_may_be_replaced_before_the_boot() -> None:
    # start() calls the hook first, and then gives the queue of that moment to consumers and threads.
    source = inspect.getsource(dramatiq.Worker.start)
    assert source.index('emit_before("worker_boot"') < source.index("add_middleware") < source.index("_add_worker")
    assert "self.consumer_whitelist and canonical_name not in" in inspect.getsource(dramatiq.Worker._add_consumer)
    for method in (dramatiq.Worker._add_consumer, dramatiq.Worker._add_worker):
        assert "work_queue=self.work_queue" in inspect.getsource(method)


def test_items_of_the_work_queue_have_a_message() -> None:
    message = MessageProxy(Message("q", "a", (), {}, {}))
    assert _WorkQueueItem(0, message).message is message


def test_a_consumer_ignores_the_items_left_in_the_work_queue_at_the_end() -> None:
    # The worker's own code puts them back.
    assert Consumer().requeue([]) is None  # type: ignore[func-returns-value]


def test_a_messages_error_and_attributes_are_where_we_read_them() -> None:
    message = MessageProxy(Message("q", "a", (1,), {"b": 2}, {}))
    error = RuntimeError("x")
    message.stuff_exception(error)
    assert dramatiq_internals.exception_of(message) is error
    assert (message.failed, message.actor_name, message.args, message.kwargs) == (False, "a", (1,), {"b": 2})


def test_a_message_is_made_with_an_id_that_its_task_can_have() -> None:
    dramatiq_internals.make_ids_of_messages_task_ids()
    made: Message[Any] = Message("q", "a", (), {}, {})
    assert usable_id(made.message_id) is not None
    # Copies, of which groups and pipelines are made, keep it.
    assert made.copy(options={"x": 1}).message_id == made.asdict()["message_id"] == made.message_id
    assert UUID(made.message_id).int >> 80 == pytest.approx(made.message_timestamp, abs=1_000)


def test_a_plain_function_of_a_coroutine_function_is_known_by_its_code() -> None:
    async def work() -> None: ...

    made = async_to_sync(work)
    assert registry.is_made_by_dramatiq(made)
    assert registry.declared(made) is work
    assert not registry.is_made_by_dramatiq(test_a_message_is_made_of_these_fields)


def test_a_message_is_made_of_these_fields() -> None:
    message: Message[Any] = Message("q", "a", (1,), {}, {"x": 1}, message_id="id", message_timestamp=5)
    assert Message(**message.asdict()) == message
    assert set(message.asdict()) == {
        "queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp",
    }  # fmt: skip


def test_the_worker_finds_a_messages_consumer_by_its_queue_and_does_so_in_the_end() -> None:
    source = inspect.getsource(dramatiq.worker.WorkerThread.process_message)
    assert "self.consumers[message.queue_name].post_process_message(message)" in source.partition("finally:")[2]
    assert 'message.options.get("throws")' in source


def test_threads_that_were_never_started_process_a_message() -> None:
    calls: list[str] = []

    class Noting(Consumer):
        def ack(self, message: MessageProxy) -> None:
            calls.append("ack")

    broker, queue = StubBroker(), Queue[Any]()
    options: Any = {"broker": broker, "work_queue": queue, "worker_timeout": 0}
    dramatiq.actor(lambda: calls.append("run"), broker=broker, actor_name="a")  # type: ignore[call-overload]
    consumer = dramatiq.worker.ConsumerThread(queue_name="", prefetch=1, **options)
    consumer.consumer = Noting()
    thread = dramatiq.worker.WorkerThread(consumers={"default": consumer}, **options)
    queue.put("a message")
    thread.process_message(MessageProxy(Message("default", "a", (), {}, {})))
    assert calls == ["run", "ack"]
    assert queue.unfinished_tasks == 0


def test_an_eta_would_delay_in_the_worker() -> None:
    source = inspect.getsource(dramatiq.worker.ConsumerThread.handle_message)
    assert '"eta" in message.options' in source


def test_only_its_own_kind_of_error_leaves_a_hook() -> None:
    class Refuses(dramatiq.Middleware):
        def before_declare_actor(self, broker, actor) -> None:
            raise (MiddlewareError if actor.actor_name == "refused" else ValueError)("no")

    broker = StubBroker(middleware=[Refuses()])
    dramatiq.actor(actor_name="swallowed", broker=broker)(print)
    with pytest.raises(MiddlewareError):
        dramatiq.actor(actor_name="refused", broker=broker)(print)


def test_the_worker_believes_in_results_only_with_the_stock_class() -> None:
    class Ours(Results):
        pass

    backend: Any = ResultBackend()
    assert not has_results_middleware(StubBroker(middleware=[Ours(backend=backend)]))
    assert has_results_middleware(InProcessBroker())
    assert has_results_middleware(RedisBroker(url="redis://127.0.0.1:1"))


def test_a_result_backend_is_asked_by_these_names() -> None:
    class Backend(ResultBackend):
        def build_message_key(self, message) -> str:
            return "key"

        def _get(self, message_key: str) -> Any:
            return {"key": 7}.get(message_key, Missing)

        def unwrap_result(self, res: Any) -> Any:
            return res * 2

    assert Backend().get_result(Message("q", "a", (), {}, {})) == 14


def test_an_actors_function_may_be_replaced_after_its_declaration() -> None:
    class Wraps(dramatiq.Middleware):
        def after_declare_actor(self, broker, actor) -> None:
            function = actor.fn
            actor.fn = lambda: function() + 1

    broker = StubBroker(middleware=[Wraps()])
    assert dramatiq.actor(actor_name="one", broker=broker)(lambda: 1)() == 2


# --- Interrupts and the event loop ---


def test_the_reasons_are_interrupts() -> None:
    assert issubclass(Shutdown, Interrupt)
    assert issubclass(TimeLimitExceeded, Interrupt)
    assert not issubclass(Interrupt, Exception)


def test_an_exception_can_be_raised_in_a_thread() -> None:
    caught: list[type] = []
    is_inside = threading.Event()

    def wait() -> None:
        try:
            is_inside.set()
            until = time.monotonic() + 10
            while time.monotonic() < until:
                pass
        except Shutdown:
            caught.append(Shutdown)

    thread = threading.Thread(target=wait)
    thread.start()
    assert is_inside.wait(10)
    raise_thread_exception(thread.ident, Shutdown)
    thread.join(20)
    assert caught == [Shutdown]
    assert thread_id_ctype(2**40).value == 2**40


@pytest.fixture
def loop_thread() -> Iterator[asyncio.EventLoopThread]:
    thread = asyncio.EventLoopThread(logging.getLogger("contract"))
    thread.daemon = True
    thread.start(timeout=10)
    yield thread
    wait_until(lambda: not python_asyncio.all_tasks(thread.loop))
    thread.loop.call_soon_threadsafe(thread.loop.stop)
    thread.join(5)


@pytest.fixture
def result_is_awaited(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a thread is inside ``future.result()``: an interrupt that comes earlier cancels nothing."""
    awaited, stock = threading.Event(), Future.result

    def result(future: "Future[Any]", timeout: float | None = None) -> Any:
        awaited.set()
        return stock(future, timeout)

    monkeypatch.setattr(Future, "result", result)
    return awaited


def test_a_coroutine_that_outlives_its_cancellation_is_a_runtime_error_caused_by_the_interrupt(
    loop_thread, result_is_awaited
) -> None:
    is_running, is_over = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    async def resist() -> None:
        is_running.set()
        while not is_over.is_set():
            try:
                await python_asyncio.sleep(0.05)
            except python_asyncio.CancelledError:
                continue

    def run() -> None:
        try:
            loop_thread.run_coroutine(resist())
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert is_running.wait(10)
    assert result_is_awaited.wait(10)
    raise_thread_exception(thread.ident, TimeLimitExceeded)
    wait_until(lambda: raised)
    is_over.set()
    thread.join(5)
    assert type(raised[0]) is RuntimeError
    assert isinstance(raised[0].__cause__, TimeLimitExceeded)


def test_a_coroutine_that_heeds_its_cancellation_is_the_interrupt_itself(loop_thread, result_is_awaited) -> None:
    is_running = threading.Event()
    raised: list[BaseException] = []

    async def heed() -> None:
        is_running.set()
        await python_asyncio.sleep(20)

    def run() -> None:
        try:
            loop_thread.run_coroutine(heed())
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert is_running.wait(10)
    assert result_is_awaited.wait(10)
    raise_thread_exception(thread.ident, Shutdown)
    thread.join(20)
    assert isinstance(raised[0], Shutdown)


def test_there_is_one_loop_thread_and_it_can_be_replaced(loop_thread) -> None:
    before = asyncio.get_event_loop_thread()
    asyncio.set_event_loop_thread(loop_thread)
    try:
        assert asyncio.get_event_loop_thread() is loop_thread
    finally:
        asyncio.set_event_loop_thread(before)
