"""A server's URL in parts: read strictly, written in one spelling. No error quotes a part that may hold a secret."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple, Self
from urllib.parse import quote, unquote

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,29}", re.ASCII | re.IGNORECASE)
_HOST_NAME = re.compile(r"[\w.-]+", re.ASCII)
_OPTION_NAME = re.compile(r"\w{1,40}", re.ASCII)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-f]{2})|%00", re.IGNORECASE)
_LARGEST_PORT = 65_535
_HOW_TO_ENCODE = "in a user name or password write @ as %40, / as %2F, # as %23, ? as %3F and % as %25"


class WrongUrl(ValueError):
    """A URL is not understood; the message says what was expected, and nothing secret."""


class Host(NamedTuple):
    """One host: a name, an IP address without brackets or the path of a unix socket; "" and None mean the default."""

    name: str
    port: int | None = None


@dataclass(frozen=True)
class ServerUrl:
    """The parts of ``scheme://user:password@host:port,host:port/path?option=value``, all decoded.

    Parameters:
        path: what stands between slashes after the first; an encoded slash is part of a name.
        options: without those that are empty.
    """

    scheme: str
    user: str = ""
    password: str = field(default="", repr=False)
    hosts: tuple[Host, ...] = ()
    path: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            WrongUrl: it has another form, or a character that would move a part of it to another place.
        """
        rest = url.partition("://")[2]
        end_of_hosts = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
        # A raw @, / or ? in a password makes the rest of the password the host, the path or an option.
        if "#" in rest or "@" in rest[end_of_hosts:] or rest.count("@") > 1:
            raise WrongUrl(f"expected at most one @, before the host, and no #: {_HOW_TO_ENCODE}")
        if _BROKEN_ESCAPE.search(rest):
            raise WrongUrl("expected two hexadecimal digits, not 00, after each %: write % itself as %25")
        userinfo, _, hosts = rest[:end_of_hosts].rpartition("@")
        user, _, password = userinfo.partition(":")
        path, _, query = rest[end_of_hosts:].partition("?")
        return cls(
            scheme_of(url),
            _decoded(user),
            _decoded(password),
            tuple(_host(one) for one in hosts.split(",")) if hosts else (),
            tuple(map(_decoded, path[1:].split("/"))) if path else (),
            _options(query),
        )

    def __str__(self) -> str:
        """Write the URL, the secret included."""
        user, password = _encoded(self.user), _encoded(self.password)
        userinfo = f"{user}{f':{password}' if password else ''}@" if user or password else ""
        hosts = ",".join(map(_written, self.hosts))
        path = "".join(f"/{_encoded(name)}" for name in self.path)
        options = "&".join(f"{name}={_encoded(value)}" for name, value in self.options.items())
        return f"{self.scheme}://{userinfo}{hosts}{path}{f'?{options}' if options else ''}"


def scheme_of(url: str) -> str:
    """Give the scheme in lower case, without ``://``; "" if there is none."""
    scheme, mark, _ = url.partition("://")
    return scheme.lower() if mark and _SCHEME.fullmatch(scheme) else ""


def port(text: str) -> int | None:
    """Read a port; None for "".

    Raises:
        WrongUrl: it is not a whole number from 1 to 65535. What came is not said: it may be half a password.
    """
    if not text:
        return None
    if not (
        text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST_PORT)) and 1 <= int(text) <= _LARGEST_PORT
    ):
        raise WrongUrl(f"expected a port from 1 to {_LARGEST_PORT} after the host's colon; {_HOW_TO_ENCODE}")
    return int(text)


def host_name(text: str) -> str:
    """Check a name, an IP address without brackets, or the absolute path of a unix socket.

    Raises:
        WrongUrl: it is none of them.
    """
    if text and not text.startswith("/") and not _HOST_NAME.fullmatch(text) and not _is_ipv6(text):
        raise WrongUrl("expected as host a name, an IPv4 address, an IPv6 address in brackets or the path of a socket")
    if text.startswith("/") and ("," in text or not text.isprintable()):
        raise WrongUrl("expected a socket's path without commas and control characters")
    return text


def _host(text: str) -> Host:
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ipv6(_decoded(name)) or rest[:1] not in ("", ":"):
            raise WrongUrl("expected an IPv6 address in brackets, such as [::1] or [::1]:5432")
        return Host(_decoded(name), port(rest[1:]))
    name, _, number = text.partition(":")
    if ":" in number and _is_ipv6(text):
        raise WrongUrl("expected brackets around an IPv6 address, such as [::1] or [::1]:5432")
    return Host(host_name(_decoded(name)), port(number))


def _options(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not _OPTION_NAME.fullmatch(name):
            raise WrongUrl(f"expected ?name=value&name=value after the path; {_HOW_TO_ENCODE}")
        if name in found:
            raise WrongUrl(f"expected the option {name} once")
        if "+" in value:
            # A space for some clients, a plus for others.
            raise WrongUrl(f"expected no + in the option {name}: write a plus as %2B and a space as %20")
        found[name] = _decoded(value)
    return {name: value for name, value in found.items() if value}


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise WrongUrl("expected UTF-8 behind the percent signs") from None


def _encoded(text: str, *, safe: str = "") -> str:
    # The environment's bytes that are not UTF-8 stay what they are, and are refused where they are read.
    return quote(text, safe=safe, errors="surrogateescape")


def _written(host: Host) -> str:
    is_ipv6 = ":" in host.name and not host.name.startswith("/")
    name = f"[{_encoded(host.name, safe=':')}]" if is_ipv6 else _encoded(host.name)
    return name if host.port is None else f"{name}:{host.port}"


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
