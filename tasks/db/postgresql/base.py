"""The backend: it begins no call that a bounded block has no time for. Django finds this module by its name."""

import math
from typing import Any

from django.db.backends.postgresql import base

from tasks.db import call_timeout


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, which asks ``call_timeout`` before it asks the server.

    Not in ``ensure_connection()``, which also runs at the end of a transaction: a committed one must not fail.
    """

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connect within the time that the calling thread's block has left, in whole seconds."""
        call_timeout.refuse()
        left = call_timeout.left_seconds()
        if left is not None:
            given = int(conn_params.get("connect_timeout") or 0)
            seconds = max(1, math.ceil(left))
            conn_params = {**conn_params, "connect_timeout": min(given, seconds) if given > 0 else seconds}
        return super().get_new_connection(conn_params)

    def is_usable(self) -> bool:
        """Tell whether the session works; one that may not be asked counts as broken."""
        try:
            call_timeout.refuse()
        except (call_timeout.TimeOver, call_timeout.CircuitOpen):
            return False
        return super().is_usable()

    def cursor(self) -> Any:
        """Make a cursor."""
        call_timeout.refuse()
        return super().cursor()

    def chunked_cursor(self) -> Any:
        """Make a cursor that reads in pieces."""
        call_timeout.refuse()
        return super().chunked_cursor()
