"""Ids that grow with time."""

from __future__ import annotations

import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """Make a time-ordered id (UUIDv7), so that lists by id are lists by age."""
    return uuid7()
