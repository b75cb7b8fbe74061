"""renew, take, resign: who may act under a name until when, and the term that fences the holder's writes."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from tasks.db.statements import fetch

_RENEW = """
UPDATE callboard_lease SET expires_at = statement_timestamp() + %(seconds)s * interval '1 second'
WHERE name = %(name)s AND holder = %(holder)s AND expires_at > statement_timestamp()
RETURNING name
"""


def renew(name: str, *, holder: UUID, seconds: float) -> bool:
    """Extend a lease that its holder still has; False if it has ended."""
    return bool(fetch(_RENEW, {"name": name, "holder": holder, "seconds": seconds}))


_TAKE = """
INSERT INTO callboard_lease AS lease (name, holder, expires_at)
VALUES (%(name)s, %(holder)s, statement_timestamp() + %(seconds)s * interval '1 second')
ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
WHERE lease.expires_at <= statement_timestamp() OR lease.expires_at = %(abandoned)s
RETURNING name
"""

_NEXT_TERM = """
INSERT INTO callboard_term AS term (name, term) VALUES (%(name)s, 1)
ON CONFLICT (name) DO UPDATE SET term = term.term + 1
RETURNING term
"""


def take(name: str, *, holder: UUID, seconds: float, abandoned: datetime | None = None) -> int | None:
    """Take a lease that has ended, and return the number of the new term; None if another holds it.

    The lease and its term change in one transaction, so that no holder writes under the term of the one before it.

    Parameters:
        abandoned: the end of a lease that may be taken although the database's clock says that it still runs.
    """
    parameters = {"name": name, "holder": holder, "seconds": seconds, "abandoned": abandoned}
    with transaction.atomic():
        return fetch(_NEXT_TERM, {"name": name})[0][0] if fetch(_TAKE, parameters) else None


def end_of(name: str) -> datetime | None:
    """Tell until when a lease runs, by the database's clock; None if nobody ever took it."""
    found = fetch("SELECT expires_at FROM callboard_lease WHERE name = %(name)s", {"name": name})
    return found[0][0] if found else None


_RESIGN = """
UPDATE callboard_lease SET expires_at = statement_timestamp() WHERE name = %(name)s AND holder = %(holder)s
RETURNING name
"""


def resign(name: str, *, holder: UUID) -> None:
    """End a lease now, so that another can take it at once."""
    fetch(_RESIGN, {"name": name, "holder": holder})
