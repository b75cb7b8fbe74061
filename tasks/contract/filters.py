"""Filters of lists: a table of parameters, each with its reader and the QuerySet method that it calls."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from tasks.contract import fields
from tasks.contract.fields import InvalidValue, Reader
from tasks.contract.pages import PAGE_PARAMETERS
from tasks.masking import is_secret, masked_text
from tasks.models.payload_path import PayloadValue
from tasks.priority import BANDS, HIGHEST, LOWEST, Band
from tasks.states import LISTED_OBSTACLES, Obstacle

#: In characters.
LONGEST_PAYLOAD_VALUE = 300

_Row = TypeVar("_Row", bound=Model)
_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True)
class Filter:
    """One parameter; ``apply`` gets the rows and the value, or all values if the parameter may be repeated."""

    read: Reader
    apply: Callable[[Any, Any], Any]
    is_repeatable: bool = False


def filtered(
    rows: QuerySet[_Row],
    parameters: Mapping[str, Sequence[str]],
    filters: Mapping[str, Filter],
    *,
    others: Collection[str] = PAGE_PARAMETERS,
) -> QuerySet[_Row]:
    """Apply the filters of a request.

    Parameters:
        parameters: all values of each, as text.
        others: parameters that are read elsewhere; by default those of a page. Where there are no pages, a limit that
            is passed over would find everything.

    Raises:
        InvalidQuery: with one error per parameter.
    """
    readers = {name: one.read for name, one in filters.items()}
    repeatable = {name for name, one in filters.items() if one.is_repeatable}
    for name, value in fields.read_parameters(parameters, readers, repeatable=repeatable, others=others).items():
        rows = filters[name].apply(rows, value)
    return rows


def choice(kind: type[_Choice]) -> Reader:
    """Read one of the names of an enumeration, in upper or lower case."""

    def read(value: str) -> _Choice:
        try:
            return kind[value.upper()]
        except KeyError:
            raise InvalidValue(
                "invalid", f"expected one of {', '.join(kind.__members__)}, got {fields.quoted(value)}"
            ) from None

    return read


def obstacle(value: str) -> Obstacle:
    """Read why a task waits, in upper or lower case."""
    for one in LISTED_OBSTACLES:
        if value.lower() == one.value:
            return one
    raise InvalidValue("invalid", f"expected one of {', '.join(LISTED_OBSTACLES)}, got {fields.quoted(value)}")


def moment(value: str) -> datetime:
    """Read a date and time."""
    # An unescaped plus sign in a URL arrives as a space.
    return fields.moment(re.sub(r" (\d\d:?\d\d)$", r"+\1", value))


def priority(value: str) -> int:
    """Read a priority as a number."""
    if not re.fullmatch(r"[0-9]{1,2}", value):
        raise InvalidValue("invalid", f"expected {LOWEST} to {HIGHEST}, got {fields.quoted(value)}; by name: band=high")
    return int(fields.whole_number(LOWEST, HIGHEST)(int(value)))


def payload_value(value: str) -> PayloadValue:
    """Read a path into a payload and the value there: ``user.id:42``.

    A secret is refused, in the path or as the value: those who see it masked must not find it by guessing.
    """
    path, colon, wanted = fields.text(LONGEST_PAYLOAD_VALUE)(value).partition(":")
    keys = tuple(path.split("."))
    if not colon or not wanted or not all(keys):
        raise InvalidValue("invalid", f"expected a path and its value such as user.id:42, got {fields.quoted(value)}")
    if any(map(is_secret, keys)) or masked_text(value) != value:
        raise InvalidValue("not_allowed", "expected a value that is not secret; secrets cannot be searched for")
    return PayloadValue(keys, wanted)


def error_type(value: str) -> str:
    """Read the name of an error's type, which is no part of its message."""
    if not re.fullmatch(r"[\w.]{1,255}", value):
        raise InvalidValue("invalid", f"expected a name such as KeyError, got {fields.quoted(value)}")
    return value


def band(value: str) -> Band:
    """Read the name of a band, in upper or lower case."""
    for one in BANDS:
        if value.lower() == one.name:
            return one
    raise InvalidValue("invalid", f"expected high, medium or low, got {fields.quoted(value)}")
