"""The worker on the wire: which requests reach a thread, and what becomes of slow, large and broken ones."""

import http.client
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from gunicorn.config import Config
from prometheus_client.multiprocess import MultiProcessCollector

from scheduler_site import liveness, refusals
from scheduler_site.client_connection import Connection
from scheduler_site.gunicorn_worker import Worker
from tests.echo import LARGE_BYTES
from tests.echo_server import CLOSE, CONNECTIONS, HEALTH, ROOT, THREADS, Server, chunked, post, sizes
from tests.raw_http import connect, talk
from tests.waiting import wait_until

HEAD_SECONDS = 0.6
#: What takes less was not waiting for a client, however busy the machine is.
SOON_SECONDS = 8.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for hardly anything."""
    server = Server(tmp_path_factory.mktemp("impatient"), env={"REQUEST_HEAD_SECONDS": str(HEAD_SECONDS)})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose queue for threads is short."""
    server = Server(tmp_path_factory.mktemp("busy"), env={"REQUEST_QUEUE_SECONDS": "0.2"})
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def started(*arguments: str, **options: Any) -> Server:
        servers.append(Server(tmp_path, *arguments, **options))
        return servers[-1]

    yield started
    for one in servers:
        one.stop()


def test_the_master_loads_nothing_of_the_application() -> None:
    # What it has loaded is in all workers, and a reload could not replace it.
    program = "import sys, scheduler_site.gunicorn_worker; print([name for name in sys.modules if 'tasks' in name])"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


# --- What arrives in whatever pieces ------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 10, 30, 60, 90, 100])
def test_a_request_in_two_pieces(server: Server, cut: int) -> None:
    data = post(b"12345")
    assert sizes(server.exchange(data[:cut], data[cut:], pause=0.02)) == [5]


@pytest.mark.parametrize("size", [1, 999, 70_000])
def test_a_body_in_chunks(server: Server, size: int) -> None:
    body = b"x" * min(200_000, size * 1000)
    assert sizes(server.exchange(chunked(body, size=size))) == [len(body)]


def test_a_body_of_the_limit(server: Server) -> None:
    assert sizes(server.exchange(post(b"x" * 1_000_000))) == [1_000_000]


def test_requests_one_after_another_on_one_connection(server: Server) -> None:
    with closing(http.client.HTTPConnection(*server.host_and_port, timeout=10)) as connection:
        for number in (0, 1, 70_000, 2):
            connection.request("POST", "/x", b"x" * number)
            response = connection.getresponse()
            assert json.loads(response.read())["size"] == number
            assert response.getheader("Connection") == "keep-alive"


@pytest.mark.parametrize("step", [7, 50, 100_000])
def test_requests_that_are_sent_at_once(server: Server, step: int) -> None:
    keep = b"Host: a\r\n"
    data = post(b"1", fields=keep) + chunked(b"x" * 22, size=9, fields=keep) + post(b"", fields=keep) + post(b"4444")
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    assert sizes(server.exchange(*pieces, pause=0.001)) == [1, 22, 0, 4]


def test_a_body_that_nobody_reads_is_not_taken_for_the_next_request(server: Server) -> None:
    inner = post(b"smuggled", fields=b"Host: a\r\n")
    answer = server.exchange(post(inner * 2000, path=b"/unread", fields=b"Host: a\r\n") + post(b"55555"))
    assert sizes(answer) == [0, 5]


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_client_that_asks_first_is_asked_on_once(server: Server, pause: float) -> None:
    head, _, body = post(b"12345", fields=CLOSE + b"Expect: 100-continue\r\n").partition(b"12345")
    answer = server.exchange(head, b"12345" + body, pause=pause or 0.05)
    assert (answer.statuses, sizes(answer)) == ([100, 200], [5])


def test_the_first_version_of_http(server: Server) -> None:
    answer = server.exchange(b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n\r\n123")
    assert (answer.statuses, sizes(answer)) == ([200], [3])


def test_a_head_request_has_no_body(server: Server) -> None:
    answer = server.exchange(b"HEAD /x HTTP/1.1\r\n" + CLOSE + b"\r\n")
    assert answer.statuses == [200]
    assert answer.body == b""


def test_a_half_closed_client_is_answered(server: Server) -> None:
    with connect(server.address) as sock:
        sock.sendall(post(b"12345"))
        sock.shutdown(socket.SHUT_WR)
        assert sizes(talk(sock, [])) == [5]


@pytest.mark.parametrize("data", [b"", b"POST /x HTTP/1.1\r\nHo"])
def test_a_client_that_leaves_early_is_forgotten(server: Server, data: bytes) -> None:
    with connect(server.address) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = talk(sock, [])
    assert (answer.raw, answer.seconds < SOON_SECONDS) == (b"", True)


def test_a_parser_that_wants_more_than_the_framing_ends_the_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        conn = Connection(Config(), ours, ("192.0.2.1", 1), ("192.0.2.2", 2))
        for declared, is_kept in ((3, True), (5, False)):
            conn.buffer += post(b"123", fields=b"", declared=declared)
            conn.feed_parser()
            assert next(conn.parser).body.read() == b"123"
            assert Worker._keepalive_after(SimpleNamespace(), conn, True) is is_kept  # type: ignore[arg-type]


# --- What is slow ---------------------------------------------------------------------------------------------------

SLOW = {
    "half a line": b"POST /x HT",
    "half a head": b"POST /x HTTP/1.1\r\nHost: a\r\n",
    "half a body": post(b"123", declared=9),
    "half a chunk": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
}


@pytest.mark.parametrize("name", SLOW)
def test_half_a_request_is_refused_in_the_form_of_all_errors(impatient: Server, name: str) -> None:
    answer = impatient.exchange(SLOW[name])
    assert answer.statuses == [408]
    problem = json.loads(answer.body)
    assert (problem["status"], problem["code"]) == (408, "malformed")
    assert f"X-Trace-Id: {problem['trace_id']}".encode() in answer.raw
    assert b"Content-Type: application/problem+json" in answer.raw
    assert b"Connection: close" in answer.raw
    assert HEAD_SECONDS / 2 < answer.seconds < SOON_SECONDS


def test_a_connection_without_a_request_is_closed_without_a_word(impatient: Server) -> None:
    answer = impatient.exchange(b"")
    assert (answer.raw, answer.seconds < SOON_SECONDS) == (b"", True)


@pytest.mark.parametrize("head", [b"POST /x HTTP/1.1\r\nA: ", post(b"", declared=999)])
def test_a_drip_counts_as_nothing(impatient: Server, head: bytes) -> None:
    began = time.monotonic()
    with connect(impatient.address) as sock:
        sock.sendall(head)
        while not select.select([sock], [], [], 0.05)[0]:
            sock.sendall(b"x")
            assert time.monotonic() - began < SOON_SECONDS
        assert talk(sock, []).statuses == [408]


def test_a_body_that_comes_fast_enough_may_take_longer(impatient: Server) -> None:
    body = b"x" * 40_000
    pieces = [body[start : start + 4_000] for start in range(0, len(body), 4_000)]
    answer = impatient.exchange(post(b"", declared=len(body)), *pieces, pause=0.15)
    assert sizes(answer) == [len(body)]


@pytest.mark.parametrize("name", ["nothing", *SLOW, "a large response"])
def test_slow_clients_hold_no_thread(server: Server, name: str) -> None:
    data = {**SLOW, "nothing": b"", "a large response": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"}[name]
    with ExitStack() as stack:
        for _ in range(3 * THREADS):
            stack.enter_context(connect(server.address)).sendall(data)
        for _ in range(3):
            # A thread that such a client held would be free when the server's patience is over, at the earliest.
            assert answers_soon(server)


def test_a_client_that_reads_slowly_gets_all_of_it(server: Server) -> None:
    with connect(server.address) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\n" + CLOSE + b"\r\n")
        time.sleep(0.3)
        assert len(talk(sock, []).body) == LARGE_BYTES


def test_more_connections_than_there_may_be_cost_the_slowest(server: Server) -> None:
    with crowd(server, b"GET /x HTTP") as socks:
        assert answers_soon(server)
        refused = talk(socks[0], [])
    assert refused.statuses == [503]
    assert json.loads(refused.body)["code"] == "not_ready"
    assert f"Retry-After: {refusals.RETRY_AFTER_SECONDS}".encode() in refused.raw


@pytest.mark.parametrize(
    "data",
    [b"", post(b"1", fields=b"Host: a\r\n"), post(b"1"), b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"],
    ids=["silent", "kept alive", "answered and not closed", "not reading"],
)
def test_no_kind_of_connection_takes_all_the_room(server: Server, data: bytes) -> None:
    with crowd(server, data):
        assert answers_soon(server)


@contextmanager
def crowd(server: Server, data: bytes) -> Iterator[list[socket.socket]]:
    """Twice as many connections as there may be."""
    with ExitStack() as stack:
        socks = []
        for _ in range(2 * CONNECTIONS):
            socks.append(stack.enter_context(connect(server.address)))
            with suppress(ConnectionResetError):
                socks[-1].sendall(data)
        yield socks


def answers_soon(server: Server) -> bool:
    began = time.monotonic()
    assert server.exchange(HEALTH).statuses == [200]
    assert sizes(server.exchange(post(b"12345"))) == [5]
    return time.monotonic() - began < SOON_SECONDS


# --- Threads --------------------------------------------------------------------------------------------------------


@contextmanager
def stuck(server: Server, path: bytes, count: int, free: Path) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(server.address)) for _ in range(count)]
        stack.callback(free.touch)
        for sock in socks:
            sock.sendall(b"GET %s?until=%s HTTP/1.1\r\n%s\r\n" % (path, str(free).encode(), CLOSE))
        time.sleep(0.1)
        yield socks
        free.touch()
        for sock in socks:
            talk(sock, [])


def test_slow_pages_leave_threads_to_the_rest(server: Server, tmp_path: Path) -> None:
    with stuck(server, b"/admin/stuck", THREADS + 2, tmp_path / "free"):
        assert sizes(server.exchange(post(b"12345"))) == [5]
        assert server.exchange(b"GET /x HTTP/1.1\r\n" + CLOSE + b"\r\n").statuses == [200]


@pytest.mark.parametrize("path", [b"/readyz", b"/health/"])
def test_probes_of_servers_have_a_thread_of_their_own(server: Server, tmp_path: Path, path: bytes) -> None:
    with stuck(server, b"/stuck", THREADS + 2, tmp_path / "free"):
        assert server.exchange(b"GET %s HTTP/1.1\r\n%s\r\n" % (path, CLOSE)).statuses == [200]


def test_who_gets_no_thread_is_told_so_and_the_connection_is_closed(busy: Server, tmp_path: Path) -> None:
    with stuck(busy, b"/stuck", THREADS, tmp_path / "free") as socks:
        answer = busy.exchange(post(b"x" * 200_000, fields=b"Host: a\r\n") + post(b"1"))
        assert answer.statuses == [503]
        assert json.loads(answer.body)["code"] == "not_ready"
        assert b"Retry-After: 5" in answer.raw
        assert answer.seconds < SOON_SECONDS
        (tmp_path / "free").touch()
        assert [talk(sock, []).statuses for sock in socks] == [[200]] * THREADS
    assert sizes(busy.exchange(post(b"12345"))) == [5]


# --- Liveness -------------------------------------------------------------------------------------------------------


def test_liveness_needs_no_thread(server: Server, tmp_path: Path) -> None:
    free = tmp_path / "free"
    with ExitStack() as stack:
        stuck = [stack.enter_context(connect(server.address)) for _ in range(THREADS + 2)]
        stack.callback(free.touch)
        for sock in stuck:
            sock.sendall(b"GET /stuck?until=%s HTTP/1.1\r\n%s\r\n" % (str(free).encode(), CLOSE))
        time.sleep(0.1)
        for _ in range(5):
            answer = server.exchange(HEALTH)
            assert (answer.statuses, answer.body) == ([200], liveness.BODY)
        free.touch()
        assert [talk(sock, []).statuses for sock in stuck] == [[200]] * len(stuck)


@pytest.mark.parametrize(
    "line",
    [b"GET /healthz HTTP/1.1", b"GET /healthz/ HTTP/1.1", b"GET /healthz?x=%20 HTTP/1.0", b"HEAD /healthz HTTP/1.1"],
)
def test_liveness_for_any_host(server: Server, line: bytes) -> None:
    assert liveness.is_liveness_probe(line)
    answer = server.exchange(line + b"\r\nHost: 10.0.0.7:8000\r\nConnection: close\r\n\r\n")
    assert answer.statuses == [200]
    assert answer.body == (b"" if line.startswith(b"HEAD") else liveness.BODY)
    assert b"Content-Length: 16" in answer.raw


@pytest.mark.parametrize(
    "line",
    [b"POST /healthz HTTP/1.1", b"GET /healthz/x HTTP/1.1", b"GET /x/healthz HTTP/1.1", b"GET /healthzz HTTP/1.1"],
)
def test_nothing_else_is_liveness(server: Server, line: bytes) -> None:
    assert not liveness.is_liveness_probe(line)
    assert b'{"method"' in server.exchange(line + b"\r\n" + CLOSE + b"\r\n").raw


def test_liveness_says_what_django_says(server: Server, client) -> None:
    trace_id = "0123456789abcdef0123456789abcdef"
    response = client.get("/healthz", headers={"X-Trace-Id": trace_id})
    head = HEALTH.replace(b"Host", b"X-Trace-Id: %s\r\nHost" % trace_id.encode(), 1)
    lines = server.exchange(head).raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    ours = dict(line.split(": ", 1) for line in lines)
    for name in ("Server", "Date", "Connection"):
        ours.pop(name)
    assert ours == {**response.headers, "Content-Length": str(len(response.content))}
    assert response.content == liveness.BODY


# --- What is refused ------------------------------------------------------------------------------------------------


def test_refused_requests_are_in_the_metrics(start: Callable[..., Server], tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    server = start(
        env={"METRICS_DIR": str(folder), "REQUEST_HEAD_SECONDS": str(HEAD_SECONDS), "REQUEST_QUEUE_SECONDS": "0.2"}
    )
    assert server.exchange(SLOW["half a head"]).statuses == [408]
    assert server.exchange(b"").statuses == [], "a connection without a request is none"
    assert server.exchange(b"GET / HTTP/1.1\r\nA: b\r\n\r\n").statuses == [400]
    assert server.exchange(b"GET /" + b"x" * 9000).statuses == [414]
    with stuck(server, b"/stuck", THREADS, tmp_path / "free"):
        assert server.exchange(post(b"1")).statuses == [503]
    found = MultiProcessCollector.merge([str(path) for path in folder.glob("histogram_*.db")])
    counts = {
        (sample.labels["view"], sample.labels["status"]): sample.value
        for metric in found
        for sample in metric.samples
        if sample.name == "http_request_duration_seconds_count"
    }
    assert counts == {("refused", status): 1 for status in ("400", "408", "414", "503")}


def test_the_parser_s_refusals_come_at_once(server: Server) -> None:
    for data, status in {
        b"GET / HTTP/1.1\nHost: a\n\n": 400,
        b"GET /" + b"x" * 9000: 414,
        b"GET / HTTP/1.1\r\nA: " + b"x" * 900_000: 431,
        post(b"", declared=5, fields=CLOSE + b"Expect: more\r\n"): 417,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: other\r\n\r\n": 501,
    }.items():
        answer = server.exchange(data)
        assert (answer.statuses, answer.seconds < SOON_SECONDS) == ([status], True)


FORBIDDEN = {
    "no host": b"",
    "two hosts": b"Host: a\r\nHost: a\r\n",
    "two codings": b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
    "a length and a coding": b"Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "two lengths": b"Host: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
    "a length of 30 digits": b"Host: a\r\nContent-Length: %s\r\n" % (b"9" * 30),
    "a folded field": b"Host: a\r\nA: b\r\n c\r\n",
    "a space before the colon": b"Host: a\r\nA : b\r\n",
    "a bare line feed": b"Host: a\nA: b\r\n",
    "a bare carriage return": b"Host: a\r\nA: b\rc\r\n",
}


@pytest.mark.parametrize("path", [b"/x", b"/healthz", b"/readyz", b"/admin/", b"/api/v1/tasks"])
@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_http_forbids_is_refused_on_every_path_and_ends_the_connection(
    server: Server, name: str, path: bytes
) -> None:
    following = b"3\r\nabc\r\n0\r\n\r\n" + HEALTH
    answer = server.exchange(b"POST %s HTTP/1.1\r\n%s\r\n%s" % (path, FORBIDDEN[name], following))
    assert len(re.findall(rb"HTTP/1.1 \d", answer.raw)) == 1
    assert answer.statuses == [400]
    assert b"Connection: close" in answer.raw
    assert json.loads(answer.body)["status"] == 400
    assert answer.seconds < SOON_SECONDS


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_client_that_sends_too_much_gets_to_read_the_answer(server: Server, is_chunked: bool) -> None:
    body = iter([b"x" * 50_000] * 100)
    with closing(http.client.HTTPConnection(*server.host_and_port, timeout=10)) as connection:
        connection.request("POST", "/unread", body if is_chunked else b"x" * 5_000_000)
        with connection.getresponse() as response:
            assert (response.status, response.getheader("Connection")) == (200, "close")
            assert json.loads(response.read())["size"] == 0


def test_a_body_that_is_cut_off_ends_the_connection(server: Server) -> None:
    answer = server.exchange(post(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", declared=5_000_000, fields=b"Host: a\r\n"))
    assert answer.statuses == [200]


# --- Other ways in --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_unix_socket(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(bind=str(tmp_path / "socket"))
    assert server.exchange(HEALTH).statuses == [200]
    assert sizes(server.exchange(post(b"12345"))) == [5]


@pytest.mark.slow
def test_the_proxy_protocol(start: Callable[..., Server]) -> None:
    server = start("--proxy-protocol")
    one, two = post(b"1", fields=b"Host: a\r\n"), post(b"22")
    answer = server.exchange(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" + one + two)
    assert sizes(answer) == [1, 2]
    assert b'"peer": "192.0.2.7"' in answer.raw
    spoofed = server.exchange(one + b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n" + two)
    assert spoofed.statuses == [200, 400]


@pytest.mark.slow
def test_tls(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(*_certificate(tmp_path), env={"REQUEST_HEAD_SECONDS": "3"})
    context = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    # Nothing, and half a greeting.
    slow = [connect(server.address) for _ in range(3 * THREADS)]
    slow[0].sendall(b"\x16\x03\x01\x02\x00\x01")
    with closing(
        http.client.HTTPSConnection("localhost", server.host_and_port[1], context=context, timeout=10)
    ) as client:
        for size in (5, 900_000, 0):
            client.request("POST", "/x", b"x" * size)
            seen = json.loads(client.getresponse().read())
            assert (seen["size"], seen["scheme"]) == (size, "https")
        client.request("GET", "/large")
        time.sleep(0.2)
        assert len(client.getresponse().read()) == LARGE_BYTES
        client.request("POST", "/unread", b"x" * 5_000_000)
        with client.getresponse() as response:
            assert response.status == 200
    assert talk(slow[0], []).seconds < SOON_SECONDS
    assert server.exchange(HEALTH).statuses == [], "what does not speak TLS is no probe"
    for sock in slow:
        sock.close()


def _certificate(folder: Path) -> list[str]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the openssl program")
    return ["--keyfile", str(key), "--certfile", str(certificate)]


@pytest.mark.slow
def test_bodies_that_take_too_much_memory_are_refused_and_small_ones_are_not(start: Callable[..., Server]) -> None:
    server = start(env={"API_CONNECTIONS": "300"})
    data = post(b"x" * 950_000, declared=1_000_000)
    socks = [connect(server.address) for _ in range(80)]
    try:
        for sock in socks:
            sock.sendall(data)
        assert sizes(server.exchange(post(b"12345"))) == [5]
        refused = select.select(socks, [], [], SOON_SECONDS)[0]
        assert {tuple(talk(sock, []).statuses) for sock in refused} == {(503,)}
        assert 5 <= len(refused) < 40
    finally:
        for sock in socks:
            sock.close()


# --- Stopping -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stop_lets_requests_end(start: Callable[..., Server], tmp_path: Path) -> None:
    server, free = start(), tmp_path / "free"
    assert server.exchange(HEALTH).statuses == [200]
    with connect(server.address) as running, connect(server.address) as arriving, connect(server.address):
        running.sendall(b"GET /stuck?until=%s HTTP/1.1\r\nHost: a\r\n\r\n" % str(free).encode())
        arriving.sendall(post(b"12", declared=5, fields=b"Host: a\r\n"))
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in server.log.read_text())
        arriving.sendall(b"345")
        assert sizes(talk(arriving, [])) == [5]
        free.touch()
        answer = talk(running, [])
    assert answer.statuses == [200]
    assert server.process.wait(10) == 0


@pytest.mark.slow
def test_the_project_s_configuration_is_what_a_bare_gunicorn_takes() -> None:
    command = [sys.executable, "-m", "gunicorn", "scheduler_site.wsgi", "--print-config"]
    variables = {"PATH": os.environ["PATH"], "WEB_CONCURRENCY": "3", "API_THREADS": "5", "SECRET_KEY": "0123456789" * 5}
    answer = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    shown = dict(line.split("=", 1) for line in answer.stdout.replace(" ", "").splitlines() if "=" in line)
    assert shown["worker_class"] == "scheduler_site.gunicorn_worker.Worker"
    assert (shown["workers"], shown["threads"]) == ("3", "5")
    assert shown["worker_connections"] == str(settings.API_CONNECTIONS)
