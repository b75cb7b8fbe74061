"""Keyset pages: a page starts where the last one ended, so it costs the same at any depth. No OFFSET, no COUNT."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from tasks.api.fields import shown
from tasks.errors import FieldError, InvalidQuery

PAGE_PARAMETERS = frozenset({"limit", "cursor"})
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
    def decode(cls, text: str) -> "Cursor":
        """Read one that ``encode`` wrote.

        Raises:
            ValueError: it wrote no such thing.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]{23}", text):
            raise ValueError(text)
        raw = base64.urlsafe_b64decode(f"{text}=")
        if raw[0] > 1:
            raise ValueError(text)
        return cls(bool(raw[0]), int.from_bytes(raw[1:], "big"))


def page(
    request: HttpRequest, rows: QuerySet[_Row], *, shape: Callable[[_Row], Any], order: Order = NEWEST_FIRST
) -> dict[str, Any]:
    """Answer one page of rows, with the addresses of its neighbours.

    Raises:
        InvalidQuery: ``limit`` or ``cursor`` is not valid.
    """
    limit, cursor = _limit(request), _cursor(request)
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


def _limit(request: HttpRequest) -> int:
    text = _single(request, "limit")
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_PER_PAGE:
        raise _refused("limit", f"expected a whole number from 1 to {MOST_PER_PAGE}, got {shown(text)}")
    return int(text)


def _cursor(request: HttpRequest) -> Cursor | None:
    text = _single(request, "cursor")
    if text is None:
        return None
    try:
        return Cursor.decode(text)
    except (ValueError, binascii.Error):
        raise _refused("cursor", "expected the cursor of a next or previous address, unchanged") from None


def _single(request: HttpRequest, name: str) -> str | None:
    values = request.GET.getlist(name)
    if len(values) > 1:
        raise _refused(name, f"expected it once, got it {len(values)} times")
    return values[0] if values else None


def _refused(name: str, message: str) -> InvalidQuery:
    return InvalidQuery(errors=[FieldError(name, "invalid", message)])


def _address(request: HttpRequest, cursor: Cursor) -> str:
    query = request.GET.copy()
    query["cursor"] = cursor.encode()
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
