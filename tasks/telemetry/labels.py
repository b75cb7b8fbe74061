"""The names that metrics may have as labels: a bounded number, whatever rows and callers name.

Every process of a release declares the same names, so all of them leave the same ones out.
"""

from collections.abc import Callable, Collection, Hashable, Iterable

import dramatiq

from tasks import registry

#: So many actors and so many queues have series of their own; those behind them in the alphabet share one.
MOST_NAMES = 500
OTHER = "other"


class Declared:
    """Names that code declares.

    Parameters:
        names: lists them; asked again when ``version`` differs.
    """

    def __init__(self, names: Callable[[], Iterable[str]], *, version: Callable[[], Hashable]) -> None:
        self._names, self._version = names, version
        self._seen: Hashable = None
        self._known: frozenset[str] = frozenset()

    def __call__(self, name: str) -> str:
        """Return the label for a name: itself, or ``OTHER``."""
        version = self._version()
        if version != self._seen:
            self._known, self._seen = first(self._names()), version
        return among(self._known, name)


def among(known: Collection[str], name: str) -> str:
    """Return the label for a name: itself if it is one of these, else ``OTHER``."""
    return name if name in known else OTHER


def first(names: Iterable[str]) -> frozenset[str]:
    """Choose the names that get series of their own."""
    return frozenset(sorted(set(names))[:MOST_NAMES])


def _version() -> Hashable:
    broker = dramatiq.get_broker()
    queues: Collection[str] = broker.queues
    return len(broker.actors), len(queues)


actor = Declared(registry.actor_names, version=_version)
queue = Declared(registry.queue_names, version=_version)
