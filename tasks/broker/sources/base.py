"""What every source does: publish, count and take hints, and return or forget the taken ones."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from tasks.hint import Hint


class Taken(NamedTuple):
    """A message that was taken off a broker queue; ``hint`` is None if the message is foreign."""

    queue: str
    hint: Hint | None
    body: bytes | None


class Source(Protocol):
    """The engine's interface to a broker. Every method raises ``BrokerUnavailable`` if the broker does not answer.

    ``queues`` are broker queues ("default.high"), ``name`` is a queue of Callboard ("default").
    """

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        """Append hints to their queues and wake idle workers."""

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        """Count the hints that wait in each queue."""

    def take(self, queues: Sequence[str], limit: int, *, done: Sequence[Taken] = ()) -> list[Taken]:
        """Forget the hints that are ``done``, and take up to ``limit`` others, queues in order; never waits."""

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """Block until something may have been published to one of the queues, for ``timeout`` seconds at most."""

    def done(self, taken: Sequence[Taken]) -> None:
        """Forget hints: their claims are committed, or they are stale or foreign."""

    def put_back(self, taken: Sequence[Taken]) -> None:
        """Return hints that were taken and not claimed."""

    def forget_taken(self, queues: Sequence[str]) -> None:
        """Forget all hints that this process took; it must hold none that it still needs."""

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        """Find the hints that wait in no band of a queue."""

    def remove_leftovers(self, present: set[str]) -> None:
        """Remove what dead processes left behind: those whose worker id is not among ``present``."""

    def ping(self) -> None:
        """Return if the broker answers."""

    def misconfigurations(self) -> list[str]:
        """List the settings of the broker that can lose hints, each with the right one."""
