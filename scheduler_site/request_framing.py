"""Where a request ends: looks at what has arrived so far and says whether a thread can start on it.

This is not a parser. Gunicorn's parser decides what a request means; the framing only decides when to call it. A
request that looks wrong or too large is handed over at once, so that the parser or the application refuses it; what
both would take although HTTP forbids it is refused here.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

#: A chunk's size line or a PROXY line is never longer than this.
_LONGEST_LINE = 8190
#: Beyond the limit, so that an application that reads one byte too many, in steps of 1 kB, finds it there.
_MARGIN_BYTES = 4096

_PROXY_V1 = b"PROXY "
_PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_OTHER_VERSION = re.compile(rb" HTTP/(?!1\.[01]$)[0-9.]+$")
#: No body is that long; Python itself reads no number of more than 4,300 digits.
_MOST_DIGITS = 15
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,15}")


class Arrival(Enum):
    """How much of a request has arrived."""

    #: The rest has to come first.
    PARTIAL = "partial"
    #: All of it.
    WHOLE = "whole"
    #: It breaks a rule of HTTP that the parser does not check; see ``defect``.
    BROKEN = "broken"
    #: Enough to refuse it; the rest is drained after the answer.
    ENOUGH = "enough"


class Limits(NamedTuple):
    """The sizes, in bytes, beyond which a request is handed over without its rest."""

    line: int
    head: int
    body: int


def limits(cfg: Any, *, body: int) -> Limits:
    """Read gunicorn's limits as its parser does."""
    # 0 means any length there.
    line = min(cfg.limit_request_line, 8190) if cfg.limit_request_line > 0 else 1024 * 1024
    fields = cfg.limit_request_fields if 0 < cfg.limit_request_fields <= 32768 else 32768
    size = cfg.limit_request_field_size if cfg.limit_request_field_size > 0 else 8190
    return Limits(line=line, head=fields * (size + 2) + 4, body=body)


_Step = Callable[[bytearray], Arrival | None]


class RequestFraming:
    """The framing of one request; ``advance`` is called with all of its bytes whenever some have arrived.

    Parameters:
        limits: what is handed over without its rest.
        has_proxy_header: the connection may start with a header of the PROXY protocol.
    """

    def __init__(self, limits: Limits, *, has_proxy_header: bool = False) -> None:
        self._limits = limits
        self._start = 0
        self._searched = 0
        self._end = 0
        self._decoded = 0
        self._step: _Step = self._skip_proxy_header if has_proxy_header else self._read_head
        #: Method, target and version, once the head has arrived.
        self.request_line = b""
        #: Where the body starts, once the head has arrived.
        self.body_start: int | None = None
        #: What was expected, if the request is broken.
        self.defect = ""
        #: Whether the client waits for ``100 Continue`` before it sends the body.
        self.expects_continue = False

    def advance(self, buffer: bytearray) -> Arrival:
        """Look at the bytes that have arrived since the last call."""
        while True:
            arrival = self._step(buffer)
            if arrival is not None:
                return arrival

    # --- Head ---------------------------------------------------------------------------------------------------

    def _skip_proxy_header(self, buffer: bytearray) -> Arrival | None:
        if buffer.startswith(_PROXY_V2):
            if len(buffer) < 16 or len(buffer) < (end := 16 + int.from_bytes(buffer[14:16], "big")):
                return Arrival.PARTIAL
            self._start = end
        elif buffer.startswith(_PROXY_V1):
            end = buffer.find(b"\r\n")
            if end < 0:
                return Arrival.PARTIAL if len(buffer) < _LONGEST_LINE else Arrival.ENOUGH
            self._start = end + 2
        elif _PROXY_V1.startswith(buffer) or _PROXY_V2.startswith(buffer):
            return Arrival.PARTIAL
        self._searched = self._start
        self._step = self._read_head
        return None

    def _read_head(self, buffer: bytearray) -> Arrival | None:
        end = buffer.find(b"\r\n\r\n", max(self._start, self._searched - 3))
        if end < 0:
            return self._head_so_far(buffer)
        self._searched = self.body_start = end + 4
        if end - self._start > self._limits.head + self._limits.line:
            return Arrival.ENOUGH
        lines = bytes(buffer[self._start : end]).removeprefix(b"\r\n").split(b"\r\n")
        self.request_line = lines[0]
        return self._choose_body(lines[1:])

    def _head_so_far(self, buffer: bytearray) -> Arrival:
        # The parser takes a line feed only after a carriage return, so such a head would never end.
        is_broken = buffer.count(b"\n", self._searched) != buffer.count(b"\r\n", max(self._start, self._searched - 1))
        line_end = buffer.find(b"\r\n", self._start + 2, self._start + self._limits.line + 6)
        is_long_line = line_end < 0 and len(buffer) - self._start > self._limits.line + 4
        is_long = len(buffer) - self._start > self._limits.head + self._limits.line
        self._searched = len(buffer)
        return Arrival.ENOUGH if is_broken or is_long_line or is_long else Arrival.PARTIAL

    def _choose_body(self, fields: list[bytes]) -> Arrival | None:
        lengths, codings, expectations, hosts = _framing_fields(fields)
        if self.request_line.endswith(b" HTTP/1.1") and not hosts:
            return self._broken("expected the header Host, which HTTP/1.1 requires")
        if _OTHER_VERSION.search(self.request_line):
            return self._broken("expected HTTP/1.0 or HTTP/1.1")
        if len(codings) > 1:
            return self._broken("expected Transfer-Encoding: chunked, and no other coding with it")
        if any(length.isdigit() and len(length.lstrip(b"0")) > _MOST_DIGITS for length in lengths):
            return self._broken(f"expected a Content-Length of at most {_MOST_DIGITS} digits")
        if len(lengths) + bool(codings) > 1 or any(one != b"100-continue" for one in expectations):
            return Arrival.ENOUGH
        is_first_version = self.request_line.endswith(b"/1.0")
        self.expects_continue = bool(expectations) and not is_first_version
        if codings:
            self._step = self._read_chunk
            return Arrival.ENOUGH if codings[-1] != b"chunked" or is_first_version else None
        return self._expect_length(lengths[0] if lengths else b"0")

    def _expect_length(self, length: bytes) -> Arrival | None:
        if not length.isdigit() or int(length) > self._limits.body:
            return Arrival.ENOUGH
        self._end = self._searched + int(length)
        self._step = self._read_body
        return None

    def _broken(self, defect: str) -> Arrival:
        self.defect = defect
        return Arrival.BROKEN

    # --- Body ---------------------------------------------------------------------------------------------------

    def _read_body(self, buffer: bytearray) -> Arrival:
        return Arrival.WHOLE if len(buffer) >= self._end else Arrival.PARTIAL

    def _read_chunk(self, buffer: bytearray) -> Arrival | None:
        """Step over the chunk that starts at ``_searched``."""
        line_end = buffer.find(b"\r\n", self._searched, self._searched + _LONGEST_LINE + 2)
        if line_end < 0:
            return self._chunks_so_far(buffer, is_broken=len(buffer) - self._searched > _LONGEST_LINE)
        text = bytes(buffer[self._searched : line_end]).partition(b";")[0].rstrip(b" \t")
        if not _CHUNK_SIZE.fullmatch(text):
            return Arrival.ENOUGH
        size, start = int(text, 16), line_end + 2
        if size == 0:
            self._searched = self._end = start
            self._step = self._read_trailer
            return None
        here = min(size, len(buffer) - start)
        if self._decoded + here > self._limits.body + _MARGIN_BYTES:
            return Arrival.ENOUGH
        if len(buffer) < start + size + 2:
            return self._chunks_so_far(buffer)
        if not buffer.startswith(b"\r\n", start + size):
            return Arrival.ENOUGH
        self._decoded += size
        self._searched = start + size + 2
        return None

    def _read_trailer(self, buffer: bytearray) -> Arrival:
        """Find the end of the trailer, which starts at ``_end``."""
        if buffer.startswith(b"\r\n", self._end) or buffer.find(b"\r\n\r\n", max(self._end, self._searched - 3)) >= 0:
            return Arrival.WHOLE
        is_broken = buffer.count(b"\n", self._searched) != buffer.count(b"\r\n", max(self._end, self._searched - 1))
        self._searched = len(buffer)
        return self._chunks_so_far(buffer, is_broken=is_broken or len(buffer) - self._end > self._limits.head)

    def _chunks_so_far(self, buffer: bytearray, *, is_broken: bool = False) -> Arrival:
        # Tiny chunks with long extensions carry little and take much.
        raw = len(buffer) - (self.body_start or 0)
        is_long = raw > 2 * self._limits.body + self._limits.head
        return Arrival.ENOUGH if is_broken or is_long else Arrival.PARTIAL


def _framing_fields(fields: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    """Pick lengths, transfer codings, expectations and hosts out of header lines."""
    found: dict[bytes, list[bytes]] = {b"content-length": [], b"transfer-encoding": [], b"expect": [], b"host": []}
    for field in fields:
        name, _, value = field.partition(b":")
        if (values := found.get(name.lower().strip(b" \t"))) is not None:
            values.append(value.strip(b" \t").lower())
    codings = [coding.strip(b" \t") for value in found[b"transfer-encoding"] for coding in value.split(b",")]
    return found[b"content-length"], codings, found[b"expect"], found[b"host"]
