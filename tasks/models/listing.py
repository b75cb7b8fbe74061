"""Rows that are listed by id, and that know which of their conditions an index serves.

A filter may match few rows or none of millions, so no list may read until its page is full. ``tasks.queries.scan``
reads the rows of a list part by part, along an index. The QuerySet methods of a model say along which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self, TypeVar

from django.db import models
from django.db.models import Q

_Row = TypeVar("_Row", bound=models.Model)


class ListedQuerySet(models.QuerySet[_Row]):
    """Rows in the order of their ids, which are UUIDv7."""

    _path: Q = Q()
    _has_leader: bool = False
    _is_slow: bool = False
    _served: Mapping[str, Q] = {}

    def led_by(self, condition: Q, *, path: Q | None = None) -> Self:
        """Narrow to rows that an index has in the order of ids; the first call chooses the index to read along.

        Parameters:
            path: the condition of the rows that are in the index, if a few are not.
        """
        rows = self.filter(condition)
        if self._has_leader:
            return rows.served_by(str(condition), condition)
        rows._path, rows._has_leader = self._path & (condition if path is None else path), True
        return rows

    def served_by(self, index: str, condition: Q) -> Self:
        """Note a condition of all these rows by which an index finds them, in no order.

        It narrows nothing by itself: the planner, which does not know how many rows have a key, would use the index
        where a few rows in order are enough. Conditions of the same index are looked up together.
        """
        rows = self.all()
        rows._served = {**self._served, index: self._served.get(index, Q()) & condition}
        return rows

    def slow_to_match(self) -> Self:
        """Note that looking at a row takes long: its big columns lie elsewhere and are compressed."""
        rows = self.all()
        rows._is_slow = True
        return rows

    def within(self, ids: Q) -> Self:
        """Narrow to a range of ids."""
        rows = self.filter(ids)
        rows._path = self._path & ids
        return rows

    @property
    def path(self) -> Self:
        """All rows along the index that leads, whether they match the other conditions or not."""
        rows: Any = self.model._default_manager.all()
        return rows.filter(self._path) if self._path else rows  # type: ignore[no-any-return]

    @property
    def is_path(self) -> bool:
        """Whether there are no other conditions."""
        return bool(self.query.where == self.path.query.where)

    @property
    def is_scattered(self) -> bool:
        """Whether each row may cost a page: another index than the primary key leads, or big columns are compared."""
        return self._has_leader or self._is_slow

    def lookups(self) -> Iterator[Self]:
        """Give the rows that each index finds, more than all conditions together match."""
        for condition in self._served.values():
            yield self.model._default_manager.filter(condition)  # type: ignore[misc]

    def _clone(self) -> Self:
        rows: Self = super()._clone()  # type: ignore[misc]
        rows._path, rows._has_leader, rows._served = self._path, self._has_leader, self._served
        rows._is_slow = self._is_slow
        return rows
