"""The module in which Django looks for a backend's ``DatabaseWrapper``."""

from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base
from django.db.utils import OperationalError


class MissingDatabaseError(ImproperlyConfigured, OperationalError):
    """``DATABASE_URL`` is not set.

    manage.py prints an ImproperlyConfigured in one line; code that copes with an absent database expects an
    OperationalError.
    """


class DatabaseWrapper(base.DatabaseWrapper):
    """PostgreSQL without a connection, so that commands that need no data work."""

    def get_connection_params(self) -> NoReturn:
        """Raise an error that says what is missing and what to do."""
        raise MissingDatabaseError(
            "DATABASE_URL is not set; expected postgres://user:password@host:5432/name, in the environment or in .env. "
            "`manage.py up` starts a private PostgreSQL instead, and other commands find it while it runs."
        )
