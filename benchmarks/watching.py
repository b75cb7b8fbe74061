"""Watchers: a thousand streams of events from one api process, what they cost, and how late an event is."""

import contextlib
import json
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2

from benchmarks.http import ISSUE, await_server
from scheduler_site.embedded.processes import free_port

if TYPE_CHECKING:
    from benchmarks.stack import Contestant, Stack

WATCHERS, SECONDS, COMMITS_PER_SECOND = 1_000, 10.0, 50

_REPORT = "UPDATE callboard_task SET progress = jsonb_build_object('number', %s) WHERE id = %s"


def watchers(stack: "Stack", contestant: "Contestant") -> Mapping[str, float]:
    """Measure Callboard's; plain Dramatiq has none."""
    if contestant.name != "Callboard":
        return {}
    secret = stack.run([sys.executable, "-c", ISSUE]).strip()
    with _api(stack) as (port, api):
        ids = _submit(port, secret)
        memory = api.memory_info().rss
        streams = _open(port, secret, ids)
        try:
            reader = Reader(streams)
            reader.wait_for_all()
            more = api.memory_info().rss - memory
            postgres = psutil.Process(stack.postgres.pid)
            still = _cpu(api), _cpu(postgres)
            time.sleep(SECONDS)
            idle = [
                (after - before) / SECONDS * 100
                for before, after in zip(still, (_cpu(api), _cpu(postgres)), strict=True)
            ]
            busy = _cpu(api)
            late = _late(stack, ids, reader)
            busy = (_cpu(api) - busy) / SECONDS * 100
        finally:
            for one in streams.values():
                one.close()
    return {
        f"{WATCHERS:,} watchers, memory of the api for each, kB": more / WATCHERS / 1000,
        f"{WATCHERS:,} watchers, nothing happens, api, % of a core": idle[0],
        f"{WATCHERS:,} watchers, nothing happens, PostgreSQL, % of a core": idle[1],
        f"{WATCHERS:,} watchers, {COMMITS_PER_SECOND} events/s, api, % of a core": busy,
        f"{WATCHERS:,} watchers, commit to event, p50 ms": statistics.median(late),
        f"{WATCHERS:,} watchers, commit to event, p95 ms": statistics.quantiles(late, n=20)[-1],
    }


@contextlib.contextmanager
def _api(stack: "Stack") -> Iterator[tuple[int, psutil.Process]]:
    port, most = free_port(), str(WATCHERS + 100)
    environment = {"API_CONNECTIONS": str(2 * WATCHERS), "MAX_WATCHERS": most, "MAX_WATCHERS_PER_USER": most}
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "benchmarks.wsgi", "-b", f"127.0.0.1:{port}"],
        env={**stack.environment, **environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_server(port)
        (worker,) = psutil.Process(server.pid).children()
        yield port, worker
    finally:
        server.terminate()
        server.wait()


def _submit(port: int, secret: str) -> list[str]:
    tasks = [{"actor": "noop", "payload": {"number": 1}, "delay_seconds": 3600} for _ in range(WATCHERS)]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/tasks/bulk", json.dumps({"tasks": tasks}).encode(),
        {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return [one["id"] for one in json.load(answer)["tasks"]]


def _open(port: int, secret: str, ids: list[str]) -> dict[str, socket.socket]:
    streams = {}
    for id in ids:
        sock = streams[id] = socket.create_connection(("127.0.0.1", port))
        sock.sendall(
            f"GET /api/v1/tasks/{id}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
    return streams


class Reader:
    """Reads all streams in one thread, and notes when an event came."""

    def __init__(self, streams: Mapping[str, socket.socket]) -> None:
        self.arrived: dict[int, float] = {}
        self._begun: set[str] = set()
        self._count = len(streams)
        self._selector = selectors.DefaultSelector()
        for id, sock in streams.items():
            self._selector.register(sock, selectors.EVENT_READ, id)
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_all(self) -> None:
        """Wait until each watcher was told how its task stands."""
        deadline = time.monotonic() + 60
        while len(self._begun) < self._count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {len(self._begun)} of {self._count} watchers were told anything")
            time.sleep(0.05)

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock: Any = key.fileobj
                try:
                    data = sock.recv(65536)
                except OSError:
                    return
                now = time.time()
                if not data:
                    self._selector.unregister(sock)
                if b"event: status" in data:
                    self._begun.add(key.data)
                for line in data.splitlines():
                    if line.startswith(b"data: ") and b'"type":"progress"' in line:
                        self.arrived[json.loads(line[6:])["progress"]["number"]] = now


def _late(stack: "Stack", ids: list[str], reader: Reader) -> list[float]:
    """Commit at an even pace, and tell by how many milliseconds each event came later."""
    committed = {}
    with contextlib.closing(psycopg2.connect(stack.postgres.url)) as session, session.cursor() as cursor:
        session.autocommit = True
        began = time.time()
        for number in range(int(SECONDS * COMMITS_PER_SECOND)):
            time.sleep(max(0.0, began + number / COMMITS_PER_SECOND - time.time()))
            cursor.execute(_REPORT, (number, ids[number % len(ids)]))
            committed[number] = time.time()
    time.sleep(1)
    missing = committed.keys() - reader.arrived.keys()
    if missing:
        raise SystemExit(f"{len(missing)} of {len(committed)} events did not come")
    return [(reader.arrived[number] - at) * 1000 for number, at in committed.items()]


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its children."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total
