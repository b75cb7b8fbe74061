"""Keyset pages: a page starts where the last one ended, so it costs the same at any depth.

A page of tasks or dead letters looks at a bounded part of them (``tasks.queries.scan``). If few of them match, it may
be short, or empty, and still have a next one, which looks further.
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from tasks.contract import fields
from tasks.models import ListedQuerySet, made_at
from tasks.queries.scan import Scan, scan

DEFAULT_LIMIT = 50
MOST_PER_PAGE = 500
#: A cursor as ``Cursor.encode`` writes it: 17 bytes, the first of which is 0 or 1.
CURSOR_PATTERN = r"^A[A-Za-f][A-Za-z0-9_-]{21}$"

_Row = TypeVar("_Row", bound=Model)
_LARGEST = 2**128 - 1


@dataclass(frozen=True)
class Order:
    """A unique column that a list is sorted by; cursors hold its values as numbers of 128 bits."""

    field: str
    is_descending: bool
    number_of: Callable[[Any], int]
    value_of: Callable[[int], Any]

    def lookup(self, *, is_backward: bool) -> str:
        """Name the comparison that finds the rows after, or before, a position."""
        return f"{self.field}__{'lt' if self.is_descending != is_backward else 'gt'}"

    def column(self, *, is_backward: bool) -> str:
        """Name the column as ``order_by`` takes it."""
        return f"{'-' if self.is_descending != is_backward else ''}{self.field}"


#: Ids are UUIDv7, which grow with time.
NEWEST_FIRST = Order("id", True, lambda row: row.pk.int, lambda number: UUID(int=number))


class Cursor(NamedTuple):
    """Where a page begins: behind this position, read forward or backward."""

    is_backward: bool
    position: int

    def encode(self) -> str:
        """Write the cursor as opaque text that is safe in a URL."""
        raw = bytes([self.is_backward]) + self.position.to_bytes(16, "big")
        return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Read a cursor that ``encode`` wrote."""
        # fullmatch, because $ alone takes a line break at the end.
        if not re.fullmatch(CURSOR_PATTERN, text):
            raise fields.InvalidValue("invalid", "expected the cursor of a next or previous address, unchanged")
        raw = base64.urlsafe_b64decode(f"{text}=")
        return cls(bool(raw[0]), int.from_bytes(raw[1:], "big"))


_READERS: Mapping[str, fields.Reader] = {"limit": fields.digits(1, MOST_PER_PAGE), "cursor": Cursor.read}
PAGE_PARAMETERS = frozenset(_READERS)


@dataclass(frozen=True)
class Searched:
    """How far a page looked for matches; if it is not complete, ``next`` (``previous``, going back) looks further."""

    is_complete: bool
    #: When the last row that it looked at was submitted, or died; None if the page is complete.
    until: datetime | None


@dataclass(frozen=True)
class Page(Generic[_Row]):
    """Some rows of a list, and the cursors of the pages after and before them; None if there is no such page."""

    rows: Sequence[_Row]
    next: Cursor | None
    previous: Cursor | None
    #: None for lists that are read as a whole.
    searched: Searched | None = None


def page(
    rows: QuerySet[_Row],
    parameters: Mapping[str, Sequence[str]],
    *,
    order: Order = NEWEST_FIRST,
    tail: _Row | None = None,
) -> Page[_Row]:
    """Read the page that the parameters ``limit`` and ``cursor`` ask for.

    Parameters:
        tail: a row behind all others, which is not in the table yet.

    Raises:
        InvalidQuery: one of them is not valid.
    """
    # The list's filters have read, or refused, all other parameters.
    asked = fields.read_parameters(parameters, _READERS, others=parameters)
    limit, cursor = asked.get("limit", DEFAULT_LIMIT), asked.get("cursor")
    is_backward = cursor is not None and cursor.is_backward
    if cursor is not None:
        behind = Q(**{order.lookup(is_backward=is_backward): order.value_of(cursor.position)})
        rows = rows.within(behind) if isinstance(rows, ListedQuerySet) else rows.filter(behind)
    looked = scan(rows, order=order.column(is_backward=is_backward), wanted=limit + 1)
    all_found = looked.found if tail is None else _with_tail(looked.found, tail, order, cursor)
    is_more, found = len(all_found) > limit, all_found[:limit]
    if is_backward:
        found.reverse()
    has_next, has_previous = (True, is_more) if is_backward else (is_more, cursor is not None)
    first, last = _edges(found, order, cursor)
    after, before = Cursor(False, last) if has_next else None, Cursor(True, first) if has_previous else None
    if looked.end:
        # It stopped before it found one match more than the page takes: the page ahead begins there.
        ahead = Cursor(is_backward, looked.end.int)
        after, before = (after, ahead) if is_backward else (ahead, before)
    return Page(found, after, before, searched=_searched(looked) if isinstance(rows, ListedQuerySet) else None)


def _with_tail(found: list[_Row], tail: _Row, order: Order, cursor: Cursor | None) -> list[_Row]:
    """Put the row behind all others at its place, unless it came into the table in between, or the page ends before."""
    number = order.number_of(tail)
    if number in map(order.number_of, found):
        return found
    if cursor is not None and cursor.is_backward:
        return [tail, *found] if number < cursor.position else found
    return [*found, tail] if cursor is None or number > cursor.position else found


def _searched(looked: Scan) -> Searched:
    return Searched(looked.is_complete, None if looked.end is None else made_at(looked.end))


def _edges(found: list[_Row], order: Order, cursor: Cursor | None) -> tuple[int, int]:
    if found:
        return order.number_of(found[0]), order.number_of(found[-1])
    if cursor is None:
        return 0, 0
    # There is nothing beyond the cursor. The neighbouring page includes the row at the cursor, hence one step aside.
    step = 1 if cursor.is_backward == order.is_descending else -1
    aside = min(max(cursor.position + step, 0), _LARGEST)
    return aside, aside
