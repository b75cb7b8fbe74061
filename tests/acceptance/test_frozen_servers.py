"""Servers that stand still while callers go on: who is told what, after how long, and what works again afterwards.

The table in docs/guarantees.md shows these tests.
"""

import contextlib
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.acceptance.harness.api import Api
from tests.acceptance.harness.faults import frozen, locked, without_free_connections
from tests.acceptance.harness.proxy import Proxy
from tests.acceptance.harness.rig import Rig
from tests.acceptance.harness.servers import Databases
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

#: What the api is started with.
BUDGET_SECONDS, QUEUE_SECONDS = 3.0, 2.0
#: Until the watcher looks, a thread gets the processor and the answer is read, on a busy machine.
MARGIN_SECONDS = 2.0
#: Per path: more than the rig's api has threads.
CALLS = 6
RECOVERY_SECONDS = 8.0
CSRF = "a" * 32

Method = str
#: Every kind of request that asks the database, with what a caller sends.
ASKING: list[tuple[Method, str, dict[str, str]]] = [
    ("GET", "/api/v1/tasks", {}),
    ("POST", "/api/v1/tasks", {}),
    ("GET", "/api/v1/tasks?tag=red", {}),
    ("GET", "/admin/", {"Cookie": f"sessionid={'s' * 32}"}),
    ("GET", "/admin/callboard/task/?q=red", {"Cookie": f"sessionid={'s' * 32}"}),
    ("POST", "/admin/login/", {"Cookie": f"csrftoken={CSRF}"}),
]
#: What needs no server.
FREE = ["/healthz", "/static/callboard/admin.css", "/nothing", "/api/schema", "/admin/login/"]


class Reply(NamedTuple):
    status: int
    seconds: float
    body: bytes


class Callers:
    """Callers of one api, of every kind and many at a time."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def call(self, method: Method, path: str, headers: dict[str, str]) -> Reply:
        fields = dict(headers)
        data = None
        if path.startswith("/api"):
            fields |= {"Authorization": f"Bearer {self.api._token}", "Content-Type": "application/json"}
            data = b'{"actor": "effect"}' if method == "POST" else None
        elif method == "POST":
            data = f"username=root&password=x&csrfmiddlewaretoken={CSRF}".encode()
        request = urllib.request.Request(self.api._root + path, data, fields, method=method)
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Reply(answer.status, time.monotonic() - began, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, time.monotonic() - began, error.read())

    def probe(self, path: str) -> Reply:
        return self.call("GET", path, {})

    def crowd(self) -> list[Reply]:
        """Ask everything at once."""
        with ThreadPoolExecutor(len(ASKING) * CALLS) as pool:
            return [one.result() for one in [pool.submit(self.call, *asking) for asking in ASKING * CALLS]]

    @contextmanager
    def calling(self) -> Iterator[list[Reply]]:
        """Ask everything at once, and go on meanwhile."""
        replies: list[Reply] = []
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(self.crowd)
            yield replies
            replies += future.result()

    def work_again(self) -> float:
        """Wait until everything works, and tell how long that took."""
        began = time.monotonic()
        wait_until(lambda: self.probe("/readyz").status == 200, timeout=RECOVERY_SECONDS, what="/readyz to be 200")
        wait_until(
            lambda: {one.status for one in self.crowd()} <= {200, 201, 302}, timeout=RECOVERY_SECONDS, what="all calls"
        )
        return time.monotonic() - began


@pytest.fixture
def proxy(databases: Databases) -> Iterator[Proxy]:
    proxy = Proxy(databases.server.url)
    yield proxy
    proxy.close()


@pytest.fixture
def callers(rig: Rig, proxy: Proxy) -> Callers:
    rig.was_verified = True
    behind = urlsplit(rig.database.url)._replace(netloc=urlsplit(proxy.url).netloc)
    env = {
        "SUBMIT_RATE_LIMIT": "1000/s",
        "LOGIN_RATE_LIMIT": "0",
        "REQUEST_DATABASE_SECONDS": str(BUDGET_SECONDS),
        "REQUEST_QUEUE_SECONDS": str(QUEUE_SECONDS),
        "DATABASE_URL": urlunsplit(behind),
    }
    callers = Callers(rig.start_api(env=env))
    # Staff is not limited, and would not notice a frozen Redis.
    rig.database.query("UPDATE auth_user SET is_staff = false, is_superuser = false RETURNING id")
    callers.work_again()
    return callers


Fault = Callable[[Rig, Databases, Proxy], AbstractContextManager[None]]
SILENT: dict[str, Fault] = {
    "PostgreSQL is stopped": lambda _rig, databases, _proxy: frozen(databases.server),
    "the network drops packets": lambda _rig, _databases, proxy: proxy.holding(),
}


def assert_told(replies: list[Reply], *, statuses: set[int]) -> None:
    slowest = max(reply.seconds for reply in replies)
    assert {reply.status for reply in replies} <= statuses
    assert slowest < QUEUE_SECONDS + BUDGET_SECONDS + MARGIN_SECONDS
    for reply in replies:
        assert b"Traceback" not in reply.body
        if reply.status == 503:
            assert b"Error 503" in reply.body or json.loads(reply.body)["detail"]


@pytest.mark.parametrize("fault", SILENT)
def test_a_silent_database_is_told_of_in_time_and_soon_at_once(
    callers: Callers, rig: Rig, databases: Databases, proxy: Proxy, fault: str
) -> None:
    with SILENT[fault](rig, databases, proxy):
        with callers.calling() as first:
            # The answer of a moment ago counts for a second.
            wait_until(lambda: callers.probe("/readyz").status == 503, timeout=2.5, what="/readyz to say so")
            for _ in range(10):
                assert (reply := callers.probe("/healthz")).status == 200
                assert reply.seconds < 1
                assert (reply := callers.probe("/readyz")).status == 503
                assert reply.seconds < 2
        assert_told(first, statuses={503})
        # Now it is known.
        later = callers.crowd()
        assert_told(later, statuses={503})
        assert max(reply.seconds for reply in later) < 1.5
        for path in FREE:
            reply = callers.probe(path)
            assert (reply.status, reply.seconds < 1.5) == (404 if path == "/nothing" else 200, True), path
        for _ in range(30):
            assert callers.probe("/readyz").seconds < 2
    callers.work_again()


def test_a_frozen_redis_slows_hardly_anybody(callers: Callers, rig: Rig) -> None:
    with frozen(rig.redis):
        first = callers.crowd()
        assert {reply.status for reply in first} <= {200, 201, 302}
        assert max(reply.seconds for reply in first) < 4
        later = [callers.call("POST", "/api/v1/tasks", {}) for _ in range(20)]
        assert {reply.status for reply in later} == {201}
        assert max(reply.seconds for reply in later) < 0.9
        reply = callers.probe("/health")
        components = json.loads(reply.body)["components"]
        assert (components["limiter"], components["broker"], reply.status) == ("down", "down", 200)
        assert reply.seconds < 2
    wait_until(
        lambda: json.loads(callers.probe("/health").body)["components"]["limiter"] == "ok",
        timeout=RECOVERY_SECONDS,
        what="the limiter to be asked again",
    )


def test_both_frozen(callers: Callers, rig: Rig, databases: Databases) -> None:
    with frozen(databases.server), frozen(rig.redis):
        with callers.calling() as first:
            time.sleep(0.3)
            for _ in range(5):
                assert callers.probe("/healthz").seconds < 1
                assert callers.probe("/readyz").seconds < 2
        assert_told(first, statuses={503})
        assert max(reply.seconds for reply in callers.crowd()) < 1.5
    callers.work_again()


@pytest.mark.parametrize("table", ["callboard_task", "callboard_apitoken", "django_session", "auth_user"])
def test_a_locked_table_holds_nobody_for_longer_than_the_budget(callers: Callers, rig: Rig, table: str) -> None:
    with locked(rig.database, table):
        with callers.calling() as replies:
            time.sleep(0.3)
            for _ in range(5):
                assert callers.probe("/healthz").seconds < 1
                assert (reply := callers.probe("/readyz")).status == 200
                assert reply.seconds < 2
        assert_told(replies, statuses={200, 201, 302, 503})
        assert 503 in {reply.status for reply in replies}
    callers.work_again()


def test_without_a_free_connection(callers: Callers, rig: Rig) -> None:
    with without_free_connections(rig.database):
        replies = callers.crowd()
        assert_told(replies, statuses={503})
        assert (reply := callers.probe("/readyz")).status == 503
        assert reply.seconds < 2
    callers.work_again()


@contextmanager
def unanswering() -> Iterator[int]:
    """Listen without taking any connection, so that the next ones get no answer at all."""
    with ExitStack() as stack:
        door = stack.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(door.getsockname())
        yield door.getsockname()[1]


def test_a_database_behind_a_firewall_is_told_of_in_time(rig: Rig) -> None:
    rig.was_verified = True
    with unanswering() as port:
        env = {
            "SUBMIT_RATE_LIMIT": "0",
            "REQUEST_DATABASE_SECONDS": str(BUDGET_SECONDS),
            "REQUEST_QUEUE_SECONDS": str(QUEUE_SECONDS),
            "DATABASE_URL": f"postgres://callboard:x@127.0.0.1:{port}/callboard",
        }
        callers = Callers(rig.start_api(env=env))
        with callers.calling() as first:
            time.sleep(0.3)
            for _ in range(5):
                assert callers.probe("/healthz").seconds < 1
                assert (reply := callers.probe("/readyz")).status == 503
                assert reply.seconds < 2
        assert_told(first, statuses={503})
        later = callers.crowd()
        assert max(reply.seconds for reply in later) < 1.5
