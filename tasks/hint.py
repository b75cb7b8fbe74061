"""The hint: the only message that travels through a broker."""

from typing import NamedTuple
from uuid import UUID

#: A UUID, a colon and PostgreSQL's largest integer.
_LONGEST = 36 + 1 + 10


class Hint(NamedTuple):
    """A task and the number of its dispatch; the holder of a hint may try to claim, and only the newest succeeds."""

    task_id: UUID
    dispatch: int


def encode(hint: Hint) -> str:
    """Write a hint for the broker: ``<task id>:<dispatch>``."""
    return f"{hint.task_id}:{hint.dispatch}"


def decode(body: bytes | None) -> Hint | None:
    """Read a hint; None if the message is anything else, since any client of the broker can write to it."""
    if body is None or len(body) > _LONGEST:
        return None
    try:
        task_id, _, dispatch = body.decode("ascii").partition(":")
        hint = Hint(UUID(task_id), int(dispatch))
    except ValueError:
        return None
    # A forged number beyond PostgreSQL's integer would fail the claim of a whole batch; another spelling of the same
    # hint would not be found in the broker's lists.
    return hint if 0 < hint.dispatch < 2**31 and encode(hint) == body.decode("ascii") else None
