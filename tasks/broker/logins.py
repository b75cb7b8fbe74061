"""Logins that a broker refuses: a fault of the settings, which no waiting mends."""

from collections.abc import Callable, Iterator
from contextlib import closing

import dramatiq

from tasks.broker import redis_url
from tasks.broker.brokers import CallboardBroker
from tasks.conf import conf

#: The errors of both clients, by name: only a process that uses RabbitMQ loads its client.
_REFUSALS = frozenset(
    {"AuthenticationError", "NoPermissionError", "ProbableAuthenticationError", "ProbableAccessDeniedError"}
)
_SECONDS = 2.0


def is_refusal(error: BaseException | None) -> bool:
    """Tell whether a server answered and refused the login, or what the login may do."""
    return any({kind.__name__ for kind in type(one).__mro__} & _REFUSALS for one in _chain(error))


def failures() -> dict[str, Exception]:
    """Ask the broker, and the Redis of the limits if it is another one; give the errors by the name of the setting."""
    broker = dramatiq.get_broker()
    found = {"BROKER_URL": _error_of(broker.source.ping)} if isinstance(broker, CallboardBroker) else {}
    if conf.REDIS_URL and conf.REDIS_URL != conf.BROKER_URL:
        found["REDIS_URL"] = _error_of(_ping_limits)
    return {name: error for name, error in found.items() if error is not None}


def refused() -> dict[str, str]:
    """Name the settings whose login is refused, each with the server's words; a server that is away refuses nothing."""
    return {name: words(error) for name, error in failures().items() if is_refusal(error)}


def words(error: Exception) -> str:
    """Shorten what a server said."""
    return " ".join(str(error).split())[:200]


def _ping_limits() -> None:
    with closing(redis_url.client(conf.REDIS_URL, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)) as client:
        client.ping()


def _error_of(ping: Callable[[], object]) -> Exception | None:
    try:
        ping()
    except Exception as error:  # noqa: BLE001 - each client has its own
        return error
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
