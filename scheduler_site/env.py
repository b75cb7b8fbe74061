"""The only module that reads the environment: typed settings, whose errors say what was expected and what came."""

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from environ import Env

#: The name of every setting read so far; a test compares ``.env.example`` with it.
SETTINGS: set[str] = set()

#: The name of a setting, and the name that other stacks give it, which is read if the first is not set.
ALSO_CALLED = {
    "DEFAULT_TIME_LIMIT_SECONDS": "DEFAULT_TIMEOUT_SECONDS",
    "HEARTBEAT_INTERVAL_SECONDS": "HEARTBEAT_INTERVAL",
    "KEEP_SUCCEEDED_SECONDS": "JOB_TTL_SECONDS",
    "STUCK_AFTER_SECONDS": "STUCK_AFTER_SEC",
}
#: The name of a setting, and its name in releases before 0.2.
FORMER_NAMES = {"KEEP_JOURNAL_SECONDS": "KEEP_EVENTS_SECONDS"}
#: Settings of other stacks that Callboard does not have, each with what to do instead. They are refused rather than
#: ignored, because a set variable is relied on.
NOT_A_SETTING = {
    "CORS_ALLOW_CREDENTIALS": "web pages of other origins send a token, and never a cookie",
    "API_HOST": "give the api's address to the server that runs it: gunicorn --bind HOST:PORT",
    "GRPC_PORT": "gRPC comes with a later release; until then submit over REST",
    "WORKER_CONCURRENCY": "give the number of threads to the command: manage.py runworkers --threads N",
    "WORKER_ID": "a worker gets its id when it starts; name its pool: manage.py callboard workers start N --name NAME",
    "WORKER_POOL_SIZE": "give the number of workers to the command: manage.py runworkers --processes N",
}

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def load_file(path: Path) -> None:
    """Read ``NAME=value`` lines into the environment; variables that are set already stay."""
    if path.is_file() and os.access(path, os.R_OK):
        Env.read_env(path)


def refuse_foreign() -> None:
    """Refuse variables of other stacks that Callboard would ignore."""
    for name, instead in NOT_A_SETTING.items():
        if _given(name):
            raise ImproperlyConfigured(f"{name} is not a setting of Callboard, remove it: {instead}.")


def text(name: str, default: str = "") -> str:
    """Read a string; empty counts as not set, because compose files and shells write ``NAME=`` for that."""
    SETTINGS.add(name)
    return next(filter(None, map(_given, (name, ALSO_CALLED.get(name, ""), FORMER_NAMES.get(name, "")))), default)


def _given(name: str) -> str:
    return os.environ.get(name, "").strip()


def names(name: str, default: list[str]) -> list[str]:
    """Read a list separated by commas."""
    return [item.strip() for item in text(name).split(",") if item.strip()] or default


def field_names(name: str) -> tuple[str, ...]:
    """Read names of fields separated by commas; each has a letter or a digit, or it would stand for every field."""
    found = tuple(names(name, []))
    for item in found:
        if not any(character.isalnum() for character in item):
            raise ImproperlyConfigured(f"{name}: expected names of fields such as iban, got {item!r}.")
    return found


def flag(name: str, default: bool) -> bool:
    """Read true or false."""
    value = text(name).lower()
    if not value:
        return default
    if value not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name}: expected true or false, got {value!r}.")
    return value in _TRUE


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """Read one of a few words, in upper or lower case."""
    value = text(name, default)
    for word in allowed:
        if value.lower() == word.lower():
            return word
    raise ImproperlyConfigured(f"{name}: expected one of {', '.join(allowed)}, got {value!r}.")


def integer(name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
    """Read a whole number within bounds."""
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        number = None
    if number is None or number < minimum or (maximum is not None and number > maximum):
        raise ImproperlyConfigured(f"{name}: expected a whole number {_bounds(minimum, maximum)}, got {value!r}.")
    return number


def seconds(name: str, default: float, *, minimum: float = 0) -> float:
    """Read a duration in seconds, which may be a fraction."""
    value = text(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = None
    # Refuses NaN too, which compares false with everything.
    if number is None or not minimum <= number < float("inf"):
        raise ImproperlyConfigured(f"{name}: expected a number of seconds, at least {minimum:g}, got {value!r}.")
    return int(number) if number.is_integer() else number


_ORIGIN = re.compile(r"https?://(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", flags=re.ASCII | re.IGNORECASE)


def origins(name: str) -> list[str]:
    """Read origins (https://host:port) separated by commas, or ``*``, which means all."""
    found = names(name, [])
    for item in found:
        if found != ["*"] and not _ORIGIN.fullmatch(item):
            raise ImproperlyConfigured(
                f"{name}: expected origins such as https://app.example.org separated by commas, or * alone, "
                f"got {item!r}."
            )
    return found


_LARGEST_PORT = 65_535
_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def rate(name: str, default: str) -> tuple[int, float] | None:
    """Read ``units/period`` (50/m, 5/s, 1000/h) as units and seconds; None for 0, which means no limit."""
    value = text(name, default)
    if value == "0":
        return None
    units, _, period = value.partition("/")
    if not units.isdecimal() or int(units) < 1 or period not in _PERIODS:
        raise ImproperlyConfigured(f"{name}: expected 0, or a number per s, m, h or d such as 50/m, got {value!r}.")
    return int(units), _PERIODS[period]


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Read addresses and networks (10.0.0.0/8) separated by commas."""
    try:
        return [ip_network(item, strict=False) for item in names(name, [])]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: expected addresses or networks separated by commas: {error}.") from error


def address(name: str) -> tuple[str, int] | None:
    """Read the address of a server (127.0.0.1:9191, [::1]:9191) as host and port; None if it is not set."""
    value = text(name)
    if not value:
        return None
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", value, flags=re.ASCII)
    if found is None or not 1 <= int(found[3]) <= _LARGEST_PORT:
        raise ImproperlyConfigured(f"{name}: expected a host and a port such as 127.0.0.1:9191, got {value!r}.")
    return found[1] or found[2], int(found[3])


def path_prefix(name: str) -> str | None:
    """Read the path under which a site is shown (``/board``); None if it is at the root."""
    value = text(name).rstrip("/")
    if value and not re.fullmatch(r"(/[\w.~-]+)+", value, flags=re.ASCII):
        raise ImproperlyConfigured(f"{name}: expected a path such as /board, got {value!r}.")
    return value or None


def _bounds(minimum: int, maximum: int | None) -> str:
    return f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
