"""JSON that callers send: bounded, in UTF-8 and strict; hostile text is refused before it is parsed."""

import json
import re
from collections import Counter
from functools import partial
from itertools import accumulate, islice
from typing import Any

from tasks.conf import conf
from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest, TooLarge

#: The levels of a body around a payload: the body itself, the list of a bulk, the task.
_LEVELS_AROUND_PAYLOAD = 3

_BRACKET = re.compile(rb"[\[\]{}]")
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_EXPONENT = re.compile(rb"[eE]\+?0*(\d{2,3})(?!\d)", re.ASCII)
_LARGEST_EXPONENT = 999
# Python's time to read a whole number grows with the square of its digits. A few are read, to name their field.
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER, _MOST_LONG_NUMBERS = b"0" * 1_000, 100

#: How much longer than a plain value it takes to read one of these.
_COST_OF_NAME, _COST_OF_CONTAINER, _COST_OF_EXPONENT = 3, 4, 3


def decoded(raw: bytes, *, what: str = "the body") -> Any:
    """Decode JSON.

    Parameters:
        what: the name of the text in messages.

    Raises:
        MalformedRequest, TooLarge: 400 or 413.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"expected {what} in UTF-8; byte {error.start} is not") from error
    _check_structure(raw, what)
    try:
        return json.loads(
            text,
            object_pairs_hook=partial(_without_duplicates, what=what),
            parse_constant=partial(_refuse_constant, what=what),
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedRequest(f"{what} is not JSON: {error.msg} at {where}") from error
    except ValueError as error:
        # Python does not parse numbers of more than 4,300 digits.
        raise MalformedRequest(f"{what} has a number with too many digits") from error


def _check_structure(raw: bytes, what: str) -> None:
    """Refuse what would take the JSON parser long, before it builds anything; each step here runs at C's speed.

    Raises:
        TooLarge: too many values, or numbers with too many digits once written out.
        MalformedRequest: nested too deeply for a parser that recurses; the payload's own limit comes later.
    """
    # Every second part is a string, once escaped quotes are gone; what is in strings costs nothing.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    if plain.count(b'"') > 2 * (conf.MAX_JSON_VALUES + 1):
        raise _too_many_values(what)
    parts = plain.split(b'"')
    skeleton = b'"'.join(parts[::2])
    cost = skeleton.count(b",") + _COST_OF_NAME * skeleton.count(b":") + _COST_OF_CONTAINER * _openings(skeleton)
    if cost > conf.MAX_JSON_VALUES:
        raise _too_many_values(what)
    _check_depth(skeleton, parts, what)
    _check_numbers(skeleton, what, values=cost)


def _openings(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _too_many_values(what: str) -> TooLarge:
    return TooLarge(
        f"expected {what} to have at most {conf.MAX_JSON_VALUES} values (MAX_JSON_VALUES; a name counts as "
        f"{_COST_OF_NAME}, an array or object as {_COST_OF_CONTAINER}); split a bulk into several"
    )


def _check_depth(skeleton: bytes, parts: list[bytes], what: str) -> None:
    """Refuse deep nesting.

    Parameters:
        skeleton: the text with a quote in the place of each string.
        parts: the text between quotes; every second one is a string.
    """
    deepest = conf.MAX_JSON_DEPTH + _LEVELS_AROUND_PAYLOAD
    if _openings(skeleton) <= deepest:
        return
    levels = [*accumulate(map(_STEP.__getitem__, skeleton.translate(None, _ALL_BUT_BRACKETS)))]
    if max(levels) <= deepest:
        return
    # The last string before the nesting left the first level is the name of the field.
    outermost = max((n for n, level in enumerate(levels[: levels.index(deepest + 1)]) if level == 1), default=-1) + 1
    opening = next(islice(_BRACKET.finditer(skeleton), outermost, None)).start()
    strings = skeleton.count(b'"', 0, opening)
    field = quoted(parts[2 * strings - 1].decode())[1:-1] if strings else ""
    message = f"expected at most {conf.MAX_JSON_DEPTH} nested levels"
    raise MalformedRequest(f"{what} is nested too deeply: {message}", errors=[FieldError(field, "too_deep", message)])


def _check_numbers(skeleton: bytes, what: str, *, values: int) -> None:
    """Bound the digits of numbers: stored, each of the 5 bytes of 1e308 becomes 60."""
    if skeleton.translate(_DIGITS_AS_ZEROS).count(_LONG_NUMBER) > _MOST_LONG_NUMBERS:
        raise MalformedRequest(f"{what} has numbers with too many digits")
    exponents = skeleton.count(b"e") + skeleton.count(b"E")
    if exponents * _LARGEST_EXPONENT <= conf.MAX_BODY_BYTES or exponents > values + 1:
        # So few that their digits are within the limit, or so many that this is no JSON, as its parser will say.
        return
    exponents -= sum(map(skeleton.count, (b"true", b"false", b"e-", b"E-")))
    if values + _COST_OF_EXPONENT * exponents > conf.MAX_JSON_VALUES:
        raise _too_many_values(what)
    digits = sum(map(int, _EXPONENT.findall(skeleton)))
    if digits > conf.MAX_BODY_BYTES:
        message = f"expected numbers that have at most {conf.MAX_BODY_BYTES} digits once written out, got {digits}"
        raise TooLarge(f"{message}; split a bulk into several")


def _without_duplicates(pairs: list[tuple[str, Any]], *, what: str) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        message = "expected each name once in an object; JSON parsers disagree about which one counts"
        raise MalformedRequest(
            f"{what} has {quoted(twice)} twice", errors=[FieldError(quoted(twice)[1:-1], "duplicate", message)]
        )
    return value


def _refuse_constant(name: str, *, what: str) -> Any:
    raise MalformedRequest(f"{what} is not JSON: JSON has no {name}, only finite numbers")
