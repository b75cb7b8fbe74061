"""The servers that docker-compose.yml brings, for people who come with the ``.env`` of another system.

``BUNDLED_HOSTS`` names them. Their logins are made by ``makesecrets`` and stand in the file that ``ENV_FILE`` names. An
address in the environment at one of these hosts (``REDIS_URL=redis://redis:6379``) means that server, with the login
that it really has. An address at any other host is a server of their own, and nothing of the file may take its place.
"""

import os
from collections.abc import Iterator

from django.core.exceptions import ImproperlyConfigured

from scheduler_site import env
from scheduler_site.server_url import ServerUrl, WrongUrl, scheme_of

_DATABASE = ("DATABASE_URL", "DIRECT_DATABASE_URL", "POSTGRES_HOST")
_BROKER = ("BROKER_URL", "RABBITMQ_URL", "REDIS_URL", "REDIS_HOST")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - what others write for this machine


def settle(bundled: list[str]) -> None:
    """Take addresses out of the environment that mean bundled servers; call it before the file is loaded.

    Parameters:
        bundled: their host names; none outside of compose.

    Raises:
        ImproperlyConfigured: one line that names all variables whose address is this container itself.
    """
    if not bundled:
        return
    given = {name: hosts for name in (*_DATABASE, *_BROKER) if (hosts := set(_hosts(name)))}
    if not env.tried(lambda: _refuse_loopback(given), default=False):
        # Django reads the settings once more to say what is wrong with them.
        return
    meant = {name for name, hosts in given.items() if hosts <= set(bundled)}
    own = given.keys() - meant
    for name in meant:
        del os.environ[name]
    if own & {"POSTGRES_HOST"}:
        _keep_out("DATABASE_URL")
    if own & set(_BROKER) or "RABBITMQ_URL" in meant:
        # RabbitMQ's address in the file counts only for those who ask for it.
        _keep_out("BROKER_URL")
    if "RABBITMQ_URL" not in meant:
        _keep_out("RABBITMQ_URL")
    if "REDIS_HOST" in own or (
        "BROKER_URL" in own and not scheme_of(env.text("BROKER_URL")).endswith(("amqp", "amqps"))
    ):
        # Their Redis counts the limits too, as it does outside of compose.
        _keep_out("REDIS_URL")
    # Processes that this one starts inherit what was settled, together with what the file says.
    os.environ["BUNDLED_HOSTS"] = ""


def _keep_out(name: str) -> None:
    """Keep a variable from being set by the file; an empty one counts as not set."""
    os.environ.setdefault(name, "")


def _hosts(name: str) -> Iterator[str]:
    text = env.text(name)
    if name.endswith("_HOST"):
        yield from filter(None, [text])
        return
    try:
        parts = ServerUrl.parse(text) if "://" in text else ServerUrl("")
    except WrongUrl:
        # Whoever reads it says what is wrong with it.
        return
    yield from (host.name for host in parts.hosts if host.name)


def _refuse_loopback(given: dict[str, set[str]]) -> bool:
    here = [name for name, hosts in given.items() if hosts & _LOOPBACK]
    if here:
        raise ImproperlyConfigured(
            f"{', '.join(here)}: expected a server that containers can reach, got this container itself (localhost). "
            f"Remove {'it' if len(here) == 1 else 'them'} to use the servers of docker-compose.yml, or name a machine."
        )
    return True
