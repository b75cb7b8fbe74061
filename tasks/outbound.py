"""HTTP requests for anyone who may submit a task; they cannot reach addresses inside this machine's network.

A name is resolved once, all of its addresses must be public, and the connection goes to an address that was checked,
because a second look-up could answer differently (DNS rebinding). Redirects are checked in the same way. Proxies from
the environment are not used. ``HTTP_REQUEST_ALLOWED_HOSTS`` names hosts that may have private addresses.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from django.conf import settings

SCHEMES = {"http": 80, "https": 443}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MOST_REDIRECTS = 5
CONNECT_SECONDS = 5.0
#: Headers that this module sets, or that concern the connection and not the request.
_RESERVED_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "proxy-authorization", "proxy-connection", "upgrade"}
)
#: Translated IPv4 addresses. Python calls them global, whatever IPv4 address they contain (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_6TO4 = ipaddress.ip_network("2002::/16")

_CONNECTIONS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(ValueError):
    """The request is invalid or not allowed; its actor does not retry it."""


@dataclass(frozen=True)
class Response:
    """The answer, with its body as text, cut at ``HTTP_REQUEST_MAX_BYTES``."""

    status: int
    url: str
    headers: dict[str, str]
    body: str
    is_truncated: bool


def request(
    url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: str | None = None
) -> Response:
    """Send a request and read the answer.

    Raises:
        Refused: the URL, method, a header or an address is not allowed.
        OSError, http.client.HTTPException: the server did not answer properly; a retry may help.
    """
    method = method.upper()
    if method not in METHODS:
        raise Refused(f"expected one of {', '.join(METHODS)} as the method, got {method!r:.50}")
    fields = _checked_headers(headers or {})
    deadline = time.monotonic() + settings.HTTP_REQUEST_TIMEOUT_SECONDS
    for _ in range(MOST_REDIRECTS + 1):
        response, location = _once(url, method, fields, body, deadline)
        if location is None:
            return response
        url, method, body = _redirected(url, location, response.status, method, body)
        fields = {name: value for name, value in fields.items() if name.lower() != "authorization"}
    raise Refused(f"more than {MOST_REDIRECTS} redirects")


def _once(
    url: str, method: str, headers: Mapping[str, str], body: str | None, deadline: float
) -> tuple[Response, str | None]:
    parts, port = _checked_url(url)
    wire = _wire(parts, port, deadline)
    connection = _CONNECTIONS[parts.scheme](parts.hostname or "", port)
    # With an open socket http.client does not connect, which would look up the name again.
    connection.sock = wire
    try:
        connection.request(
            method,
            f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}",
            body=None if body is None else body.encode(),
            headers={"User-Agent": "callboard", **headers, "Connection": "close"},
        )
        answer = connection.getresponse()
        location = answer.getheader("Location") if answer.status in (301, 302, 303, 307, 308) else None
        text, is_truncated = ("", False) if location else _read(answer, wire, deadline)
        return Response(answer.status, url, dict(answer.getheaders()), text, is_truncated), location
    finally:
        connection.close()


def _redirected(url: str, location: str, status: int, method: str, body: str | None) -> tuple[str, str, str | None]:
    target = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise Refused("redirected from https to http")
    # RFC 9110, 15.4: 303 always turns a POST into a GET, and 301 and 302 do so by custom.
    keeps = status in (307, 308) or method in ("GET", "HEAD")
    return (target, method, body) if keeps else (target, "GET", None)


def _checked_url(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or SCHEMES.get(parts.scheme, 0)
    except ValueError as error:
        raise Refused(f"not a URL: {error}") from error
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise Refused(f"expected http://host… or https://host…, got {url!r:.200}")
    if parts.username is not None or parts.password is not None:
        raise Refused("expected a URL without user and password")
    if not url.isascii() or any(character <= " " for character in url):
        raise Refused("expected a URL of printable ASCII characters")
    return parts, port


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS:
            raise Refused(f"the header {name!r:.50} cannot be set")
        if not name.isascii() or not all(c.isalnum() or c in "-_" for c in name) or not name:
            raise Refused(f"not a header name: {name!r:.50}")
        if any(character in value for character in "\r\n\0"):
            raise Refused(f"the header {name!r:.50} has a line break in it")
    return dict(headers)


def _wire(parts: SplitResult, port: int, deadline: float) -> socket.socket:
    host, timeout = parts.hostname or "", min(CONNECT_SECONDS, _left(deadline))
    wire = _open(_checked_addresses(host, port), port, timeout)
    if parts.scheme == "https":
        wire = ssl.create_default_context().wrap_socket(wire, server_hostname=host)
    wire.settimeout(_left(deadline))
    return wire


def _open(addresses: list[Address], port: int, timeout: float) -> socket.socket:
    error: OSError = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((str(address), port), timeout=timeout)
        except OSError as failed:
            error = failed
    raise error


def _checked_addresses(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise Refused(f"not a host name: {host!r:.100}") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if host.lower() not in settings.HTTP_REQUEST_ALLOWED_HOSTS:
        for address in addresses:
            if not is_public(address):
                raise Refused(f"{host} is {address}, which is not a public address")
    return addresses


def is_public(address: Address) -> bool:
    """Tell whether an address, and every IPv4 address in it, is public."""
    return all(one.is_global and not one.is_multicast for one in _meant(address))


def _meant(address: Address) -> Iterator[Address]:
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _6TO4 and address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def _read(answer: http.client.HTTPResponse, wire: socket.socket, deadline: float) -> tuple[str, bool]:
    most, chunks, size = settings.HTTP_REQUEST_MAX_BYTES, [], 0
    while size <= most:
        # A server that sends single bytes slowly must not exceed the limit.
        wire.settimeout(_left(deadline))
        chunk = answer.read1(65_536)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    charset = answer.headers.get_content_charset() or "utf-8"
    try:
        text = b"".join(chunks)[:most].decode(charset, "replace")
    except LookupError:
        text = b"".join(chunks)[:most].decode("utf-8", "replace")
    return text.replace("\0", "�"), size > most


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError(f"no complete answer within {settings.HTTP_REQUEST_TIMEOUT_SECONDS:g} s")
    return left
