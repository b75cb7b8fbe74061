"""Bodies that come later, on the wire: they hold no thread, and slow or lost readers hold up nobody."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.echo_server import CLOSE, THREADS, Server, post, sizes
from tests.raw_http import connect
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("feeding"))
    yield server
    server.stop()


def get(query: str, *, version: bytes = b"1.1", fields: bytes = CLOSE, method: bytes = b"GET") -> bytes:
    return b"%s /feed?%s HTTP/%s\r\n%s\r\n" % (method, query.encode(), version, fields)


def numbers(raw: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"piece (\d+)", raw)]


def stopped(server: Server) -> int:
    return server.log.read_text().count("feed stopped")


def until(sock: socket.socket, text: bytes) -> bytes:
    raw = b""
    while text not in raw:
        data = sock.recv(65536)
        assert data, raw
        raw += data
    return raw


def test_the_pieces_come_in_chunks_and_the_body_ends(server: Server) -> None:
    raw = server.exchange(get("pieces=3&seconds=0.02")).raw
    assert b"Transfer-Encoding: chunked" in raw
    assert numbers(raw) == [1, 2, 3]
    assert raw.endswith(b"0\r\n\r\n")


def test_a_client_of_http_1_0_gets_the_pieces_as_they_are(server: Server) -> None:
    raw = server.exchange(get("pieces=2&seconds=0.02", version=b"1.0")).raw
    assert raw.endswith(b"\r\n\r\npiece 1\npiece 2\n")


def test_the_head_alone_has_no_pieces(server: Server) -> None:
    before = stopped(server)
    raw = server.exchange(get("seconds=0.02", method=b"HEAD")).raw
    assert raw.endswith(b"\r\n\r\n")
    wait_until(lambda: stopped(server) == before + 1)


def test_the_connection_serves_the_next_request_after_the_end(server: Server) -> None:
    fields = b"Host: a\r\n"
    first, second = get("pieces=2&seconds=0.05", fields=fields), get("pieces=1&seconds=0.01", fields=fields)
    # The others arrive while the first is answered.
    raw = server.exchange(first, second, post(b"4444"), pause=0.01).raw
    assert numbers(raw) == [1, 2, 1]
    assert raw.count(b"HTTP/1.1 200") == 3
    assert b'"size": 4' in raw


def test_feeds_hold_no_thread(server: Server) -> None:
    before, socks = stopped(server), [connect(server.address) for _ in range(5 * THREADS)]
    for sock in socks:
        sock.sendall(get("seconds=0.1"))
    for sock in socks:
        until(sock, b"piece 2")
    assert sizes(server.exchange(post(b"12345"))) == [5]
    for sock in socks:
        sock.close()
    wait_until(lambda: stopped(server) == before + len(socks))


def test_a_client_that_goes_ends_its_feed(server: Server) -> None:
    before = stopped(server)
    with closing(connect(server.address)) as sock:
        # It is noticed although there is nothing to send.
        sock.sendall(get("seconds=30"))
        until(sock, b"\r\n\r\n")
    wait_until(lambda: stopped(server) == before + 1)


def deaf(server: Server) -> socket.socket:
    """Ask for large pieces, and take nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(server.host_and_port)
    sock.sendall(get("seconds=0.01&size=3000000"))
    return sock


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_cut_off(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("deaf"), env={"REQUEST_BYTES_PER_SECOND": "10000000"})
    try:
        with closing(deaf(server)):
            wait_until(lambda: stopped(server) == 1, timeout=25)
    finally:
        server.stop()


def test_readers_that_take_nothing_hold_up_nobody(server: Server) -> None:
    before = stopped(server)
    socks = [deaf(server) for _ in range(5)]
    started = time.monotonic()
    for _ in range(5):
        assert sizes(server.exchange(post(b"12345"))) == [5]
    assert time.monotonic() - started < 8
    for sock in socks:
        sock.close()
    wait_until(lambda: stopped(server) == before + 5)


def test_a_server_that_stops_ends_its_feeds(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("stopping"))
    with closing(connect(server.address)) as sock:
        sock.sendall(get("seconds=0.05"))
        until(sock, b"piece 2")
        started = time.monotonic()
        server.process.terminate()
        until(sock, b"0\r\n\r\n")
    server.process.wait(40)
    assert time.monotonic() - started < 10
