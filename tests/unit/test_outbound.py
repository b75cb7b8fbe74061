"""``http_request`` against servers that mean harm."""

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import pytest

from dlq.models import DeadLetter
from tasks import outbound, payload
from tasks.conf import conf
from tasks.states import DeathReason, Status
from tasks.telemetry import trace
from tests.factories import submit

LIMIT_SECONDS = 0.5
#: A machine under load needs some time beyond the limit; each of these servers would hold a client for longer.
MOST_SECONDS = 3.0
DRIPS = 100

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Type: text/plain\r\n"
TLS_HANDSHAKE = b"\x16\x03"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Hostile:
    """A server that sends each client the bytes of ``script``, and then closes the connection."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.script: Callable[[], Iterator[bytes]] = lambda: iter(())
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def says(self, *parts: bytes) -> None:
        self.script = lambda: iter(parts)

    def drips(self, start: bytes, drip: bytes = b"1") -> None:
        """Send the start, and then a bit at a time, always before a time-out of one read would be over."""

        def script() -> Iterator[bytes]:
            yield start
            for _ in range(DRIPS):
                time.sleep(LIMIT_SECONDS / 5)
                yield drip

        self.script = script

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self.requests.append(_request_of(connection))
                for part in self.script():
                    connection.sendall(part)


def _request_of(connection: socket.socket) -> bytes:
    """Receive a request; its body comes at once in these tests, and is read until the client waits."""
    received = b""
    connection.settimeout(5)
    while b"\r\n\r\n" not in received and not received.startswith(TLS_HANDSHAKE):
        received += connection.recv(65_536)
    connection.settimeout(0.1)
    with suppress(TimeoutError):
        while b"Content-Length" in received and (more := connection.recv(65_536)):
            received += more
    connection.settimeout(5)
    return received


@pytest.fixture
def server(settings: Any) -> Iterator[Hostile]:
    settings.HTTP_REQUEST_ALLOWED_HOSTS = ["127.0.0.1", "localhost", "many.test"]
    settings.HTTP_REQUEST_TIMEOUT_SECONDS = LIMIT_SECONDS
    hostile = Hostile()
    yield hostile
    hostile.close()


def storable(response: outbound.Response) -> bool:
    limits = {"max_bytes": conf.MAX_RESULT_BYTES, "max_depth": conf.MAX_JSON_DEPTH}
    return not payload.check_json(asdict(response), field="result", **limits)


# --- One limit for everything ---

DRIPPED = {
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "header": (OK + b"X: ", b"1"),
    "headers": (OK, b"X: 1\r\n"),
    "100s": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (OK + b"Content-Length: 1000\r\n\r\n", b"1"),
    "endless body": (OK + b"\r\n", b"1"),
    "chunk size": (CHUNKED, b"0"),
    "chunk extension": (CHUNKED + b"1;", b"1"),
    "chunks": (CHUNKED, b"1\r\na\r\n"),
    "trailer": (CHUNKED + b"0\r\nX: ", b"1"),
    "trailers": (CHUNKED + b"0\r\n", b"X: 1\r\n"),
}


@pytest.mark.parametrize("kind", DRIPPED)
def test_the_time_limit_holds_for_a_server_that_drips(server: Hostile, kind: str) -> None:
    server.drips(*DRIPPED[kind])
    started = time.monotonic()
    with pytest.raises(outbound.Failed, match=r"no complete answer within 0\.5 s|timed out"):
        outbound.request(server.url)
    assert time.monotonic() - started < MOST_SECONDS


def test_the_time_limit_holds_for_a_tls_handshake_that_drips(server: Hostile) -> None:
    server.drips(TLS_HANDSHAKE + b"\x03\x40\x00")
    started = time.monotonic()
    with pytest.raises(outbound.Failed, match="timed out"):
        outbound.request(server.url.replace("http:", "https:"))
    assert time.monotonic() - started < MOST_SECONDS


def test_the_time_limit_holds_for_endless_100s_without_a_pause(server: Hostile) -> None:
    def script() -> Iterator[bytes]:
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100

    server.script = script
    started = time.monotonic()
    with pytest.raises(outbound.Failed):
        outbound.request(server.url)
    assert time.monotonic() - started < MOST_SECONDS


def test_the_time_limit_holds_for_a_name_with_many_addresses_that_hang(
    server: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def hang(_address: Any, timeout: float) -> None:
        tried.append(timeout)
        time.sleep(min(timeout, 0.2))
        raise TimeoutError("timed out")

    many = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.1.{number}", 80)) for number in range(59)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: many)
    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.monotonic()
    with pytest.raises(outbound.Failed):
        outbound.request("http://many.test/")
    assert time.monotonic() - started < MOST_SECONDS
    assert tried == sorted(tried, reverse=True)


def test_the_time_limit_holds_for_a_look_up_that_hangs(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: is_over.wait(10) and [])
    started = time.monotonic()
    with pytest.raises(outbound.Failed, match=r"the look-up of many\.test takes too long"):
        outbound.request("http://many.test/")
    is_over.set()
    assert time.monotonic() - started < MOST_SECONDS


# --- What was answered is not sent again ---


@pytest.mark.parametrize("method", outbound.NOT_IDEMPOTENT)
@pytest.mark.parametrize("kind", ["status line", "header", "headers", "100s"])
def test_a_request_whose_answer_has_begun_is_not_repeatable(server: Hostile, kind: str, method: str) -> None:
    server.drips(*DRIPPED[kind])
    with pytest.raises(outbound.Unrepeatable, match=rf"^{method} was answered, but: .*; it is not sent again$"):
        outbound.request(server.url, method=method, body="pay")


@pytest.mark.parametrize("kind", ["body", "endless body", "chunk size", "chunks", "trailers"])
def test_a_post_whose_body_stops_succeeds_with_what_came(server: Hostile, kind: str) -> None:
    server.drips(*DRIPPED[kind])
    response = outbound.request(server.url, method="POST", body="pay")
    assert (response.status, response.is_truncated) == (200, True)
    assert "no complete answer" in response.error or "timed out" in response.error


BROKEN = [
    b"HTTP/1.1 two hundred\r\n\r\n", b"\x1b[31m\r\n\r\n", OK + b"X: " + b"1" * 70_000, OK + b"X: 1\r\n" * 101 + b"\r\n",
]  # fmt: skip


@pytest.mark.parametrize("answer", BROKEN)
def test_a_broken_answer_to_a_post_is_not_repeatable_and_to_a_get_it_is(server: Hostile, answer: bytes) -> None:
    server.says(answer)
    with pytest.raises(outbound.Unrepeatable):
        outbound.request(server.url, method="POST")
    with pytest.raises(outbound.Failed):
        outbound.request(server.url)


CUT = [b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n"]


@pytest.mark.parametrize("rest", CUT)
def test_a_body_that_ends_early_is_never_taken_for_a_whole_one(server: Hostile, rest: bytes) -> None:
    server.says(OK + rest)
    response = outbound.request(server.url, method="POST")
    assert (response.body, response.is_truncated) == ("abc", True)
    assert response.error.startswith("IncompleteRead")
    with pytest.raises(outbound.Failed, match="IncompleteRead"):
        outbound.request(server.url)


def test_a_post_without_any_byte_of_an_answer_may_be_sent_again(server: Hostile) -> None:
    server.says()
    with pytest.raises(outbound.Failed):
        outbound.request(server.url, method="POST")


def test_a_post_is_not_sent_again_because_its_redirect_fails(server: Hostile) -> None:
    server.script = lambda: iter([b"HTTP/1.1 303 See Other\r\nLocation: /seen\r\n\r\n"] * (len(server.requests) == 1))
    with pytest.raises(outbound.Unrepeatable, match=r"^POST was answered"):
        outbound.request(server.url, method="POST", body="pay")
    assert [one.split()[0] for one in server.requests] == [b"POST", b"GET"]


@pytest.mark.parametrize(
    ("answer", "status", "death"),
    [
        (OK + b"Content-Type: text/plain; charset=x\0y\r\nX: a\0b\r\n\r\na\0b", Status.SUCCEEDED, None),
        (OK + b"Content-Length: 10\r\n\r\nabc", Status.SUCCEEDED, None),
        (OK + b"X: " + b"1" * 70_000, Status.DEAD, DeathReason.NOT_RETRYABLE),
    ],
)
def test_a_task_sends_an_answered_post_once(
    engine: Any, server: Hostile, answer: bytes, status: Status, death: DeathReason | None
) -> None:
    server.says(answer)
    call = {"url": server.url, "method": "POST", "body": "pay"}
    (task,) = engine.wait_for(submit("http_request", payload=call, max_retries=3))
    assert (task.status, len(server.requests)) == (status, 1)
    assert (task.result is not None) == (status == Status.SUCCEEDED)
    assert list(DeadLetter.objects.values_list("reason", flat=True)) == ([death] if death else [])


# --- A result that can be stored ---

CHARSETS = [
    "punycode", "idna", "unicode_escape", "raw_unicode_escape", "utf-7", "undefined", "zlib", "rot13", "hex", "\0",
    "x\0y", "utf_16_surrogatepass", "none-such", "*0*=x", '"', "é", "utf-16", "shift_jis",
]  # fmt: skip


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("content", [rb"\ud800+2AA-\x00", b"\0\xff\xd8\0", b"xn--\xff-a"])
def test_no_charset_makes_an_answered_post_fail(server: Hostile, charset: str, content: bytes) -> None:
    server.says(OK + f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode() + content)
    assert storable(outbound.request(server.url, method="POST"))


def test_a_charset_of_web_pages_is_used(server: Hostile) -> None:
    server.says(OK + b'Content-Type: text/html; Charset="ISO-8859-1"\r\n\r\n\xfc')
    assert outbound.request(server.url).body == "ü"


LARGE = {
    "control characters": (PLAIN + b"\r\n", b"\1" * 300_000),
    "NUL": (PLAIN + b"X-Nul: a\0b\r\n\r\n", b"a\0b" * 100_000),
    "three bytes each": (OK + b"Content-Type: text/plain; charset=utf-16\r\n\r\n", b"\xff\xfe" + b"\x00\x4e" * 200_000),
    "headers": (OK + b"".join(b"X-%d: %s\r\n" % (n, b"\xff" * 60_000) for n in range(90)) + b"\r\n", b"abc"),
    "a long name": (OK + b"X" * 60_000 + b": 1\r\n\r\n", b"abc"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_answer_is_cut_to_what_a_result_may_hold(server: Hostile, kind: str, settings: Any) -> None:
    settings.HTTP_REQUEST_MAX_BYTES = 1_000_000
    settings.HTTP_REQUEST_TIMEOUT_SECONDS = 20
    server.says(*LARGE[kind])
    response = outbound.request(server.url, method="POST")
    assert storable(response)
    assert response.body
    assert response.is_truncated == (kind not in ("three bytes each", "NUL") or len(response.body) < 200_000)


# --- Redirects ---

SECRET = {"Cookie": "c-secret", "X-API-Key": "k-secret", "Authorization": "a-secret", "Accept": "text/plain"}


def _redirect(server: Hostile, host: str, status: int) -> None:
    """Redirect once, to a name of the same server."""
    location = f"HTTP/1.1 {status} Elsewhere\r\nLocation: http://{host}:{server.port}/there\r\n\r\n".encode()
    server.script = lambda: iter([location if len(server.requests) == 1 else OK + b"\r\n"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_host_gets_no_cookie_and_no_key(server: Hostile, status: int) -> None:
    _redirect(server, "localhost", status)
    assert outbound.request(server.url, headers=SECRET).status == 200
    assert server.requests[0].count(b"secret") == 3
    assert b"secret" not in server.requests[1]
    assert b"Accept: text/plain" in server.requests[1]


@pytest.mark.parametrize("status", [307, 308])
def test_another_host_gets_no_body(server: Hostile, status: int) -> None:
    _redirect(server, "localhost", status)
    with pytest.raises(outbound.Refused, match="redirected to another host, which does not get the body"):
        outbound.request(server.url, method="POST", headers=SECRET, body="secret")
    assert len(server.requests) == 1


def test_the_same_server_gets_headers_and_body(server: Hostile) -> None:
    _redirect(server, "127.0.0.1", 307)
    outbound.request(server.url, method="POST", headers=SECRET, body="body-secret")
    assert [one.count(b"secret") for one in server.requests] == [4, 4]


# --- What a server sends does not reach a terminal as it is ---


@pytest.mark.parametrize(
    "answer",
    [
        b"\x1b]0;owned\x07 \x9b31m\r\n\r\n",
        b"HTTP/1.1 \x1b[2J\xe2\x80\xae\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1\x1b[2J\xe2\x80\xae/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\x1b[2J\r\n\r\n",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_error_and_its_traceback_are_printable(server: Hostile, answer: bytes, method: str) -> None:
    server.says(answer)
    with pytest.raises((outbound.Failed, outbound.Refused, outbound.Unrepeatable)) as raised:
        outbound.request(server.url, method=method)
    said = "".join(traceback.format_exception(raised.value)).replace("…", "").replace("\n", "")
    assert said.isprintable()
    assert "\u202e" not in said
    assert str(raised.value).replace("…", "").isascii()


# --- What is refused before anything is sent ---


@pytest.mark.parametrize("text", ["a\r\nb", "a\0", "a\u20ac", "\ud800"])
def test_a_header_that_cannot_be_sent_is_refused(server: Hostile, text: str) -> None:
    with pytest.raises(outbound.Refused):
        outbound.request(server.url, headers={"X": text})
    assert server.requests == []


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.1", "169.254.169.254"])
def test_an_address_that_is_not_public_is_refused(server: Hostile, host: str) -> None:
    with pytest.raises(outbound.Refused, match="not a public address"):
        outbound.request(f"http://{host}:{server.port}/")


def test_a_redirect_to_an_address_that_is_not_public_is_refused(server: Hostile) -> None:
    _redirect(server, "127.0.0.2", 302)
    with pytest.raises(outbound.Refused, match=r"127\.0\.0\.2 is not a public address"):
        outbound.request(server.url)


def test_the_trace_goes_on_where_the_process_is_traced(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    server.says(PLAIN, b"Content-Length: 0\r\n\r\n")
    outbound.request(server.url)
    monkeypatch.setattr(trace, "outgoing", lambda: {"traceparent": "00-11-22-01"})
    outbound.request(server.url)
    untraced, traced = server.requests
    assert b"traceparent" not in untraced
    assert b"traceparent: 00-11-22-01\r\n" in traced
