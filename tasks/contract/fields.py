"""Readers: each turns a value of a request into the value to store, or says what it expected and what it got."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from tasks.errors import FieldError, InvalidQuery
from tasks.priority import HIGHEST, LOWEST, parse_priority
from tasks.retry import MOST_SECONDS
from tasks.unique import Unique

Reader = Callable[[Any], Any]

#: Bounds a date: PostgreSQL's calendar is longer than Python's, so a delay added to the last years would fail there.
LONGEST_WAIT = timedelta(seconds=MOST_SECONDS)

#: Stands for every time before it; a time in the past means now.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
#: The most errors that are listed; a bulk of 1,000 tasks can have many thousands.
MOST_ERRORS = 100

#: Names of fields in other schedulers, and their names here; docs/coming-from.md has the whole map.
SYNONYMS: Mapping[str, str] = {
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

# Characters that UTF-8 or PostgreSQL cannot store, and the replacement for bytes of an address that are not UTF-8.
_BAD_TEXT = re.compile("[\0\ud800-\udfff\ufffd]")
_LONGEST_QUOTED = 100


class InvalidValue(ValueError):
    """The value is not valid for its field."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def quoted(value: Any) -> str:
    """Quote a caller's value for a message: short, on one line, without the contents of arrays and objects."""
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # repr() escapes control characters and lone surrogates.
    text = repr(value[: _LONGEST_QUOTED + 1] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST_QUOTED else f"{text[:_LONGEST_QUOTED]}…"


def field_error(field: str, error: InvalidValue) -> FieldError:
    """Turn the error of a value into the error of its field."""
    return FieldError(field, error.code, str(error))


def read_fields(
    body: Mapping[str, Any], readers: Mapping[str, Reader], *, refused: Mapping[str, str]
) -> tuple[dict[str, Any], list[FieldError]]:
    """Read an object with a table of readers; null counts as left out.

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
            except InvalidValue as error:
                errors.append(field_error(name, error))
        if len(errors) > MOST_ERRORS:
            break
    return values, errors


def _unknown(name: str, readers: Mapping[str, Reader]) -> FieldError:
    instead = SYNONYMS.get(name)
    if instead in readers:
        return FieldError(name, "unknown_field", f'expected "{instead}", its name in Callboard')
    known = ", ".join(sorted(readers))
    return FieldError(
        quoted(name)[1:-1], "unknown_field", f"expected one of {known}" if known else "expected no fields"
    )


def read_parameters(
    parameters: Mapping[str, Sequence[str]],
    readers: Mapping[str, Reader],
    *,
    repeatable: Collection[str] = (),
    others: Collection[str] = (),
) -> dict[str, Any]:
    """Read parameters; an unknown one is refused, because ignoring a misspelt filter would list everything.

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
                raise InvalidValue("unknown_parameter", _expected([*readers, *others]))
        except InvalidValue as error:
            errors.append(FieldError(quoted(name)[1:-1], error.code, str(error)))
    if errors:
        raise InvalidQuery(errors=errors)
    return values


def _expected(names: Collection[str]) -> str:
    return f"expected one of {', '.join(sorted(names))}" if names else "expected no parameters"


def _only(texts: Sequence[Any]) -> Any:
    if len(texts) > 1:
        raise InvalidValue("duplicate", f"expected one value, got {len(texts)}")
    return texts[0]


def text(longest: int) -> Reader:
    """Read text of at least one character that UTF-8 and PostgreSQL can store."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidValue("invalid", f"expected text, got {quoted(value)}")
        if len(value) > longest:
            raise InvalidValue("too_long", f"expected at most {longest} characters, got {len(value)}")
        if _BAD_TEXT.search(value):
            raise InvalidValue("bad_text", "expected UTF-8 text without NUL, U+FFFD or lone surrogates")
        return value

    return read


def whole_number(lowest: int, highest: int) -> Reader:
    """Read a whole number within bounds; 5.0 is one, because JSON has one kind of number."""

    def read(value: Any) -> int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not lowest <= value <= highest or int(value) != value:
            raise InvalidValue("invalid", f"expected a whole number from {lowest} to {highest}, got {quoted(value)}")
        return int(value)

    return read


def seconds(*, above: float | None = None) -> Reader:
    """Read a duration in seconds, from 0 or above ``above``, up to a hundred years."""

    def read(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN, which compares false with everything, is refused too.
        if not is_number or not 0 <= value <= MOST_SECONDS or (above is not None and value <= above):
            bounds = f"from 0 to {MOST_SECONDS:.0f}" if above is None else f"above {above:g}"
            raise InvalidValue("invalid", f"expected a number of seconds {bounds}, got {quoted(value)}")
        return float(value)

    return read


def moment(value: Any) -> datetime:
    """Read a date and time with its zone (ISO 8601), as UTC."""
    wanted = 'expected a date and time with its zone such as "2030-01-31T09:00:00Z"'
    try:
        found = datetime.fromisoformat(_iso(text(64)(value)))
    except ValueError as error:
        raise InvalidValue("invalid", f"{wanted}, got {quoted(value)}") from error
    if found.tzinfo is None:
        raise InvalidValue("no_zone", f"{wanted}; {quoted(value)} has no zone")
    if found > timezone.now() + LONGEST_WAIT:
        raise InvalidValue("out_of_range", f"expected a time within the next hundred years, got {quoted(value)}")
    # The first years of the calendar cannot be converted to UTC; they only need to be in the past.
    return max(found, LONG_AGO).astimezone(UTC)


def _iso(text: str) -> str:
    """Refuse what only Python takes between date and time; small letters are RFC 3339's, and Python takes no "z"."""
    if not re.fullmatch(r"[0-9W-]+[T ][0-9:.,Z+-]+", text.upper()):
        raise ValueError("no ISO 8601")
    return text.upper()


def priority(value: Any) -> int:
    """Read a priority: a number or the name of a band."""
    if isinstance(value, list | dict):
        raise InvalidValue("invalid", f"expected a whole number or the name of a band, got {quoted(value)}")
    if isinstance(value, float):
        return int(whole_number(LOWEST, HIGHEST)(value))
    try:
        return parse_priority(value)
    except ValueError as error:
        raise InvalidValue("invalid", str(error)) from error


def tags(*, most: int, longest: int) -> Reader:
    """Read a list of short texts."""
    read_one = text(longest)

    def read(value: Any) -> list[str]:
        if not isinstance(value, list) or len(value) > most:
            came = f"{len(value)} tags" if isinstance(value, list) else quoted(value)
            raise InvalidValue("invalid", f"expected an array of at most {most} texts, got {came}")
        for position, tag in enumerate(value):
            try:
                read_one(tag)
            except InvalidValue as error:
                raise InvalidValue(error.code, f"tag {position}: {error}") from error
        return value

    return read


def boolean(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise InvalidValue("invalid", f"expected true or false, got {quoted(value)}")
    return value


def digits(lowest: int, highest: int) -> Reader:
    """Read a whole number from text, within bounds."""

    def read(value: str) -> int:
        # int() accepts digits of all alphabets, and any number of them.
        if not re.fullmatch(r"[0-9]{1,9}", value) or not lowest <= int(value) <= highest:
            raise InvalidValue("invalid", f"expected a whole number from {lowest} to {highest}, got {quoted(value)}")
        return int(value)

    return read


def json_object(value: Any) -> dict[str, Any]:
    """Read an object, without checking its contents."""
    if isinstance(value, str):
        raise InvalidValue("invalid", "expected an object, got a string: send the object itself")
    if not isinstance(value, dict):
        raise InvalidValue("invalid", f"expected an object, got {quoted(value)}")
    return value


def unique(value: Any) -> Unique:
    """Read an object with a unique key."""
    try:
        return Unique.read(json_object(value))
    except InvalidValue:
        raise
    except ValueError as error:
        raise InvalidValue("invalid", str(error)) from error


def fingerprint(value: Any) -> str:
    """Read the fingerprint of a failure."""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{32}", value):
        raise InvalidValue("invalid", f"expected 32 hexadecimal digits, got {quoted(value)}")
    return value


def identifier(value: str) -> UUID:
    """Read an id."""
    if not _UUID.fullmatch(value):
        raise InvalidValue("invalid", f"expected a UUID, got {quoted(value)}")
    return UUID(value)
