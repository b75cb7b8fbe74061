"""What stands around a loop of the scheduler: a leadership and a broker that do as the test says."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tasks.engine.sources import Taken
from tasks.errors import BrokerUnavailable
from tasks.hint import Hint
from tests.factories import make_lead


class Leading:
    """Leads, or follows with a term of None."""

    def __init__(self, *, has_settled: bool = True) -> None:
        self.term: int | None = make_lead()["term"]
        self.has_settled = has_settled


class Broker:
    """A broker whose queues are lists; while it is away, every call says so."""

    def __init__(self) -> None:
        self.queues: dict[str, list[Hint]] = defaultdict(list)
        self.is_away = self.refuses_hints = False
        self.tidied: list[set[str]] = []
        self.while_publishing: Callable[[], Any] = lambda: None

    @property
    def hints(self) -> list[Hint]:
        """All hints, in no order that matters."""
        return [hint for hints in self.queues.values() for hint in hints]

    def clear(self) -> None:
        """Let workers take all there is."""
        self.queues.clear()

    def publish_many(self, hints: Sequence[tuple[str, Hint]]) -> None:
        self.ping()
        self.while_publishing()
        if self.refuses_hints:
            raise BrokerUnavailable("full")
        for name, hint in hints:
            self.queues[name].append(hint)

    def depth(self, queues: Sequence[str]) -> dict[str, int]:
        self.ping()
        return {name: len(self.queues[name]) for name in queues}

    def missing(self, name: str, hints: Iterable[Hint]) -> list[Hint]:
        self.ping()
        ready = {hint for queue, held in self.queues.items() if queue.startswith(f"{name}.") for hint in held}
        return [hint for hint in hints if hint not in ready]

    def tidy(self, present: set[str]) -> None:
        self.ping()
        self.tidied.append(present)

    def ping(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("away")

    def take(self, queues: Sequence[str], limit: int) -> list[Taken]:
        raise NotImplementedError

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        raise NotImplementedError

    def done(self, taken: Sequence[Taken]) -> None:
        raise NotImplementedError

    def put_back(self, taken: Sequence[Taken]) -> None:
        raise NotImplementedError
