"""Database sessions of the scheduler's threads: without a pooler in between, and with a limit on every statement."""

from django.conf import settings
from django.db import connection

#: For libpq: a server whose machine is gone answers nothing, and without these a session would wait for minutes.
NOTICES_DEAD_SERVER = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def use_direct_session(*, commits_asynchronously: bool = False) -> None:
    """Give the calling thread a connection of its own kind; call it before the thread's first query.

    The options go with the connection request, not with SET: a pooler would leak those to others. A statement that is
    not done after a third of the lease is given up: while it waits for a lock it holds the term, and nobody could take
    over.
    """
    options = {"statement_timeout": f"{int(settings.LEADER_LEASE_SECONDS * 1000 / 3)}ms"}
    if commits_asynchronously:
        options["synchronous_commit"] = "off"
    flags = " ".join(f"-c {name}={value}" for name, value in options.items())
    direct = {**connection.settings_dict, **settings.DIRECT_DATABASE}
    given = direct["OPTIONS"].get("options", "")
    connection.close()
    connection.settings_dict = {
        **direct,
        "OPTIONS": {**direct["OPTIONS"], **NOTICES_DEAD_SERVER, "options": f"{given} {flags}".strip()},
    }
