"""Readers: each turns one value of a request into what we keep, or says what was expected and what came."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from tasks.errors import FieldError, InvalidQuery
from tasks.priority import parse_priority
from tasks.retry import MOST_SECONDS

Reader = Callable[[Any], Any]

#: A year of the far future would pass here and fail where PostgreSQL's calendar is longer than Python's.
LONGEST_WAIT = timedelta(seconds=MOST_SECONDS)

#: Any time that is past means now.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
#: More faults than this in one request are not listed; a bulk of 1,000 tasks can have many thousands.
MOST_ERRORS = 100

#: What others call a field, and its name here; docs/coming-from.md has the whole map.
INSTEAD: Mapping[str, str] = {
    "job_type": "actor",
    "name": "actor",
    "task": "actor",
    "data": "payload",
    "kwargs": "payload",
    "params": "payload",
    "countdown": "delay_seconds",
    "delay": "delay_seconds",
    "eta": "run_at",
    "scheduled_at": "run_at",
    "execution_time": "estimated_seconds",
    "timeout": "time_limit_seconds",
    "timeout_seconds": "time_limit_seconds",
    "expires": "max_age_seconds",
    "retries": "max_retries",
}

# What UTF-8 or PostgreSQL cannot carry, and what stands for bytes that were no UTF-8 in an address.
_BAD_TEXT = re.compile("[\0\ud800-\udfff\ufffd]")
_LONGEST_SHOWN = 100


class Unfit(ValueError):
    """A value is not what its field takes."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def shown(value: Any) -> str:
    """Quote a caller's value in a message: short, on one line, and without looking into arrays and objects."""
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # repr() escapes control characters and lone surrogates.
    text = repr(value[: _LONGEST_SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def field_error(field: str, error: Unfit) -> FieldError:
    """Say of a field what its reader said of its value."""
    return FieldError(field, error.code, str(error))


def read_fields(
    body: Mapping[str, Any], readers: Mapping[str, Reader], *, refused: Mapping[str, str]
) -> tuple[dict[str, Any], list[FieldError]]:
    """Read an object by a table of its fields; null counts as not given.

    Parameters:
        refused: fields that are known and not to be used, each with its reason.
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, value in body.items():
        if value is None and (name in readers or name in refused):
            continue
        if name in refused:
            if value != []:
                errors.append(FieldError(name, "not_supported", refused[name]))
        elif name not in readers:
            errors.append(_unknown(name, readers))
        else:
            try:
                values[name] = readers[name](value)
            except Unfit as error:
                errors.append(field_error(name, error))
        if len(errors) > MOST_ERRORS:
            break
    return values, errors


def _unknown(name: str, readers: Mapping[str, Reader]) -> FieldError:
    instead = INSTEAD.get(name)
    if instead in readers:
        return FieldError(name, "unknown_field", f'expected "{instead}", which is the name of that here')
    known = ", ".join(sorted(readers))
    return FieldError(shown(name)[1:-1], "unknown_field", f"expected one of {known}" if known else "expected no fields")


def read_parameters(
    parameters: Mapping[str, Sequence[str]],
    readers: Mapping[str, Reader],
    *,
    repeatable: Collection[str] = (),
    others: Collection[str] = (),
) -> dict[str, Any]:
    """Read a query; a misspelt parameter is refused, because ignoring a filter would list everything.

    Parameters:
        parameters: all values of each, in the order in which they were given.
        repeatable: parameters of which all values are read, into a list.
        others: parameters that are read elsewhere.

    Raises:
        InvalidQuery: with one error per parameter.
    """
    values, errors = {}, []
    for name, texts in parameters.items():
        try:
            if name in repeatable:
                values[name] = [readers[name](text) for text in texts]
            elif name in readers:
                values[name] = readers[name](_only(texts))
            elif name not in others:
                raise Unfit("unknown_parameter", _expected([*readers, *others]))
        except Unfit as error:
            errors.append(FieldError(shown(name)[1:-1], error.code, str(error)))
    if errors:
        raise InvalidQuery(errors=errors)
    return values


def _expected(names: Collection[str]) -> str:
    return f"expected one of {', '.join(sorted(names))}" if names else "expected no parameters"


def _only(texts: Sequence[Any]) -> Any:
    if len(texts) > 1:
        raise Unfit("duplicate", f"expected it once, got it {len(texts)} times")
    return texts[0]


def text(longest: int) -> Reader:
    """Read text of at least one character, without what UTF-8 or PostgreSQL cannot carry."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise Unfit("invalid", f"expected text, got {shown(value)}")
        if len(value) > longest:
            raise Unfit("too_long", f"expected at most {longest} characters, got {len(value)}")
        if _BAD_TEXT.search(value):
            raise Unfit("bad_text", "expected text without NUL characters, lone surrogates and bytes that are no UTF-8")
        return value

    return read


def whole_number(lowest: int, highest: int) -> Reader:
    """Read a whole number within bounds."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise Unfit("invalid", f"expected a whole number from {lowest} to {highest}, got {shown(value)}")
        return value

    return read


def seconds(*, above: float | None = None) -> Reader:
    """Read a time in seconds, from 0 on or from ``above`` on, up to a hundred years."""

    def read(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN, which compares false with everything, is refused too.
        if not is_number or not 0 <= value <= MOST_SECONDS or (above is not None and value <= above):
            bounds = f"from 0 to {MOST_SECONDS:.0f}" if above is None else f"above {above:g}"
            raise Unfit("invalid", f"expected a number of seconds {bounds}, got {shown(value)}")
        return float(value)

    return read


def moment(value: Any) -> datetime:
    """Read a time of day and date with its zone (ISO 8601), as UTC."""
    wanted = 'expected a date and time with its zone such as "2030-01-31T09:00:00Z"'
    try:
        found = datetime.fromisoformat(text(64)(value))
    except ValueError as error:
        raise Unfit("invalid", f"{wanted}, got {shown(value)}") from error
    if found.tzinfo is None:
        raise Unfit("no_zone", f"{wanted}; {shown(value)} does not say where")
    if found > timezone.now() + LONGEST_WAIT:
        raise Unfit("out_of_range", f"expected a time within the next hundred years, got {shown(value)}")
    # The first years of the calendar have no UTC equivalent; all that matters is that they are past.
    return max(found, LONG_AGO).astimezone(UTC)


def priority(value: Any) -> int:
    """Read a priority, as a number or as a word."""
    if isinstance(value, list | dict):
        raise Unfit("invalid", f"expected a whole number or a word, got {shown(value)}")
    try:
        return parse_priority(value)
    except ValueError as error:
        raise Unfit("invalid", str(error)) from error


def tags(*, most: int, longest: int) -> Reader:
    """Read a list of short texts."""
    read_one = text(longest)

    def read(value: Any) -> list[str]:
        if not isinstance(value, list) or len(value) > most:
            came = f"{len(value)} tags" if isinstance(value, list) else shown(value)
            raise Unfit("invalid", f"expected an array of at most {most} texts, got {came}")
        for position, tag in enumerate(value):
            try:
                read_one(tag)
            except Unfit as error:
                raise Unfit(error.code, f"tag {position}: {error}") from error
        return value

    return read


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Unfit("invalid", f"expected true or false, got {shown(value)}")
    return value


def digits(lowest: int, highest: int) -> Reader:
    """Read a whole number of a query, within bounds."""

    def read(value: str) -> int:
        # int() takes digits of all alphabets, of any length.
        if not re.fullmatch(r"[0-9]{1,9}", value) or not lowest <= int(value) <= highest:
            raise Unfit("invalid", f"expected a whole number from {lowest} to {highest}, got {shown(value)}")
        return int(value)

    return read


def an_object(value: Any) -> dict[str, Any]:
    """Read an object; what is in it is not looked at."""
    if isinstance(value, str):
        raise Unfit("invalid", "expected an object, got a string: send the object itself")
    if not isinstance(value, dict):
        raise Unfit("invalid", f"expected an object, got {shown(value)}")
    return value


def identifier(value: str) -> UUID:
    """Read an id."""
    if not _UUID.fullmatch(value):
        raise Unfit("invalid", f"expected a UUID, got {shown(value)}")
    return UUID(value)
