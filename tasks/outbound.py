"""HTTP requests for anyone who may submit a task; they cannot reach addresses inside this machine's network.

A name is resolved once, all of its addresses must be public, and the connection goes to an address that was checked,
because a second look-up could answer differently (DNS rebinding). Redirects are checked in the same way. Proxies from
the environment are not used. ``HTTP_REQUEST_ALLOWED_HOSTS`` names hosts that may have private addresses.

Clients such as httpx and urllib3 bound each read and not the whole exchange, and look the name up themselves. So this
is ``http.client`` on a ``Wire``, which holds one deadline for all.
"""

import http.client
import re
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from urllib.parse import SplitResult, urljoin, urlsplit

from tasks import payload
from tasks.conf import conf
from tasks.public_addresses import Address, is_public
from tasks.telemetry import trace
from tasks.wire import Deadline, Wire, connect, look_up

SCHEMES = {"http": 80, "https": 443}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: To send one of these twice may have its effect twice (RFC 9110, 9.2.2).
NOT_IDEMPOTENT = ("POST", "PATCH")
MOST_REDIRECTS = 5
LONGEST_URL = 8192
#: How many characters of an answer's headers are kept.
MOST_HEADERS = 16_384
LONGEST_MESSAGE = 500
#: Headers that this module sets, or that concern the connection and not the request.
_RESERVED_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "proxy-authorization", "proxy-connection", "upgrade"}
)
#: The only headers that another host gets to see after a redirect; any other one may be a key.
_HARMLESS_HEADERS = frozenset({"accept", "accept-language", "user-agent"})
#: The charsets of web pages. Python knows more codecs, some of which raise, run for long or make no text.
_CHARSETS = frozenset(
    {
        *("utf-8", "utf8", "utf-16", "utf-16le", "utf-16be", "us-ascii", "ascii", "latin1", "koi8-r", "koi8-u"),
        *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
        *(f"windows-{page}" for page in range(1250, 1259)),
        *("shift_jis", "euc-jp", "iso-2022-jp", "gb2312", "gbk", "gb18030", "big5", "euc-kr"),
    }
)
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w-]+)""", re.ASCII | re.IGNORECASE)


class Refused(ValueError):
    """The request is invalid or not allowed; its actor does not retry it."""


class Unrepeatable(Exception):
    """The server has answered, at least in part, and to send the request again might repeat its effect."""


class Failed(OSError):
    """The server did not answer properly; a retry may help."""


@dataclass(frozen=True)
class Response:
    """The answer, with its body as text.

    ``is_truncated`` tells that a part of the body or headers is missing: beyond ``HTTP_REQUEST_MAX_BYTES`` or what a
    result may hold, or because it never came; then ``error`` says why.
    """

    status: int
    url: str
    headers: dict[str, str]
    body: str
    is_truncated: bool
    error: str = ""


def request(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: str | None = None
) -> Response:
    """Send a request and read the answer.

    Raises:
        Refused: the URL, method, a header, an address or a redirect is not allowed.
        Failed: the server did not answer properly, and the request may be sent again.
        Unrepeatable: the same, but the request may have had its effect.
    """
    method = method.upper()
    if method not in METHODS:
        raise Refused(f"expected one of {', '.join(METHODS)} as the method, got {method!a:.50}")
    journey = _Journey(url, method, _checked_headers(headers or {}), None if body is None else _encoded(body))
    try:
        return journey.run()
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, an answered request must not be sent again
        # Without the cause, whose text may contain the server's bytes as they are.
        if journey.is_answered:
            raise Unrepeatable(f"{method} was answered, but: {_escaped(error)}; it is not sent again") from None
        raise Failed(_escaped(error)) from None


class _Journey:
    """A request on its way from redirect to redirect."""

    def __init__(self, url: str, method: str, headers: dict[str, str], body: bytes | None) -> None:
        self.url, self.method, self.headers, self.body = url, method, headers, body
        self.deadline = Deadline(conf.HTTP_REQUEST_TIMEOUT_SECONDS)
        #: Whether something has arrived after a request that must not be repeated.
        self.is_answered = False

    def run(self) -> Response:
        for _ in range(MOST_REDIRECTS + 1):
            parts, port = _checked_url(self.url)
            with closing(self._connect(parts, port)) as wire:
                try:
                    answer = self._exchange(wire, parts, port)
                finally:
                    self.is_answered |= self.method in NOT_IDEMPOTENT and wire.received > 0
                location = answer.getheader("Location") if answer.status in (301, 302, 303, 307, 308) else None
                if location is None:
                    return self._read(answer)
                self._follow(answer.status, location)
        raise Refused(f"more than {MOST_REDIRECTS} redirects")

    def _connect(self, parts: SplitResult, port: int) -> Wire:
        host = parts.hostname or ""
        wire = connect(_checked_addresses(host, port, self.deadline), port, self.deadline)
        try:
            if parts.scheme == "https":
                wire.encrypt(host)
        except BaseException:
            wire.close()
            raise
        return wire

    def _exchange(self, wire: Wire, parts: SplitResult, port: int) -> http.client.HTTPResponse:
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", port)
        # With an open socket http.client does not connect, which would look up the name again.
        connection.sock = wire
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        headers = {"User-Agent": "callboard", **trace.outgoing(), **self.headers, "Connection": "close"}
        connection.request(self.method, target, body=self.body, headers=headers)
        answer = http.client.HTTPResponse(wire, method=self.method)  # type: ignore[arg-type]
        answer.begin()
        return answer

    def _follow(self, status: int, location: str) -> None:
        """Become the request that a redirect asks for."""
        old, _ = _checked_url(self.url)
        self.url = urljoin(self.url, location)
        new, _ = _checked_url(self.url)
        if (old.scheme, new.scheme) == ("https", "http"):
            raise Refused("redirected from https to http")
        # RFC 9110, 15.4: 303 always turns a POST into a GET, and 301 and 302 do so by custom.
        if status not in (307, 308) and self.method not in ("GET", "HEAD"):
            self.method, self.body = "GET", None
            self.headers = {name: text for name, text in self.headers.items() if not _is_about_body(name)}
        if not _is_same_server(old, new):
            if self.body is not None:
                raise Refused(f"redirected to another host, which does not get the body: {self.url!a:.200}")
            self.headers = {name: text for name, text in self.headers.items() if name.lower() in _HARMLESS_HEADERS}

    def _read(self, answer: http.client.HTTPResponse) -> Response:
        content, error = bytearray(), ""
        most = conf.HTTP_REQUEST_MAX_BYTES
        try:
            while len(content) <= most and (chunk := answer.read1(65_536)):
                content += chunk
            if len(content) <= most and answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
        except Exception as broken:
            if not self.is_answered:
                raise
            error = _escaped(broken)
        return _response(answer, self.url, bytes(content), error)


def _response(answer: http.client.HTTPResponse, url: str, content: bytes, error: str) -> Response:
    """Make an answer a result that can be stored, whatever the server sent."""
    most = conf.HTTP_REQUEST_MAX_BYTES
    headers, is_cut = _kept_headers(answer.getheaders())
    text = content[:most].decode(_charset(answer.getheader("Content-Type", "")), "replace").replace("\0", "\ufffd")
    response = Response(answer.status, url, headers, "", is_truncated=False, error=error)
    body = _cut(text, conf.MAX_RESULT_BYTES - len(payload.encode(asdict(response))))
    return replace(response, body=body, is_truncated=bool(error) or is_cut or len(content) > most or body != text)


def _kept_headers(received: list[tuple[str, str]]) -> tuple[dict[str, str], bool]:
    kept: dict[str, str] = {}
    room = min(MOST_HEADERS, conf.MAX_RESULT_BYTES // 4)
    for pair in received:
        name, value = (text.replace("\0", "\ufffd") for text in pair)
        room -= len(payload.encode([name, value]))
        if room < 0 or len(name) > payload.LONGEST_KEY:
            return kept, True
        kept[name] = value
    return kept, False


def _charset(content_type: str) -> str:
    named = _CHARSET.search(content_type)
    return named[1] if named and named[1].lower() in _CHARSETS else "utf-8"


def _cut(text: str, most: int) -> str:
    """Cut a text to the length at which it has at most that many bytes as JSON."""
    if len(payload.encode(text)) <= most:
        return text
    return text[: max(0, bisect_right(range(len(text)), most, key=lambda end: len(payload.encode(text[:end]))) - 1)]


def _escaped(error: Exception) -> str:
    """Write an error in printable ASCII, because its text may contain what the server sent."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, http.client.HTTPException) else str(error)
    return ascii(text or type(error).__name__)[1:-1][:LONGEST_MESSAGE]


def _encoded(body: str) -> bytes:
    try:
        return body.encode()
    except UnicodeError:
        raise Refused("expected a body without lone surrogates") from None


def _checked_url(url: str) -> tuple[SplitResult, int]:
    if not url.isascii() or any(not "!" <= character <= "~" for character in url) or len(url) > LONGEST_URL:
        raise Refused(f"expected a URL of at most {LONGEST_URL} printable ASCII characters, got {url!a:.200}")
    try:
        parts = urlsplit(url)
        port = parts.port or SCHEMES.get(parts.scheme, 0)
    except ValueError:
        raise Refused(f"not a URL: {url!a:.200}") from None
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise Refused(f"expected http://host… or https://host…, got {url!a:.200}")
    if parts.username is not None or parts.password is not None:
        raise Refused("expected a URL without user and password")
    return parts, port


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS:
            raise Refused(f"the header {name!a:.50} cannot be set")
        if not name.isascii() or not all(c.isalnum() or c in "-_" for c in name) or not name:
            raise Refused(f"not a header name: {name!a:.50}")
        if any(character in value for character in "\r\n\0"):
            raise Refused(f"the header {name!a:.50} has a line break in it")
        if any(character > "\xff" for character in value):
            raise Refused(f"expected ISO 8859-1 as the value of the header {name!a:.50}")
    return dict(headers)


def _checked_addresses(host: str, port: int, deadline: Deadline) -> list[Address]:
    try:
        addresses = look_up(host, port, deadline)
    except UnicodeError:
        raise Refused(f"not a host name: {host!a:.100}") from None
    if host.lower() not in conf.HTTP_REQUEST_ALLOWED_HOSTS:
        for address in addresses:
            if not is_public(address):
                found = host if host == str(address) else f"{host} is {address}, which"
                raise Refused(f"{found} is not a public address")
    return addresses


def _is_about_body(name: str) -> bool:
    return name.lower().startswith("content-")


def _is_same_server(old: SplitResult, new: SplitResult) -> bool:
    """Tell whether two URLs lead to one server; from http to https on the usual ports it stays the same."""
    before, after = ((parts.scheme, parts.port or SCHEMES[parts.scheme]) for parts in (old, new))
    is_upgraded = (before, after) == (("http", 80), ("https", 443))
    return old.hostname == new.hostname and (before == after or is_upgraded)
