"""Ids that grow with time: UUIDv7 (RFC 9562), whose first 48 bits are milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.utils import timezone
from uuid_utils.compat import uuid7

#: How far an id, made by a submitter's clock, may be from ``created_at``, made by the database's. Tasks of a clock that
#: is further out are missing from lists by time; a wider margin would let a list of five minutes read many more.
CLOCKS_AGREE = timedelta(minutes=10)


def new_id() -> UUID:
    """Make a time-ordered id, so that lists by id are lists by age."""
    return uuid7()


def first_id_at(moment: datetime) -> UUID:
    """Make the lowest id of a time."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


def made_at(id: UUID) -> datetime | None:
    """Read the time out of an id; None for an id of another kind, or of a year that Python does not know."""
    if id.version != 7:
        return None
    try:
        return datetime.fromtimestamp((id.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return None


def usable_id(text: str) -> UUID | None:
    """Read an id that was made elsewhere; None if a task cannot have it, because it is not a new UUIDv7."""
    try:
        id = UUID(text)
    except ValueError:
        return None
    # Half of the margin is left for the clocks.
    is_new = id.version == 7 and abs(timezone.now().timestamp() - (id.int >> 80) / 1000) < _NEW_SECONDS
    return id if is_new else None


_NEW_SECONDS = CLOCKS_AGREE.total_seconds() / 2
