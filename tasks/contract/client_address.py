"""The address that a request came from, behind any number of trusted proxies."""

import ipaddress

from django.conf import settings


def client_address(peer: str, forwarded_for: str = "") -> str:
    """Tell which address a request came from; an IPv6 address counts by its /64, which is one customer.

    Only what a trusted proxy wrote counts: ``X-Forwarded-For`` is read from its right end, past the addresses of
    ``TRUSTED_PROXIES``. The caller may have written the rest.

    Parameters:
        peer: the other end of the connection; "" for a Unix socket.
        forwarded_for: the header ``X-Forwarded-For``.
    """
    address, forwarded = parsed(peer), forwarded_for.split(",")
    while _is_trusted(address) and forwarded:
        before = parsed(forwarded.pop())
        if before is None:
            break
        address = before
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address, an IPv4-mapped one as IPv4; None if the text is not an address."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _is_trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    # gunicorn gives no address for a Unix socket, which only a proxy on this machine can reach.
    return (address is None and bool(settings.TRUSTED_PROXIES)) or any(
        address in network for network in settings.TRUSTED_PROXIES if address is not None
    )
