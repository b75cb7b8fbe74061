"""Keyset pages: a page starts where the last one ended, so it costs the same at any depth. No OFFSET, no COUNT."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from tasks.api import fields

DEFAULT_LIMIT = 50
MOST_PER_PAGE = 500

_Row = TypeVar("_Row", bound=Model)
_LARGEST = 2**128 - 1


@dataclass(frozen=True)
class Order:
    """A unique column that a list runs along; cursors hold its values as numbers of 128 bits."""

    field: str
    is_descending: bool
    number_of: Callable[[Any], int]
    value_of: Callable[[int], Any]

    def lookup(self, *, is_backward: bool) -> str:
        """Name the comparison that finds what follows, or precedes."""
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
        """Write it for a URL; callers see no inside."""
        raw = bytes([self.is_backward]) + self.position.to_bytes(16, "big")
        return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Read one that ``encode`` wrote."""
        raw = base64.urlsafe_b64decode(f"{text}=") if re.fullmatch(r"[A-Za-z0-9_-]{23}", text) else b"\xff"
        if raw[0] > 1:
            raise fields.Unfit("invalid", "expected the cursor of a next or previous address, unchanged")
        return cls(bool(raw[0]), int.from_bytes(raw[1:], "big"))


_READERS: Mapping[str, fields.Reader] = {"limit": fields.digits(1, MOST_PER_PAGE), "cursor": Cursor.read}
PAGE_PARAMETERS = frozenset(_READERS)


def page(
    request: HttpRequest, rows: QuerySet[_Row], *, shape: Callable[[_Row], Any], order: Order = NEWEST_FIRST
) -> dict[str, Any]:
    """Answer one page of rows, with the addresses of its neighbours.

    Raises:
        InvalidQuery: ``limit`` or ``cursor`` is not valid.
    """
    # Whatever else is asked for, the list's filters have read.
    asked = fields.read_parameters(request.GET, _READERS, others=request.GET)
    limit, cursor = asked.get("limit", DEFAULT_LIMIT), asked.get("cursor")
    is_backward = cursor is not None and cursor.is_backward
    if cursor is not None:
        rows = rows.filter(**{order.lookup(is_backward=is_backward): order.value_of(cursor.position)})
    found = list(rows.order_by(order.column(is_backward=is_backward))[: limit + 1])
    is_more, found = len(found) > limit, found[:limit]
    if is_backward:
        found.reverse()
    has_next, has_previous = (True, is_more) if is_backward else (is_more, cursor is not None)
    first, last = _edges(found, order, cursor)
    return {
        "results": [shape(row) for row in found],
        "next": _address(request, Cursor(False, last)) if has_next else None,
        "previous": _address(request, Cursor(True, first)) if has_previous else None,
    }


def _edges(found: list[_Row], order: Order, cursor: Cursor | None) -> tuple[int, int]:
    if found:
        return order.number_of(found[0]), order.number_of(found[-1])
    if cursor is None:
        return 0, 0
    # Nothing lies beyond the cursor. Its neighbour includes the row at the cursor itself, hence one step aside.
    step = 1 if cursor.is_backward == order.is_descending else -1
    aside = min(max(cursor.position + step, 0), _LARGEST)
    return aside, aside


def _address(request: HttpRequest, cursor: Cursor) -> str:
    query = request.GET.copy()
    query["cursor"] = cursor.encode()
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
