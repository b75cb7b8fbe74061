"""Waits for the database and its migrations before a process starts; logs every second, and gives up after a limit."""

import time

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from tasks.broker import logins
from tasks.conf import conf
from tasks.log import get_logger

log = get_logger(__name__)

PAUSE_SECONDS = 1.0
#: A fresh database lacks dozens of migrations; naming the first is enough.
MOST_NAMES = 3


def wait_until_ready(seconds: float | None = None) -> None:
    """Return as soon as the database answers and is migrated.

    A broker that is away is not waited for: tasks are accepted and kept without it, and dispatched once it answers. A
    server that refuses the login is waited for: the broker would never answer, or the limits would not count.

    Parameters:
        seconds: how long at most; by default ``WAIT_SECONDS``; 0 = do not check at all.

    Raises:
        CommandError: one line that says what is missing and what to do.
    """
    seconds = conf.WAIT_SECONDS if seconds is None else seconds
    if not seconds:
        return
    deadline = time.monotonic() + seconds
    try:
        while missing := _missing():
            left = deadline - time.monotonic()
            if left <= 0:
                raise CommandError(f"gave up after {seconds:g} s: {missing}")
            log.warning(f"waiting, {left:.0f} s at most: {missing}")
            time.sleep(min(PAUSE_SECONDS, left))
    except KeyboardInterrupt:
        raise CommandError("stopped while waiting for the database") from None


def _missing() -> str:
    try:
        migrations = _missing_migrations()
    except ImproperlyConfigured:
        # DATABASE_URL is not set: waiting does not help.
        raise
    except DatabaseError as error:
        return f"the database does not answer: {' '.join(str(error).split())[:300]}"
    finally:
        # Not kept for later: a server that restarts once more would leave it broken.
        connection.close()
    if not migrations:
        return _refused_logins()
    more = f" and {len(migrations) - MOST_NAMES} more" if len(migrations) > MOST_NAMES else ""
    return f"migrations are missing: {', '.join(migrations[:MOST_NAMES])}{more}; run `manage.py migrate`"


def _refused_logins() -> str:
    """Name the settings whose login is refused; warn of a broker that is away."""
    failures = logins.failures()
    refused = [name for name, error in failures.items() if logins.is_refusal(error)]
    if not refused and "BROKER_URL" in failures:
        log.warning(
            "continuing without the broker; tasks wait in the database until it answers: "
            + logins.words(failures["BROKER_URL"])
        )
    return "; ".join(f"{name}: the server refuses the login: {logins.words(failures[name])}" for name in refused)


def _missing_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]
