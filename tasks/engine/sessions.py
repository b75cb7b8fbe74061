"""Database sessions of the engine's threads."""

import threading
import time

from django.conf import settings
from django.db import close_old_connections, connection

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


#: A session that was asked a moment ago is taken to be there; if it is not, its next statement fails and says so.
ASK_EVERY_SECONDS = 1.0

_last = threading.local()


def refresh() -> None:
    """Give up the calling thread's session if it broke or is old, as Django does between requests.

    Django asks the server then, which costs as much as a small statement does; so not in every round.
    """
    now = time.monotonic()
    if connection.errors_occurred or now - getattr(_last, "asked", 0.0) >= ASK_EVERY_SECONDS:
        _last.asked = now
        close_old_connections()
