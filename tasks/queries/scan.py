"""Bounded reads of lists: rows in the order of ids, of which a bounded part is looked at, however few of them match."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q, QuerySet

from tasks.db.statements import by_index
from tasks.models.listing import ListedQuerySet

#: The most rows that one read looks at, in parts that grow: most lists are filled by the first ones.
PARTS = (1_000, 19_000, 180_000)
#: The same along an index whose rows lie scattered in the table: each may cost a page.
SCATTERED_PARTS = (1_000, 9_000, 30_000)
#: The last part, which takes by far the longest, is not begun after this time.
LONGEST_SECONDS = 0.5
#: An index that finds at most this many rows is better than reading in order.
FEW = 2_000


class Scan(NamedTuple):
    """What a read found, in order; ``end`` is the id that it stopped at, None if nothing lies behind what it found.

    With as many rows as were wanted, ``end`` is None although more may follow the last of them.
    """

    found: list[Any]
    end: UUID | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no match was left out for having lain too far behind."""
        return self.end is None


def scan(rows: QuerySet[Any], *, wanted: int, order: str = "-pk", whole: bool = False) -> Scan:
    """Read the first matches of a list.

    Parameters:
        rows: with any conditions and columns. Only a ``ListedQuerySet`` is read in parts.
        wanted: stop after this many.
        order: by a unique column; of a ``ListedQuerySet`` by its key.
        whole: go on in bounded parts until all rows were looked at.
    """
    if not isinstance(rows, ListedQuerySet) or rows.is_path:
        return Scan(list(rows.order_by(order)[:wanted]))
    ahead, upto = ("pk__lt", "pk__gte") if order.startswith("-") else ("pk__gt", "pk__lte")
    deadline = time.monotonic() + LONGEST_SECONDS
    found: list[Any] = []
    edge = None
    parts = SCATTERED_PARTS if rows.is_scattered else PARTS
    for size in _sizes(parts, wanted, whole=whole):
        edges = list(rows.path.order_by(order).values_list("pk", flat=True)[size - 1 : size])
        part = rows.within(Q(**{upto: edges[0]})) if edges else rows
        found += part.order_by(order)[: wanted - len(found)]
        if not edges or len(found) == wanted:
            return Scan(found)
        edge = edges[0]
        rows = rows.within(Q(**{ahead: edge}))
        if size == parts[0] and (few := _few(rows)) is not None:
            found += rows.filter(pk__in=few).order_by(order)[: wanted - len(found)]
            return Scan(found)
        if size == parts[1] and time.monotonic() > deadline and not whole:
            break
    return Scan(found, edge)


def _sizes(parts: Sequence[int], wanted: int, *, whole: bool) -> Iterator[int]:
    if wanted < parts[0]:
        # Enough where every row matches.
        yield wanted
    yield from parts
    while whole:
        yield parts[-1]


def _few(rows: ListedQuerySet[Any]) -> list[Any] | None:
    """Look up the ids of rows by an index that finds few of them; None if there is none."""
    for found in rows.lookups():
        with by_index():
            ids = list(found.values_list("pk", flat=True)[: FEW + 1])
        if len(ids) <= FEW:
            return ids
    return None
