"""What is wrong with the values that code gives for declared fields; doors read text and check more.

A value of the wrong type would fail in a statement, where nothing says which field it was, or be kept and fail later in
the scheduler or a worker.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from tasks.errors import FieldError
from tasks.submission import (
    FIELDS,
    FOR_EVER,
    BatchId,
    Dependencies,
    JsonObject,
    Kind,
    Moment,
    Priority,
    Reference,
    Seconds,
    Tags,
    Text,
    UniqueRule,
    WholeNumber,
)

#: A code and a message; None if nothing is wrong.
Fault = tuple[str, str] | None
Check = Callable[[Any], Fault]

#: Delays added to a date before this year stay within what Python's dates can hold.
LATEST_YEAR = 9000

_BAD_TEXT = re.compile("[\0\ud800-\udfff]")


def shown(value: Any) -> str:
    """Show the beginning of a value in a message."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return "a number of very many digits"


# What fits passes in one expression: every submission comes this way.


def text(longest: int) -> Check:
    """Check a text of at least one character."""

    def fault(value: Any) -> Fault:
        is_fit = isinstance(value, str) and 0 < len(value) <= longest and not _BAD_TEXT.search(value)
        return None if is_fit else _text_fault(value, longest)

    return fault


def _text_fault(value: Any, longest: int) -> Fault:
    if not isinstance(value, str) or not value:
        return "invalid", f"expected text, got {shown(value)}"
    if len(value) > longest:
        return "too_long", f"expected at most {longest} characters, got {len(value)}"
    return "bad_text", f"expected text without NUL or lone surrogates, got {shown(value)}"


#: Of a signal's name, in characters.
LONGEST_SIGNAL = 100
_is_signal = text(LONGEST_SIGNAL)


def signal_name(value: Any) -> Fault:
    """Check the name of a signal: a text that can be read aloud."""
    if fault := _is_signal(value):
        return fault
    return None if value.isprintable() else ("bad_text", f"expected printable characters, got {shown(value)}")


def number(lowest: float, highest: float, *, unit: str = "") -> Check:
    """Check a number; True and False are none."""

    def fault(value: Any) -> Fault:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN, which compares false with everything, does not fit.
        return None if is_number and lowest <= value <= highest else _number_fault(value, is_number)

    def _number_fault(value: Any, is_number: bool) -> Fault:
        if not is_number:
            return "invalid", f"expected a number{unit and ' of' + unit}, got {shown(value)}"
        return "out_of_range", f"expected {lowest:g} to {highest:.0f}{unit}, got {shown(value)}"

    return fault


def whole_number(lowest: int, highest: int, *, others: Iterable[int] = ()) -> Check:
    """Check a whole number; True and False are none.

    Parameters:
        others: values outside of the range that have a meaning of their own.
    """
    is_within = number(lowest, highest)

    def fault(value: Any) -> Fault:
        if isinstance(value, float):
            return "invalid", f"expected a whole number, got {shown(value)}"
        return None if value in others else is_within(value)

    return fault


def moment(value: Any) -> Fault:
    """Check a date and time with its zone."""
    if not isinstance(value, datetime):
        return "invalid", f"expected a datetime with its zone, got {shown(value)}"
    if value.tzinfo is None:
        return "no_zone", f"expected a time with its zone, got {value}: timezone.now() has one"
    if not 1 < value.year < LATEST_YEAR:
        return "out_of_range", f"expected a year before {LATEST_YEAR}, got {value}"
    return None


def _arguments(value: Any) -> Fault:
    is_fit = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return None if is_fit else ("invalid", f"expected a list, got {shown(value)}")


def mapping(value: Any) -> Fault:
    """Check that a value is a mapping; what is in it is checked elsewhere."""
    return None if isinstance(value, Mapping) else ("invalid", f"expected a dictionary, got {shown(value)}")


def tags(most: int, longest: int) -> Check:
    """Check a collection of short texts; one text alone would be taken for its characters."""
    one = text(longest)

    def fault(value: Any) -> Fault:
        if isinstance(value, list | tuple | set | frozenset) and len(value) <= most:
            return next((found for found in map(one, value) if found), None)
        came = f"{len(value)} of them" if isinstance(value, list | tuple | set | frozenset) else shown(value)
        return "invalid", f"expected a list of at most {most} texts, got {came}"

    return fault


def _parents(value: Any) -> Fault:
    is_fit = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    return None if is_fit else ("invalid", f"expected a list of ids of tasks, or of DependsOn, got {shown(value)}")


def _batch(value: Any) -> Fault:
    return None if isinstance(value, UUID) else ("invalid", f"expected the id of a batch, a UUID, got {shown(value)}")


def check_of(kind: Kind) -> Check | None:
    """Choose the check of a kind of field; None if its reader checks it."""
    match kind:
        case Text(longest) | Reference(longest):
            return text(longest)
        case JsonObject():
            return mapping
        case Tags(most, longest):
            return tags(most, longest)
        case Moment():
            return moment
        case Priority(lowest, highest):
            return whole_number(lowest, highest)
        case Seconds(_, longest):
            return number(0, longest, unit=" seconds")
        case WholeNumber(_, highest):
            return whole_number(0, highest, others=(FOR_EVER,))
        case Dependencies():
            return _parents
        case BatchId():
            return _batch
        case UniqueRule():
            return None


_CHECKS: dict[str, Check] = {
    **{name: check for name, one in FIELDS.items() if (check := check_of(one.kind)) is not None},
    "args": _arguments,
    "options": mapping,
}


def faults(given: Mapping[str, Any]) -> list[FieldError]:
    """List what is wrong with some fields of a task; None counts as not given."""
    return [
        FieldError(name, *found)
        for name, value in given.items()
        # Most fields of a task are not given.
        if value is not None and (check := _CHECKS.get(name)) and (found := check(value)) is not None
    ]
