"""The addresses of PostgreSQL and the broker: one URL each; the spellings of other stacks are converted or refused."""

import re
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured
from environ import Env

from scheduler_site import env
from tasks.broker import redis_url as redis
from tasks.conf import IN_PROCESS_URL
from tasks.setting import Integer

POSTGRES_SCHEMES = ("postgres", "postgresql")
#: Each of them names a broker; the first that is set counts.
_BROKER_URLS = ("BROKER_URL", "RABBITMQ_URL", "REDIS_URL")


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
    scheme, _, rest = url.partition("://")
    if rest and scheme.split("+")[0].lower() in POSTGRES_SCHEMES:
        return f"postgres://{rest}"
    raise ImproperlyConfigured(
        f"{name}: Callboard runs on PostgreSQL only; expected postgres://user:password@host:5432/name, "
        f"got {redacted(url)!r}."
    )


def database_url_from_parts() -> str:
    """Build the URL from ``POSTGRES_HOST``, ``_PORT``, ``_DB``, ``_USER`` and ``_PASSWORD``; '' without a host."""
    host = env.text("POSTGRES_HOST")
    if not host:
        if not database_is_named():
            _refuse_parts("POSTGRES", ("DB", "PASSWORD", "PORT", "USER"), url="DATABASE_URL")
        return ""
    user = env.text("POSTGRES_USER", "postgres")
    password = env.text("POSTGRES_PASSWORD")
    return (
        f"postgres://{_userinfo(user, password)}{host}:{env.read('POSTGRES_PORT', Integer(5432, maximum=65535))}"
        f"/{quote(env.text('POSTGRES_DB', user), safe='')}"
    )


def database_settings(url: str, *, max_age_seconds: float) -> dict[str, Any]:
    """Turn a PostgreSQL URL into Django's dictionary; '' into a backend whose error says what to set."""
    if not url:
        return {"ENGINE": "scheduler_site.no_database"}
    config: dict[str, Any] = dict(Env.db_url_config(url))
    if not config.get("NAME"):
        raise ImproperlyConfigured(f"DATABASE_URL: expected a database name after the last /, got {redacted(url)!r}.")
    config["ENGINE"] = "tasks.db.postgresql"
    config.setdefault("CONN_MAX_AGE", max_age_seconds)
    config.setdefault("CONN_HEALTH_CHECKS", True)
    # A host that drops packets must not hold a request or a worker thread for minutes.
    config["OPTIONS"] = {"connect_timeout": 5, **config.get("OPTIONS", {})}
    return config


def broker_url() -> str:
    """Read ``BROKER_URL``; ``REDIS_URL`` or ``REDIS_HOST`` alone make Redis the broker."""
    for name in _BROKER_URLS:
        if url := env.text(name):
            return _checked_broker_url(name, url)
    if not broker_is_named():
        _refuse_parts("REDIS", ("DB", "PASSWORD", "PORT"), url="BROKER_URL")
    return _redis_url_from_parts() or IN_PROCESS_URL


def redis_url(broker: str) -> str:
    """Read ``REDIS_URL``, by default the broker's; '' if there is no Redis at all."""
    default = broker if _scheme(broker) in redis.SCHEMES else _redis_url_from_parts()
    url = env.text("REDIS_URL", default)
    if url and _scheme(url) not in redis.SCHEMES:
        raise ImproperlyConfigured(
            f"REDIS_URL: expected redis://, rediss:// or redis+sentinel://, got {redacted(url)!r}."
        )
    return _checked_redis_url("REDIS_URL", url)


def redacted(url: str) -> str:
    """Mask the password in a URL, so that an error can quote it."""
    return re.sub(r"://([^:/@]*):.*@", r"://\1:***@", url)


def _checked_broker_url(name: str, url: str) -> str:
    scheme = _scheme(url)
    if scheme in redis.SCHEMES:
        return _checked_redis_url(name, url)
    if scheme == "inprocess":
        return IN_PROCESS_URL
    if scheme in {"amqp", "amqps"}:
        raise ImproperlyConfigured(
            f"{name}: RabbitMQ comes with a later release; expected BROKER_URL with redis://, rediss:// or "
            f"inprocess://, got {redacted(url)!r}."
        )
    raise ImproperlyConfigured(f"{name}: expected redis://, rediss:// or inprocess://, got {redacted(url)!r}.")


def _checked_redis_url(name: str, url: str) -> str:
    try:
        if url and redis.is_sentinel(url):
            redis.parse_service(url)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}, got {redacted(url)!r}.") from error
    return url


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _refuse_parts(prefix: str, parts: tuple[str, ...], *, url: str) -> None:
    """Refuse parts of an address without a host: they mean a server, and `up` would start a private one instead."""
    for name in (f"{prefix}_{part}" for part in parts):
        if env.text(name):
            raise ImproperlyConfigured(
                f"{name} is set, but the server's address is not: set {prefix}_HOST or {url} as well."
            )


def _redis_url_from_parts() -> str:
    host = env.text("REDIS_HOST")
    if not host:
        return ""
    port, number = env.read("REDIS_PORT", Integer(6379, maximum=65535)), env.read("REDIS_DB", Integer(0))
    return f"redis://{_userinfo('', env.text('REDIS_PASSWORD'))}{host}:{port}/{number}"


def _userinfo(user: str, password: str) -> str:
    secret = f":{quote(password, safe='')}" if password else ""
    return f"{quote(user, safe='')}{secret}@" if user or secret else ""
