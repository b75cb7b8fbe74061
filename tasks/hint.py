"""The hint: all that ever travels through a broker."""

from typing import NamedTuple
from uuid import UUID

#: A UUID, a colon and PostgreSQL's largest integer.
_LONGEST = 36 + 1 + 10


class Hint(NamedTuple):
    """Which task, and which hand-over of it; whoever holds a hint may try to claim, and only the newest can."""

    task_id: UUID
    dispatch: int


def encode(hint: Hint) -> str:
    """Write a hint for the broker: ``<task id>:<dispatch>``."""
    return f"{hint.task_id}:{hint.dispatch}"


def decode(body: bytes | None) -> Hint | None:
    """Read a hint; None if it is not one of ours. Whoever can write to the broker can write anything."""
    if body is None or len(body) > _LONGEST:
        return None
    try:
        task_id, _, dispatch = body.decode("ascii").partition(":")
        hint = Hint(UUID(task_id), int(dispatch))
    except ValueError:
        return None
    # A forged number beyond PostgreSQL's integer would fail the claim of honest neighbours; another spelling of the
    # same hint would not be found in the broker's lists.
    return hint if 0 < hint.dispatch < 2**31 and encode(hint) == body.decode("ascii") else None
