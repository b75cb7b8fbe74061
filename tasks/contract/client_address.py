"""Where a request came from and what it asked for, behind any number of trusted proxies."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from tasks.conf import conf

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(peer: str, forwarded_for: str = "") -> str:
    """Tell which address a request came from; an IPv6 address counts by its /64, which is one customer.

    Only what a trusted proxy wrote counts: ``X-Forwarded-For`` is read from its right end, past the addresses of
    ``TRUSTED_PROXIES``. The caller may have written the rest.

    Parameters:
        peer: the other end of the connection; "" for a Unix socket.
        forwarded_for: the header ``X-Forwarded-For``.
    """
    address, _ = _walked(peer, forwarded_for)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def address_of(environ: Mapping[str, Any]) -> str:
    """Tell which address a WSGI request came from; see ``client_address``."""
    return client_address(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", ""))


def forwarded(value: str, *, peer: str, forwarded_for: str = "") -> str:
    """Tell what the outermost trusted proxy wrote into ``X-Forwarded-Proto`` or ``X-Forwarded-Host``; "" if nothing.

    Proxies that append to such a header append to ``X-Forwarded-For`` too. So the entry that counts is as far from the
    right end as there are trusted proxies; the caller may have written those before it.

    Parameters:
        value: the header.
        peer: the other end of the connection; "" for a Unix socket.
        forwarded_for: the header ``X-Forwarded-For``.
    """
    _, proxies = _walked(peer, forwarded_for)
    entries = value.split(",")
    return entries[-min(proxies, len(entries))].strip() if proxies else ""


def parsed(text: str) -> _Address | None:
    """Read an address, an IPv4-mapped one as IPv4; None if the text is not an address."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _walked(peer: str, forwarded_for: str) -> tuple[_Address | None, int]:
    """Walk from the peer past trusted proxies; return the first other address and how many proxies were passed."""
    address, before, proxies = parsed(peer), forwarded_for.split(","), 0
    while _is_trusted(address) and before:
        proxies += 1
        earlier = parsed(before.pop())
        if earlier is None:
            break
        address = earlier
    return address, proxies


def _is_trusted(address: _Address | None) -> bool:
    # gunicorn gives no address for a Unix socket, which only a proxy on this machine can reach.
    return (address is None and bool(conf.TRUSTED_PROXIES)) or any(
        address in network for network in conf.TRUSTED_PROXIES if address is not None
    )
