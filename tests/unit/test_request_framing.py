"""Where a request ends, however it is cut into pieces."""

from types import SimpleNamespace

import pytest

from scheduler_site.request_framing import Arrival, Limits, RequestFraming, limits

LIMITS = Limits(line=100, head=1000, body=5000)
HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
WHOLE, ENOUGH, PARTIAL = Arrival.WHOLE, Arrival.ENOUGH, Arrival.PARTIAL

COMPLETE = {
    "no fields": b"GET / HTTP/1.0\r\n\r\n",
    "no body": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line before it": b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a length": HEAD + b"Content-Length: 5\r\n\r\n12345",
    "a length of zero": HEAD + b"Content-Length: 0\r\n\r\n",
    "a length in any case": HEAD + b"CONTENT-LENGTH:5\r\n\r\n12345",
    "a body of the limit": HEAD + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000,
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\nA;a=b\r\n0123456789\r\n0\r\n\r\n",
    "chunks of line ends": HEAD + b"Transfer-Encoding: Chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n",
    "no chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n",
}
REFUSED = {
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare line feed in a field": HEAD + b"A: b\nC",
    "a long line": b"GET /" + b"x" * 120,
    "a long line with an end": b"GET /" + b"x" * 120 + b" HTTP/1.1\r\nHost:",
    "a long head": HEAD + b"A: b\r\n" * 200,
    "a long head with an end": HEAD + b"A: b\r\n" * 200 + b"\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "a length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n",
    "a length in words": HEAD + b"Content-Length: five\r\n\r\n",
    "a length in other digits": HEAD + b"Content-Length: \xb2\r\n\r\n",
    "a length beyond the limit": HEAD + b"Content-Length: 5001\r\n\r\nx",
    "an unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an unknown expectation": HEAD + b"Content-Length: 5\r\nExpect: more\r\n\r\n",
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk that does not end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabcd",
    "an endless size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 9000,
    "chunks beyond the limit": HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFF\r\n" + b"x" * 9200,
    "small chunks with long extensions": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + (b"1;" + b"e" * 200 + b"\r\nx\r\n") * 60,
    "a bare line feed in a trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\nC",
    "a long trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 200,
}
BROKEN = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "another coding inside chunks": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks inside another coding": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "codings in two fields": HEAD + b"Transfer-Encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
    "chunks inside chunks": HEAD + b"Transfer-Encoding: chunked,chunked\r\n\r\n",
    "a length of 30 digits": HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "a length of many digits": HEAD + b"Content-Length: " + b"9" * 900 + b"\r\n\r\n",
    "a version that is not known": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "a version of two digits": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "the next version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
PROXIED = {
    "version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "version 2": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
    "none": b"",
}


def arrivals(data: bytes, *, step: int, has_proxy_header: bool = False) -> list[Arrival]:
    """Let the bytes arrive in pieces; give what was said after each."""
    framing, buffer, said = RequestFraming(LIMITS, has_proxy_header=has_proxy_header), bytearray(), []
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        said.append(framing.advance(buffer))
        if said[-1] is not PARTIAL:
            break
    return said


@pytest.mark.parametrize("step", [1, 2, 7, 100_000])
@pytest.mark.parametrize("name", COMPLETE)
def test_a_request_is_whole_with_its_last_byte(name: str, step: int) -> None:
    data = COMPLETE[name]
    said = arrivals(data, step=step)
    assert said[-1] is WHOLE
    assert set(said[:-1]) <= {PARTIAL}
    assert len(said) == -(-len(data) // step)


@pytest.mark.parametrize("step", [1, 3, 100_000])
@pytest.mark.parametrize("name", REFUSED)
def test_what_will_be_refused_is_not_waited_for(name: str, step: int) -> None:
    assert arrivals(REFUSED[name], step=step)[-1] is ENOUGH


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize("name", BROKEN)
def test_what_http_forbids_and_the_parser_would_take_is_broken(name: str, step: int) -> None:
    assert arrivals(BROKEN[name], step=step)[-1] is Arrival.BROKEN
    framing = RequestFraming(LIMITS)
    framing.advance(bytearray(BROKEN[name]))
    assert framing.defect.startswith("expected ")


@pytest.mark.parametrize("step", [1, 5, 100_000])
@pytest.mark.parametrize("name", PROXIED)
def test_a_header_of_the_proxy_protocol_is_no_part_of_the_request(name: str, step: int) -> None:
    data = PROXIED[name] + COMPLETE["a length"]
    said = arrivals(data, step=step, has_proxy_header=True)
    assert (said[-1], len(said)) == (WHOLE, -(-len(data) // step))


@pytest.mark.parametrize(("version", "is_expected"), [(b"1.1", True), (b"1.0", False)])
def test_only_a_client_that_knows_of_it_waits_to_be_asked_on(version: bytes, is_expected: bool) -> None:
    framing = RequestFraming(LIMITS)
    head = b"POST / HTTP/" + version + b"\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
    assert framing.advance(bytearray(head)) is PARTIAL
    assert framing.expects_continue is is_expected
    assert framing.body_start == len(head)


def test_what_follows_a_request_does_not_make_it_longer() -> None:
    assert arrivals(COMPLETE["a length"] + b"GET /next", step=100_000) == [WHOLE]


def test_gunicorn_s_limits_are_read_as_its_parser_does() -> None:
    cfg = SimpleNamespace(limit_request_line=4094, limit_request_fields=100, limit_request_field_size=8190)
    assert limits(cfg, body=7) == Limits(4094, 100 * 8192 + 4, 7)
    cfg = SimpleNamespace(limit_request_line=0, limit_request_fields=0, limit_request_field_size=0)
    assert limits(cfg, body=7) == Limits(1024 * 1024, 32768 * 8192 + 4, 7)
