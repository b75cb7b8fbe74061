"""Ids that grow with time."""

from __future__ import annotations

import time
import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """Make a time-ordered id (UUIDv7), so that lists by id are lists by age."""
    return uuid7()


#: Lists find tasks of a time by their ids, and allow for clocks that differ by a day. An id may be half of it old.
LONGEST_AGE_SECONDS = 43_200


def usable_id(text: str) -> uuid.UUID | None:
    """Read an id that was made elsewhere; None if it is no new id of ours, so that a task needs another."""
    try:
        id = uuid.UUID(text)
    except ValueError:
        return None
    # The first 48 bits are milliseconds since 1970.
    age = time.time() - (id.int >> 80) / 1000
    return id if id.version == 7 and abs(age) < LONGEST_AGE_SECONDS else None
