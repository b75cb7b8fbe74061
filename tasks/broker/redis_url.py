"""Redis by its URL: plain, over TLS, behind a unix socket, or the master behind Sentinel.

``redis://user:password@host:6379/0``, ``rediss://…`` for TLS (``?ssl_ca_certs=/path`` names the authority),
``unix://user:password@/run/redis.sock?db=0``, and
``redis+sentinel://user:password@host1:26379,host2:26379/service/0`` (``rediss+sentinel://`` for TLS to all of them,
``?sentinel_username=…&sentinel_password=…`` for the sentinels themselves).
"""

from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import redis
from redis.connection import parse_url
from redis.sentinel import Sentinel

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_SENTINEL_PORT = 26379


class SentinelService(NamedTuple):
    """The parts of a URL that names a master behind Sentinel."""

    sentinels: list[tuple[str, int]]
    name: str
    options: dict[str, Any]
    of_sentinels: dict[str, Any]


def client(url: str, **options: Any) -> redis.Redis:
    """Make a client; it connects with its first command.

    Parameters:
        options: for connections to Redis and to sentinels.

    Raises:
        ValueError: the URL is not one of the forms above.
    """
    if not is_sentinel(url):
        return redis.Redis.from_url(url, **options)
    service = parse_service(url)
    manager = Sentinel(service.sentinels, sentinel_kwargs={**options, **service.of_sentinels})  # type: ignore[no-untyped-call]
    found: redis.Redis = manager.master_for(service.name, **{**options, **service.options})  # type: ignore[no-untyped-call]
    return found


def is_sentinel(url: str) -> bool:
    """Tell whether a URL names sentinels instead of Redis itself."""
    return urlsplit(url).scheme.endswith("+sentinel")


def parse_service(url: str) -> SentinelService:
    """Read the URL of a service behind sentinels.

    Raises:
        ValueError: a host, a port or the service's name is missing or wrong.

    >>> parse_service("redis+sentinel://:secret@a:1,b/main/2").sentinels
    [('a', 1), ('b', 26379)]
    >>> parse_service("redis+sentinel://[::1]:5,[::2]/main").sentinels
    [('::1', 5), ('::2', 26379)]
    """
    parts = urlsplit(url)
    userinfo, _, hosts = parts.netloc.rpartition("@")
    name, _, number = map(unquote, parts.path.strip("/").partition("/"))
    if not name or not hosts:
        raise ValueError("expected redis+sentinel://host:port,host:port/service")
    username, _, password = (unquote(part) for part in userinfo.partition(":"))
    # The client's own parser, which knows which options are numbers.
    query = dict(parse_url(f"redis://?{parts.query}"))  # type: ignore[no-untyped-call]
    of_sentinels = {key: query.pop(f"sentinel_{key}", None) for key in ("username", "password")}
    tls = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    options = {"username": username or None, "password": password or None, "db": int(number or 0), **query, **tls}
    return SentinelService(
        [_address(host) for host in hosts.split(",")], name, options, {**of_sentinels, **query, **tls}
    )


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return unquote(parts.hostname or ""), parts.port or _SENTINEL_PORT


class Pool:
    """The connection pool class of Django's cache."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> redis.ConnectionPool:
        """Make the pool of a client for the URL."""
        return client(url, **options).connection_pool
