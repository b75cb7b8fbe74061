"""Query parameters of lists: a table of filters, each a reader and the QuerySet method it leads to."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import QueryDict

from tasks.api import fields
from tasks.api.fields import Reader, Unfit
from tasks.api.pagination import PAGE_PARAMETERS
from tasks.models import TaskQuerySet
from tasks.priority import BANDS, HIGHEST, LOWEST, Band
from tasks.states import Status

_Row = TypeVar("_Row", bound=Model)
_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True)
class Filter:
    """One query parameter; ``apply`` gets the rows and what was read, all values at once if it may be repeated."""

    read: Reader
    apply: Callable[[Any, Any], Any]
    is_repeatable: bool = False


def filtered(rows: QuerySet[_Row], parameters: QueryDict, filters: Mapping[str, Filter]) -> QuerySet[_Row]:
    """Apply the query's filters.

    Raises:
        InvalidQuery: with one error per parameter.
    """
    readers = {name: one.read for name, one in filters.items()}
    repeatable = {name for name, one in filters.items() if one.is_repeatable}
    for name, value in fields.read_parameters(
        parameters, readers, repeatable=repeatable, others=PAGE_PARAMETERS
    ).items():
        rows = filters[name].apply(rows, value)
    return rows


def choice(kind: type[_Choice]) -> Reader:
    """Read one of the names of an enumeration, in any case."""

    def read(value: str) -> _Choice:
        try:
            return kind[value.upper()]
        except KeyError:
            raise Unfit(
                "invalid", f"expected one of {', '.join(kind.__members__)}, got {fields.shown(value)}"
            ) from None

    return read


def _moment(value: str) -> datetime:
    # A plus sign that was not escaped arrives as a space.
    return fields.moment(re.sub(r" (\d\d:?\d\d)$", r"+\1", value))


def _priority(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", value):
        raise Unfit("invalid", f"expected {LOWEST} to {HIGHEST}, got {fields.shown(value)}; by word: band=high")
    return int(fields.whole_number(LOWEST, HIGHEST)(int(value)))


def _band(value: str) -> Band:
    for band in BANDS:
        if value.lower() == band.name:
            return band
    raise Unfit("invalid", f"expected high, medium or low, got {fields.shown(value)}")


TASK_FILTERS: Mapping[str, Filter] = {
    "status": Filter(choice(Status), TaskQuerySet.in_status, is_repeatable=True),
    "actor": Filter(fields.text(255), TaskQuerySet.for_actor),
    "queue": Filter(fields.text(100), TaskQuerySet.in_queue),
    "band": Filter(_band, TaskQuerySet.in_band),
    "priority": Filter(_priority, TaskQuerySet.with_priority),
    "tag": Filter(fields.text(100), TaskQuerySet.tagged),
    "created_after": Filter(_moment, TaskQuerySet.created_after),
    "created_before": Filter(_moment, TaskQuerySet.created_before),
    "run_after": Filter(_moment, TaskQuerySet.running_after),
    "run_before": Filter(_moment, TaskQuerySet.running_before),
    "search": Filter(fields.text(255), TaskQuerySet.searched),
}
