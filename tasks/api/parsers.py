"""Request bodies: bounded, in UTF-8 and strict JSON; hostile ones are refused here."""

import json
import re
from collections import Counter
from itertools import accumulate, islice
from typing import IO, Any, cast

from django.http import HttpRequest
from rest_framework.request import Request

from tasks.conf import conf
from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest, TooLarge, UnsupportedMediaType

_CHUNK = 64 * 1024

#: The entry of ``META`` that says how many bytes of the body were read.
SIZE_READ = "callboard.size_read"

#: The levels of a body around a payload: the body itself, the list of a bulk, the task.
_LEVELS_AROUND_PAYLOAD = 3

_MEDIA_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE | re.ASCII)
# An empty body, or a form without fields, which some clients send for "no data".
_NOTHING = re.compile(rb"\s*(?:--[^\r\n]+--)?\s*")
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


def read_object(request: Request, *, optional: bool = False) -> dict[str, Any]:
    """Read the body as one JSON object; an empty body counts as ``{}`` if it is optional.

    Raises:
        UnsupportedMediaType, TooLarge, MalformedRequest: 415, 413 or 400.
    """
    raw = _read(request._request)
    if optional and _NOTHING.fullmatch(raw):
        return {}
    if not raw.strip():
        raise MalformedRequest("expected a JSON object as the body, got none")
    _check_media_type(request.META.get("CONTENT_TYPE", ""))
    _check_encoding(request.META.get("HTTP_CONTENT_ENCODING", ""))
    value = _decode(raw)
    if not isinstance(value, dict):
        raise MalformedRequest(f"expected a JSON object as the body, got {quoted(value)}")
    return value


def _read(request: HttpRequest) -> bytes:
    """Read the body up to the limit; a declared length above the limit is refused unread."""
    most = conf.MAX_BODY_BYTES
    if _content_length(request) > most:
        raise _too_large()
    stream, parts, size = _stream(request), [], 0
    while part := _part(stream, min(_CHUNK, most + 1 - size)):
        parts.append(part)
        size += len(part)
        request.META[SIZE_READ] = size
        if size > most:
            raise _too_large()
    return b"".join(parts)


def _part(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except Exception as error:
        # Each server raises its own exceptions for a body that it cannot read.
        raise MalformedRequest("the body ended early, or its chunks cannot be read") from error


def _stream(request: HttpRequest) -> IO[bytes]:
    # Without a Content-Length Django assumes an empty body; a server that decodes chunks marks the end itself.
    if "CONTENT_LENGTH" not in request.META and request.META.get("wsgi.input_terminated"):
        return cast("IO[bytes]", request.META["wsgi.input"])
    return cast("IO[bytes]", request)


def _content_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _too_large() -> TooLarge:
    return TooLarge(f"expected a body of at most {conf.MAX_BODY_BYTES} bytes; split a bulk into several")


def _check_media_type(header: str) -> None:
    media_type, _, parameters = header.partition(";")
    charset = re.search(r"charset=\"?([^\";\s]*)", parameters, re.IGNORECASE)
    if not _MEDIA_TYPE.fullmatch(media_type.strip()):
        raise UnsupportedMediaType(f"expected Content-Type: application/json, got {quoted(header)}")
    if charset and charset[1].lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(f"expected a body in UTF-8, got {quoted(charset[1])}")


def _check_encoding(header: str) -> None:
    if header.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType(f"expected an unencoded body, got Content-Encoding: {quoted(header)}")


def _decode(raw: bytes) -> Any:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"expected a body in UTF-8; byte {error.start} is not") from error
    _check_structure(raw)
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedRequest(f"the body is not JSON: {error.msg} at {where}") from error
    except ValueError as error:
        # Python does not parse numbers of more than 4,300 digits.
        raise MalformedRequest("the body has a number with too many digits") from error


def _check_structure(raw: bytes) -> None:
    """Refuse what would take the JSON parser long, before it builds anything; each step here runs at C's speed.

    Raises:
        TooLarge: too many values, or numbers with too many digits once written out.
        MalformedRequest: nested too deeply for a parser that recurses; the payload's own limit comes later.
    """
    # Every second part is a string, once escaped quotes are gone; what is in strings costs nothing.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    if plain.count(b'"') > 2 * (conf.MAX_JSON_VALUES + 1):
        raise _too_many_values()
    parts = plain.split(b'"')
    skeleton = b'"'.join(parts[::2])
    cost = skeleton.count(b",") + _COST_OF_NAME * skeleton.count(b":") + _COST_OF_CONTAINER * _openings(skeleton)
    if cost > conf.MAX_JSON_VALUES:
        raise _too_many_values()
    _check_depth(skeleton, parts)
    _check_numbers(skeleton, values=cost)


def _openings(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _too_many_values() -> TooLarge:
    return TooLarge(
        f"expected a body of at most {conf.MAX_JSON_VALUES} values (MAX_JSON_VALUES; a name counts as "
        f"{_COST_OF_NAME}, an array or object as {_COST_OF_CONTAINER}); split a bulk into several"
    )


def _check_depth(skeleton: bytes, parts: list[bytes]) -> None:
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
    raise MalformedRequest(f"the body is nested too deeply: {message}", errors=[FieldError(field, "too_deep", message)])


def _check_numbers(skeleton: bytes, *, values: int) -> None:
    """Bound the digits of numbers: stored, each of the 5 bytes of 1e308 becomes 60."""
    if skeleton.translate(_DIGITS_AS_ZEROS).count(_LONG_NUMBER) > _MOST_LONG_NUMBERS:
        raise MalformedRequest("the body has numbers with too many digits")
    exponents = skeleton.count(b"e") + skeleton.count(b"E")
    if exponents * _LARGEST_EXPONENT <= conf.MAX_BODY_BYTES or exponents > values + 1:
        # So few that their digits are within the limit, or so many that this is no JSON, as its parser will say.
        return
    exponents -= sum(map(skeleton.count, (b"true", b"false", b"e-", b"E-")))
    if values + _COST_OF_EXPONENT * exponents > conf.MAX_JSON_VALUES:
        raise _too_many_values()
    digits = sum(map(int, _EXPONENT.findall(skeleton)))
    if digits > conf.MAX_BODY_BYTES:
        message = f"expected numbers that have at most {conf.MAX_BODY_BYTES} digits once written out, got {digits}"
        raise TooLarge(f"{message}; split a bulk into several")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        message = "expected each name once in an object; JSON parsers disagree about which one counts"
        raise MalformedRequest(
            f"the body has {quoted(twice)} twice", errors=[FieldError(quoted(twice)[1:-1], "duplicate", message)]
        )
    return value


def _refuse_constant(name: str) -> Any:
    raise MalformedRequest(f"the body is not JSON: JSON has no {name}, only finite numbers")
