"""Addresses: what goes in comes out, for Django, libpq and the Redis client alike; the rest is refused, in silence."""

import os
import re
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn
from redis.connection import parse_url

from scheduler_site import addresses
from scheduler_site.server_url import ServerUrl
from tasks.broker import redis_url

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter-two-and-a-half"
_NAMES = ("DATABASE_URL", "BROKER_URL", "RABBITMQ_URL", "REDIS_URL")
_PREFIXES = ("POSTGRES_", "REDIS_")
_OF_REDIS = {"host", "port", "path", "db", "username", "password", "socket_timeout", "ssl_cert_reqs"}


def environment(**variables: str) -> Any:
    """Set these variables and no other address."""
    others = {k: v for k, v in os.environ.items() if k not in _NAMES and not k.startswith(_PREFIXES)}
    return mock.patch.dict(os.environ, {**others, **variables}, clear=True)


def database(url: str) -> dict[str, Any]:
    """Read a URL as Django's backend gets it, and make sure that libpq understands the same."""
    with environment(DATABASE_URL=url):
        written = addresses.database_url("DATABASE_URL")
    config = addresses.database_settings(written, max_age_seconds=0)
    options = {name: value for name, value in config["OPTIONS"].items() if name != "connect_timeout"}
    names = {"HOST": "host", "PORT": "port", "NAME": "dbname", "USER": "user", "PASSWORD": "password"}
    django = {theirs: config[ours] for ours, theirs in names.items() if config[ours]} | options
    libpq = {name: value for name, value in parse_dsn(written).items() if name != "connect_timeout"}
    assert django == libpq
    return libpq


def broker(url: str) -> dict[str, Any]:
    """Read a URL as the Redis client gets it."""
    with environment(BROKER_URL=url):
        written = addresses.broker_url()
    given = redis_url.client(written).connection_pool.connection_kwargs
    return {name: value for name, value in given.items() if name in _OF_REDIS}


def refusal(**variables: str) -> str:
    """Read addresses that are refused; give the message."""
    with environment(**variables), pytest.raises(ImproperlyConfigured) as error:
        _read_all()
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return str(error.value)


def _read_all() -> None:
    url = addresses.database_url("DATABASE_URL") or addresses.database_url_from_parts()
    addresses.database_settings(url, max_age_seconds=0)
    addresses.redis_url(addresses.broker_url())


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgres://u:p@h:1/db", {"user": "u", "password": "p", "host": "h", "port": "1", "dbname": "db"}),
        ("POSTGRESQL+psycopg2://u@h/db", {"user": "u", "host": "h", "dbname": "db"}),
        ("postgresql+asyncpg://h/db?sslmode=verify-full", {"host": "h", "dbname": "db", "sslmode": "verify-full"}),
        ("postgres:///db", {"dbname": "db"}),
        ("postgres:///db?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "db"}),
        ("postgres://u@/db?host=%2Frun%2Fpg&port=6", {"user": "u", "host": "/run/pg", "port": "6", "dbname": "db"}),
        ("postgres://u@:6/db?host=/run/pg", {"user": "u", "host": "/run/pg", "port": "6", "dbname": "db"}),
        ("postgres://u@%2Frun%2Fpg:6/db", {"user": "u", "host": "/run/pg", "port": "6", "dbname": "db"}),
        ("postgres:////run/pg/db", {"host": "/run/pg", "dbname": "db"}),
        ("postgres:///db?host=/run/pg/.s.PGSQL.5433", {"host": "/run/pg", "port": "5433", "dbname": "db"}),
        ("postgres://[::1]:5/db", {"host": "::1", "port": "5", "dbname": "db"}),
        ("postgres://[fe80::1%25eth0]/db", {"host": "fe80::1%eth0", "dbname": "db"}),
        ("postgres://a:1,b:2/db", {"host": "a,b", "port": "1,2", "dbname": "db"}),
        ("postgres://a,b:2/db", {"host": "a,b", "port": ",2", "dbname": "db"}),
        ("postgres:///db?host=a,b&port=7", {"host": "a,b", "port": "7,7", "dbname": "db"}),
        ("postgres://h/?user=u&password=p%2B&dbname=d", {"user": "u", "password": "p+", "host": "h", "dbname": "d"}),
        ("postgres://h/a%2Fb", {"host": "h", "dbname": "a/b"}),
        ("postgres://h/db?ssl=true", {"host": "h", "dbname": "db", "sslmode": "require"}),
        ("postgres://h/db?options=-csearch_path%3Da,b", {"host": "h", "dbname": "db", "options": "-csearch_path=a,b"}),
        ("postgres://u:p:w[]@h/db", {"user": "u", "password": "p:w[]", "host": "h", "dbname": "db"}),
    ],
)  # fmt: skip
def test_the_usual_spellings_of_a_database(url: str, parts: dict[str, str]) -> None:
    assert database(url) == parts


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"mysql://u:{SECRET}@h/db", "PostgreSQL only; expected postgres://user:password@host:5432/name, got mysql://"),
        (SECRET, "got no scheme://"),
        (f"jdbc:postgresql://h/db?user=u&password={SECRET}", "got no scheme://"),
        (f"postgres://u:a@{SECRET}@h/db", "@ as %40"),
        (f"postgres://u:a/{SECRET}@h/db", "/ as %2F"),
        (f"postgres://u:a#{SECRET}@h/db", "# as %23"),
        (f"postgres://u:a?{SECRET}@h/db", "? as %3F"),
        # Read as a host, a port and a path or an option, these would lead to the host "elsewhere".
        ("postgres://elsewhere:1/x@h/db", "/ as %2F"),
        ("postgres://elsewhere:1?application_name=x@h/db", "? as %3F"),
        (f"postgres://u:a%{SECRET}@h/db", "write % itself as %25"),
        (f"postgres://u:%00{SECRET}@h/db", "not 00"),
        (f"postgres://u:%ff{SECRET}@h/db", "expected UTF-8"),
        (f"postgres://h:{SECRET}/db", "expected a port from 1 to 65535"),
        (f"postgres://u:{SECRET}@h:0/db", "expected a port from 1 to 65535"),
        (f"postgres://u:{SECRET}@h h/db", "expected as host a name"),
        (f"postgres://u:{SECRET}@::1/db", "expected brackets around an IPv6 address, such as [::1]"),
        (f"postgres://u:{SECRET}@[::1/db", "expected an IPv6 address in brackets"),
        (f"postgres://u:{SECRET}@[::1]5/db", "expected an IPv6 address in brackets"),
        (f"postgres://u:{SECRET}@h", "expected a database name after the last /"),
        (f"postgres://u:{SECRET}@h/db/more", "expected one / after the host"),
        (f"postgres://u:{SECRET}@h/db?host=other", "expected host once"),
        (f"postgres://u:{SECRET}@h/db?password=other", "expected password once"),
        (f"postgres://u:{SECRET}@h:1/db?port=2", "expected port once"),
        (f"postgres://u:{SECRET}@a/db?port=1,2", "expected one port, or one for each of 1 hosts, got 2"),
        (f"postgres://u:{SECRET}@h/db?sslmode=a&sslmode=b", "expected the option sslmode once"),
        (f"postgres://u:{SECRET}@h/db?sslmode", "expected ?name=value&name=value"),
        (f"postgres://u:{SECRET}@h/db?application_name=a+b", "a plus as %2B and a space as %20"),
        (f"postgres://u:{SECRET}@h/db?pool_size=5", "PostgreSQL's client has no option 'pool_size'"),
        (f"postgres://u:{SECRET}@h/db?conn_max_age=5", "no option 'conn_max_age': set DATABASE_MAX_AGE_SECONDS"),
        (f"postgres://u:{SECRET}@h/db?schema=app", "no option 'schema': write options=-csearch_path%3Dname"),
        (f"postgres://u:{SECRET}@h/db?ssl=prefer", "no option 'ssl'"),
    ],
)  # fmt: skip
def test_a_database_that_is_not_understood_is_refused_without_its_secret(url: str, says: str) -> None:
    message = refusal(DATABASE_URL=url)
    assert message.startswith("DATABASE_URL: ")
    assert says in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"HOST": "db", "PORT": "5433", "USER": "me", "PASSWORD": "p@/#:%", "DB": "app"}, "postgres://me:p%40%2F%23%3A%25@db:5433/app"),
        ({"HOST": "/run/postgresql"}, "postgres://postgres@%2Frun%2Fpostgresql:5432/postgres"),
        ({"HOST": "/run/pg/.s.PGSQL.6", "DB": "a/b"}, "postgres://postgres@%2Frun%2Fpg:6/a%2Fb"),
        ({"HOST": "::1", "USER": "u"}, "postgres://u@[::1]:5432/u"),
        ({"HOST": "[::1]", "USER": "u"}, "postgres://u@[::1]:5432/u"),
    ],
)  # fmt: skip
def test_parts_name_a_database(parts: dict[str, str], url: str) -> None:
    with environment(**{f"POSTGRES_{name}": value for name, value in parts.items()}):
        assert addresses.database_url_from_parts() == url
    assert database(url)["host"] in (parts["HOST"].strip("[]"), "/run/pg")


@pytest.mark.parametrize("host", ["db:5433", f"postgres://u:{SECRET}@h/db", f"u:{SECRET}@h", "a b"])
@pytest.mark.parametrize(("prefix", "url"), [("POSTGRES", "DATABASE_URL"), ("REDIS", "BROKER_URL")])
def test_a_host_that_is_more_than_a_host_is_refused(host: str, prefix: str, url: str) -> None:
    message = refusal(**{f"{prefix}_HOST": host})
    assert message.startswith(f"{prefix}_HOST: expected as host a name")
    assert message.endswith(f"without a port, which is {prefix}_PORT; a whole URL is {url}.")
    assert SECRET not in message


# --- Redis -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("redis://h:7/2", {"host": "h", "port": 7, "db": 2}),
        ("redis://h", {"host": "h"}),
        ("redis://h/?db=3", {"host": "h", "db": 3}),
        ("valkey://h", {"host": "h"}),
        ("redis://u:p%40%2F%2C@[::1]:7", {"host": "::1", "port": 7, "username": "u", "password": "p@/,"}),
        ("redis://:p:w@h", {"host": "h", "password": "p:w"}),
        ("redis://h?password=p%2B&socket_timeout=2.5", {"host": "h", "password": "p+", "socket_timeout": 2.5}),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", {"host": "h", "ssl_cert_reqs": "none"}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("unix://u:p%40@/run/redis.sock?db=1", {"path": "/run/redis.sock", "db": 1, "username": "u", "password": "p@"}),
        ("unix://%2Frun%2Fredis.sock?db=1", {"path": "/run/redis.sock", "db": 1}),
        ("redis+socket:///run/redis.sock?virtual_host=4", {"path": "/run/redis.sock", "db": 4}),
        ("redis+unix://:p@/run/a%20b.sock", {"path": "/run/a b.sock", "password": "p"}),
    ],
)
def test_the_usual_spellings_of_a_redis(url: str, parts: dict[str, Any]) -> None:
    assert broker(url) == parts


def test_sentinels_may_have_ipv6_addresses_and_options_that_are_numbers() -> None:
    with environment(BROKER_URL="redis+sentinel://:p%2C@[::1]:5,b/main/2?health_check_interval=9"):
        service = redis_url.parse_service(addresses.broker_url())
    assert service.sentinels == [("::1", 5), ("b", 26379)]
    assert (service.name, service.options["db"], service.options["password"]) == ("main", 2, "p,")
    assert service.options["health_check_interval"] == service.of_sentinels["health_check_interval"] == 9


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"http://:{SECRET}@h", "expected redis://, rediss:// (TLS), redis+sentinel://, unix:///path or inprocess://"),
        (f":{SECRET}@h", "got no scheme://"),
        (f"redis://:a@{SECRET}@h", "@ as %40"),
        (f"redis://:a/{SECRET}@h", "/ as %2F"),
        (f"redis://:a#{SECRET}@h", "# as %23"),
        (f"redis://h:{SECRET}", "expected a port"),
        (f"redis://:{SECRET}@h/app", "expected the number of a Redis database after the last /"),
        (f"redis://:{SECRET}@h/1?db=2", "expected db once"),
        (f"redis://:{SECRET}@h?password=x", "expected password once"),
        (f"redis://:{SECRET}@a,b", "expected one host; for sentinels expected redis+sentinel://"),
        (f"redis://:{SECRET}@%2Frun%2Fredis.sock", "expected unix:///path/of/redis.sock"),
        (f"redis:///run/{SECRET}", "expected the number of a Redis database"),
        (f"redis://:{SECRET}@h?ssl_ca_certs=/ca.pem", "expected rediss://, that is TLS, with the option ssl_ca_certs"),
        (f"redis://:{SECRET}@h?ssl=true", "the Redis client has no option 'ssl'"),
        (f"redis://:{SECRET}@h?socket_timeout=soon", "Invalid value for 'socket_timeout'"),
        (f"unix://run/{SECRET}.sock", "expected three slashes before the path of the socket"),
        (f"unix://:{SECRET}@/", "expected three slashes"),
        (f"redis+sentinel://:{SECRET}@a:1,b:2", "expected redis+sentinel://host:port,host:port/service"),
        (f"redis+sentinel://:{SECRET}@a/main/x", "expected the number of a Redis database"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["BROKER_URL", "REDIS_URL"])
def test_a_redis_that_is_not_understood_is_refused_without_its_secret(name: str, url: str, says: str) -> None:
    message = refusal(**{name: url})
    assert message.startswith(f"{name}: ")
    assert says in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"HOST": "cache", "PORT": "6380", "DB": "2", "PASSWORD": "a,b"}, "redis://:a%2Cb@cache:6380/2"),
        ({"HOST": "::1", "USERNAME": "u", "PASSWORD": "p"}, "redis://u:p@[::1]:6379/0"),
        ({"HOST": "/run/redis.sock", "DB": "1"}, "unix:///run/redis.sock?db=1"),
    ],
)
def test_parts_name_a_redis(parts: dict[str, str], url: str) -> None:
    with environment(**{f"REDIS_{name}": value for name, value in parts.items()}):
        assert addresses.broker_url() == addresses.redis_url(url) == url


def test_every_address_of_the_docs_is_understood() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    urls = re.findall(r"`((?:postgres|rediss?|unix|rediss?\+sentinel)://[^`…]{2,})`", page)
    assert len(urls) >= 8
    for url in urls:
        database(url) if url.startswith("postgres") else broker(url)


# --- Whatever is typed -----------------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_NAME = _TEXT.filter(bool)
_HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]{1,5})?", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"/[a-z0-9 @:#?%]{1,8}(/[a-z]{1,5})?", fullmatch=True),
)
_PORTS = st.integers(1, 65_535)
_MEANT = (("meant", 5, "name", None), ("meant", 5, None, 7))
_quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("/") else _encoded(host)


@given(user=_TEXT, password=_TEXT, host=_HOSTS, port=_PORTS, name=_NAME)
@example(user="", password="", host="/run/a:b", port=1, name="x")
@_quick
def test_a_connection_goes_exactly_where_the_encoded_url_says(
    user: str, password: str, host: str, port: int, name: str
) -> None:
    url = f"postgres://{_encoded(user)}:{_encoded(password)}@{_bracketed(host)}:{port}/{_encoded(name)}"
    wanted = {"user": user, "password": password, "host": host, "port": str(port), "dbname": name}
    assert database(url) == {key: value for key, value in wanted.items() if value}


@given(user=_TEXT, password=_NAME, host=_HOSTS, port=_PORTS, number=st.integers(0, 99))
@_quick
def test_a_redis_connection_goes_exactly_where_the_encoded_url_says(
    user: str, password: str, host: str, port: int, number: int
) -> None:
    userinfo = f"{_encoded(user)}:{_encoded(password)}@"
    wanted: dict[str, Any] = {"username": user, "password": password, "db": number}
    if host.startswith("/"):
        url, wanted = f"unix://{userinfo}/{quote(host[1:])}?db={number}", {**wanted, "path": host}
    else:
        url, wanted = f"redis://{userinfo}{_bracketed(host)}:{port}/{number}", {**wanted, "host": host, "port": port}
    assert broker(url) == {key: value for key, value in wanted.items() if value != ""}


@given(password=_TEXT.filter(lambda text: text == text.strip()))
@example(password="1?sslmode=a@b")
@example(password="5432/x?options=@evil")
@example(password="x@[::1]:1/db?password=")
@_quick
def test_a_raw_password_leads_nowhere_else_and_is_not_printed(password: str) -> None:
    marked = f"{SECRET}{password}{SECRET}"
    for read, url in ((database, "postgres://user:{}@meant:5/name"), (broker, "redis://user:{}@meant:5/7")):
        try:
            found = read(url.format(marked))
        except ImproperlyConfigured as error:
            told = str(error)
        else:
            told = ""
            assert (found["host"], int(found["port"]), found.get("dbname"), found.get("db")) in _MEANT
            assert "user" in (found.get("user"), found.get("username"))
            # A raw %41 is an A; everything else is as typed.
            assert "%" in password or found["password"] == marked
        assert SECRET not in told


@given(url=st.text("ab1:/@?#%,[]=&+.- ", max_size=30).map("redis://".__add__))
@example(url="redis://a%2Cb")
@_quick
def test_what_is_written_is_read_again_as_the_same(url: str) -> None:
    try:
        with environment(BROKER_URL=url):
            written = addresses.broker_url()
    except ImproperlyConfigured:
        return
    with environment(BROKER_URL=written):
        assert addresses.broker_url() == written
    assert parse_url(written).get("host", "") in (url.partition("@")[2] or url)


def test_a_url_shows_its_secrets_to_no_log() -> None:
    assert SECRET not in repr(ServerUrl.parse(f"postgres://u:{SECRET}@h/db?password={SECRET}"))
