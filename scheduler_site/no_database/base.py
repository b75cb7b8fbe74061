"""Django looks for a backend's ``DatabaseWrapper`` here."""

from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base
from django.db.utils import OperationalError


class MissingDatabaseError(ImproperlyConfigured, OperationalError):
    """No ``DATABASE_URL``: manage.py prints the first kind as one line, Django takes the second for "away just now"."""


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL in everything but the connection, so that commands that need no data work without one."""

    def get_connection_params(self) -> NoReturn:
        """Say what is missing and what to do."""
        raise MissingDatabaseError(
            "DATABASE_URL is not set; expected postgres://user:password@host:5432/name, in the environment or in .env. "
            "`manage.py up` starts a private PostgreSQL instead, and other commands find it while it runs."
        )
