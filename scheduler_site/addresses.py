"""The addresses of PostgreSQL and the broker: one URL each, in any usual spelling; what is not understood is refused.

A URL that these functions return means the same to Django, libpq and the clients of Redis and RabbitMQ: they fill in
nothing, ignore nothing and connect nowhere else. No error quotes a URL, because a password may be in any part of a
mistyped one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2
import redis
from django.core.exceptions import ImproperlyConfigured
from psycopg2.extensions import make_dsn

from scheduler_site import env
from scheduler_site.server_url import Host, ServerUrl, WrongUrl, host_name, port, scheme_of
from tasks.broker import redis_url as redis_urls
from tasks.conf import IN_PROCESS_URL
from tasks.setting import Integer

POSTGRES_SCHEMES = ("postgres", "postgresql")
#: Each of them names a broker; the first that is set counts.
_BROKER_URLS = ("BROKER_URL", "RABBITMQ_URL", "REDIS_URL")

_EXPECTED_POSTGRES = "expected postgres://user:password@host:5432/name"
_EXPECTED_REDIS = "expected redis://, rediss:// (TLS), redis+sentinel://, unix:///path or inprocess://"
_EXPECTED_SENTINELS = "expected redis+sentinel://host:port,host:port/service"
_EXPECTED_RABBITMQ = "expected amqp://user:password@host:5672/vhost, or amqps:// (TLS)"
#: kombu's names for the schemes of RabbitMQ.
_RABBITMQ_SCHEMES = {"amqp": "amqp", "amqps": "amqps", "pyamqp": "amqp"}
#: Options that a URL may set; those of TLS need ``amqps://``.
_RABBITMQ_OPTIONS = frozenset({"connection_timeout", "heartbeat"})
_RABBITMQ_TLS_OPTIONS = frozenset({"cacertfile", "certfile", "keyfile", "verify"})
#: The names that others give to the schemes of ``tasks.broker.redis_url``.
_OTHER_REDIS_SCHEMES = {
    "valkey": "redis",
    "valkeys": "rediss",
    "redis+socket": "unix",
    "redis+unix": "unix",
    "valkey+unix": "unix",
}
#: Options of the Redis client that a URL may set; those of TLS need ``rediss://``.
_REDIS_OPTIONS = frozenset(
    {"client_name", "health_check_interval", "max_connections", "protocol", "retry_on_timeout"}
    | {"socket_connect_timeout", "socket_keepalive", "socket_timeout"}
)
_TLS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers"}
    | {"ssl_keyfile", "ssl_min_version", "ssl_password"}
)
_SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password"})
#: Options that other stacks put into a PostgreSQL URL, each with what to write instead.
_NOT_OF_LIBPQ = {
    "conn_max_age": "set DATABASE_MAX_AGE_SECONDS",
    "pgbouncer": "set DIRECT_DATABASE_URL to the server behind the pooler",
    "schema": "write options=-csearch_path%3Dname",
}


def database_is_named() -> bool:
    """Tell whether the environment names a PostgreSQL, in any spelling."""
    return bool(env.text("DATABASE_URL") or env.text("POSTGRES_HOST"))


def broker_is_named() -> bool:
    """Tell whether the environment names a broker, in any spelling."""
    return any(env.text(name) for name in (*_BROKER_URLS, "REDIS_HOST"))


def database_url(name: str, default: str = "") -> str:
    """Read a PostgreSQL URL; '' if there is none.

    SQLAlchemy's ``postgresql+driver://`` means the same server and is accepted; other databases are refused.
    """
    url = env.text(name, default)
    if not url:
        return ""
    with _refused(name):
        return str(_postgres(url))


def database_url_from_parts() -> str:
    """Build the URL from ``POSTGRES_HOST``, ``_PORT``, ``_DB``, ``_USER`` and ``_PASSWORD``; '' without a host."""
    host = env.text("POSTGRES_HOST")
    if not host:
        if not database_is_named():
            _refuse_parts("POSTGRES", ("DB", "PASSWORD", "PORT", "USER"), url="DATABASE_URL")
        return ""
    user = env.text("POSTGRES_USER", "postgres")
    where = Host(
        _host_of("POSTGRES", host, url="DATABASE_URL"), env.read("POSTGRES_PORT", Integer(5432, maximum=65535))
    )
    name = env.text("POSTGRES_DB", user)
    return str(ServerUrl("postgres", user, env.text("POSTGRES_PASSWORD"), (_without_socket_file(where),), (name,)))


def database_settings(url: str, *, max_age_seconds: float) -> dict[str, Any]:
    """Turn a PostgreSQL URL into Django's dictionary; '' into a backend whose error says what to set."""
    if not url:
        return {"ENGINE": "scheduler_site.no_database"}
    with _refused("DATABASE_URL"):
        parts = _postgres(url)
    ports = [str(host.port or "") for host in parts.hosts]
    return {
        "ENGINE": "tasks.db.postgresql",
        "NAME": parts.path[0],
        "USER": parts.user,
        "PASSWORD": parts.password,
        "HOST": ",".join(host.name for host in parts.hosts),
        # As libpq writes it: one for each host, "" for the default.
        "PORT": ",".join(ports) if any(ports) else "",
        "CONN_MAX_AGE": max_age_seconds,
        "CONN_HEALTH_CHECKS": True,
        # A host that drops packets must not hold a request or a worker thread for minutes.
        "OPTIONS": {"connect_timeout": "5", **parts.options},
    }


def broker_url() -> str:
    """Read ``BROKER_URL``; ``RABBITMQ_URL``, or ``REDIS_URL`` or ``REDIS_HOST`` alone, name the broker as well."""
    for name in _BROKER_URLS:
        if url := env.text(name):
            return _checked_broker_url(name, url)
    if not broker_is_named():
        _refuse_parts("REDIS", ("DB", "PASSWORD", "PORT", "USERNAME"), url="BROKER_URL")
    return _redis_url_from_parts() or IN_PROCESS_URL


def redis_url(broker: str) -> str:
    """Read ``REDIS_URL``, by default the broker's if that is Redis; '' if there is no Redis at all."""
    is_redis = scheme_of(broker) in redis_urls.SCHEMES
    url = env.text("REDIS_URL", broker if is_redis else _redis_url_from_parts())
    if not url:
        return ""
    with _refused("REDIS_URL"):
        return str(_redis(url))


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def _postgres(url: str) -> ServerUrl:
    """Read the URL of a database; hosts, ports, user and password may be options, as libpq allows.

    Raises:
        WrongUrl: it does not name one database of a PostgreSQL.
    """
    scheme = scheme_of(url)
    if scheme.partition("+")[0] not in POSTGRES_SCHEMES:
        raise WrongUrl(f"Callboard runs on PostgreSQL only; {_EXPECTED_POSTGRES}, {_came(scheme)}")
    parts = ServerUrl.parse(url)
    options = dict(parts.options)
    hosts, path = parts.hosts, parts.path
    if len(path) > 2 and not path[0] and not hosts and "host" not in options:
        # postgres:////run/postgresql/name
        hosts, path = (Host("/".join(path[:-1])),), path[-1:]
    if len(path) > 1:
        raise WrongUrl(f"expected one / after the host, before the database name: {_EXPECTED_POSTGRES}")
    name = _once("dbname", "".join(path), options)
    if not name:
        raise WrongUrl(f"expected a database name after the last /: {_EXPECTED_POSTGRES}")
    user, password = _once("user", parts.user, options), _once("password", parts.password, options)
    hosts = _hosts(hosts, options)
    if options.get("ssl") == "true":
        # libpq understands it in a URL only.
        options = {"sslmode": "require", **options}
        del options["ssl"]
    for option in options:
        _check_option_of_libpq(option)
    return ServerUrl("postgres", user, password, hosts, (name,), options)


def _once(option: str, value: str, options: dict[str, str]) -> str:
    """Take an option that is a part of the URL as well; given twice, it would depend on the client which one counts."""
    other = options.pop(option, "")
    if value and other and value != other:
        raise WrongUrl(f"expected {option} once, before the ? or as an option")
    return value or other


def _hosts(hosts: tuple[Host, ...], options: dict[str, str]) -> tuple[Host, ...]:
    given = _once("host", ",".join(host.name for host in hosts), options)
    names = [host_name(name) for name in given.split(",")] if given else []
    before = [str(host.port or "") for host in hosts]
    ports = _once("port", ",".join(before) if any(before) else "", options).split(",")
    if len(ports) == 1:
        ports *= max(1, len(names))
    if len(ports) != max(1, len(names)):
        raise WrongUrl(f"expected one port, or one for each of {len(names)} hosts, got {len(ports)}")
    found = [Host(name, port(number)) for name, number in zip(names or [""], ports, strict=True)]
    return () if found == [Host("")] else tuple(map(_without_socket_file, found))


def _without_socket_file(host: Host) -> Host:
    """Turn the path of a socket itself into libpq's form, the folder and the port."""
    folder, mark, number = host.name.rpartition("/.s.PGSQL.")
    if not mark:
        return host
    if host.port not in (None, 5432, port(number)):
        raise WrongUrl("expected the port once, in the socket's name or after the host")
    return Host(folder, port(number))


def _check_option_of_libpq(option: str) -> None:
    try:
        make_dsn(**{option: "x"})
    except psycopg2.ProgrammingError:
        instead = f": {_NOT_OF_LIBPQ[option]}" if option in _NOT_OF_LIBPQ else ""
        raise WrongUrl(f"PostgreSQL's client has no option {option!r}{instead}") from None


# --- Redis -----------------------------------------------------------------------------------------------------------


def _checked_broker_url(name: str, url: str) -> str:
    scheme = scheme_of(url)
    if scheme == "inprocess":
        return IN_PROCESS_URL
    with _refused(name):
        if scheme in _RABBITMQ_SCHEMES or name == "RABBITMQ_URL":
            return str(_rabbitmq(url))
        return str(_redis(url))


def _redis(url: str) -> ServerUrl:
    """Read the URL of a Redis.

    Raises:
        WrongUrl: it does not name one.
    """
    given = scheme_of(url)
    scheme = _OTHER_REDIS_SCHEMES.get(given, given)
    if scheme not in redis_urls.SCHEMES:
        raise WrongUrl(f"{_EXPECTED_REDIS}, {_came(given)}")
    parts = replace(ServerUrl.parse(url), scheme=scheme)
    options = dict(parts.options)
    if "ssl_cert_reqs" in options:
        # Celery writes CERT_NONE for the client's none.
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    parts = replace(
        parts, user=_once("username", parts.user, options), password=_once("password", parts.password, options)
    )
    if scheme == "unix":
        parts = _redis_socket(parts, options)
    elif scheme.endswith("+sentinel"):
        parts = _redis_sentinels(parts, options)
    else:
        parts = _redis_server(parts, options)
    _check_options(parts, is_tls=scheme.startswith("rediss"))
    return parts


def _redis_server(parts: ServerUrl, options: dict[str, str]) -> ServerUrl:
    if len(parts.hosts) > 1:
        raise WrongUrl(f"expected one host; for sentinels {_EXPECTED_SENTINELS}")
    if any(host.name.startswith("/") for host in parts.hosts):
        raise WrongUrl("expected unix:///path/of/redis.sock for a socket")
    number = _number(_once("db", "/".join(parts.path), options))
    return replace(parts, path=(number,) if number else (), options=options)


def _redis_socket(parts: ServerUrl, options: dict[str, str]) -> ServerUrl:
    # kombu's name for the number of the database.
    number = _number(_once("virtual_host", options.pop("db", ""), options))
    path = parts.path
    if len(parts.hosts) == 1 and not path and parts.hosts[0].name.startswith("/"):
        # unix://%2Frun%2Fredis.sock
        path = tuple(parts.hosts[0].name[1:].split("/"))
    elif parts.hosts or not any(path):
        raise WrongUrl("expected three slashes before the path of the socket: unix:///run/redis/redis.sock?db=0")
    return replace(parts, hosts=(), path=path, options={**({"db": number} if number else {}), **options})


def _redis_sentinels(parts: ServerUrl, options: dict[str, str]) -> ServerUrl:
    service, *rest = parts.path or ("",)
    number = _number(_once("db", "/".join(rest), options))
    if not service or not parts.hosts or any(host.name[:1] in ("", "/") for host in parts.hosts):
        raise WrongUrl(_EXPECTED_SENTINELS)
    return replace(parts, path=(service, number) if number else (service,), options=options)


def _number(text: str) -> str:
    if text and not (text.isascii() and text.isdigit()):
        raise WrongUrl("expected the number of a Redis database after the last /, such as /0")
    return text


def _check_options(parts: ServerUrl, *, is_tls: bool) -> None:
    known = {"db"} | _REDIS_OPTIONS | _TLS_OPTIONS
    if parts.scheme.endswith("+sentinel"):
        known |= _SENTINEL_OPTIONS
    for option in parts.options:
        if option not in known:
            raise WrongUrl(f"the Redis client has no option {option!r}; it takes {', '.join(sorted(known))}")
        if option in _TLS_OPTIONS and not is_tls:
            raise WrongUrl(f"expected rediss://, that is TLS, with the option {option}")
    try:
        redis.connection.parse_url(str(replace(parts, scheme="redis", hosts=(), path=())))  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise WrongUrl(str(error)) from None


def _redis_url_from_parts() -> str:
    host = env.text("REDIS_HOST")
    if not host:
        return ""
    where = Host(_host_of("REDIS", host, url="BROKER_URL"), env.read("REDIS_PORT", Integer(6379, maximum=65535)))
    number, user, password = (
        str(env.read("REDIS_DB", Integer(0))),
        env.text("REDIS_USERNAME"),
        env.text("REDIS_PASSWORD"),
    )
    if where.name.startswith("/"):
        return str(ServerUrl("unix", user, password, (), tuple(where.name[1:].split("/")), {"db": number}))
    return str(ServerUrl("redis", user, password, (where,), (number,)))


# --- RabbitMQ --------------------------------------------------------------------------------------------------------


def _rabbitmq(url: str) -> ServerUrl:
    """Read the URL of a RabbitMQ, or of several nodes of one.

    Raises:
        WrongUrl: it does not name one.
    """
    given = scheme_of(url)
    if given not in _RABBITMQ_SCHEMES:
        raise WrongUrl(f"{_EXPECTED_RABBITMQ}, {_came(given)}")
    parts = replace(ServerUrl.parse(url), scheme=_RABBITMQ_SCHEMES[given])
    if any(host.name[:1] in ("", "/") for host in parts.hosts) or not parts.hosts:
        raise WrongUrl(_EXPECTED_RABBITMQ)
    # Celery writes // for the virtual host "/", others write nothing.
    vhost = "/" if parts.path in ((), ("",), ("", ""), ("/",)) else "/".join(parts.path)
    if len(parts.path) > 1 and vhost != "/":
        raise WrongUrl("expected one / before the virtual host; one that is part of its name is %2F")
    for option, value in parts.options.items():
        if option not in _RABBITMQ_OPTIONS | _RABBITMQ_TLS_OPTIONS:
            known = ", ".join(sorted(_RABBITMQ_OPTIONS | _RABBITMQ_TLS_OPTIONS))
            raise WrongUrl(f"RabbitMQ's URL has no option {option!r}; it takes {known}")
        if option in _RABBITMQ_TLS_OPTIONS and parts.scheme != "amqps":
            raise WrongUrl(f"expected amqps://, that is TLS, with the option {option}")
        if option in _RABBITMQ_OPTIONS and not (value.isascii() and value.isdigit()):
            raise WrongUrl(f"expected whole seconds in the option {option}")
        if option == "verify" and value not in ("verify_peer", "verify_none"):
            raise WrongUrl("expected verify_peer or verify_none in the option verify")
    return replace(parts, path=() if vhost == "/" else (vhost,))


# --- All --------------------------------------------------------------------------------------------------------------


def _host_of(prefix: str, text: str, *, url: str) -> str:
    """Read a host that stands alone: an IPv6 address may be in brackets; a port or a URL does not belong there."""
    with _refused(f"{prefix}_HOST"):
        try:
            return host_name(text.removeprefix("[").removesuffix("]"))
        except WrongUrl as error:
            raise WrongUrl(f"{error}, without a port, which is {prefix}_PORT; a whole URL is {url}") from None


def _refuse_parts(prefix: str, parts: tuple[str, ...], *, url: str) -> None:
    """Refuse parts of an address without a host: they mean a server, and `up` would start a private one instead."""
    for name in (f"{prefix}_{part}" for part in parts):
        if env.text(name):
            raise ImproperlyConfigured(
                f"{name} is set, but the server's address is not: set {prefix}_HOST or {url} as well."
            )


@contextmanager
def _refused(name: str) -> Iterator[None]:
    try:
        yield
    except WrongUrl as error:
        raise ImproperlyConfigured(f"{name}: {error}.") from None


def _came(scheme: str) -> str:
    return f"got {scheme}://" if scheme else "got no scheme://"
