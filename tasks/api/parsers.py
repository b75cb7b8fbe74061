"""Request bodies: bounded, in UTF-8 and strict JSON; hostile ones are refused here."""

import json
import re
from collections import Counter
from typing import IO, Any, cast

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest, TooLarge, UnsupportedMediaType

_CHUNK = 64 * 1024

#: The levels of a body around a payload: the body itself, the list of a bulk, the task.
_LEVELS_AROUND_PAYLOAD = 3

_MEDIA_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE | re.ASCII)
# An empty body, or a form without fields, which some clients send for "no data".
_NOTHING = re.compile(rb"\s*(?:--[^\r\n]+--)?\s*")
# An unterminated string matches to the end of the body: else each quote in it would be tried, in quadratic time.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.?[^"\\]*)*(?:"|\Z)|[\[\]{}]', re.DOTALL)

# Of a number: in a string a quote follows, or another character.
_EXPONENT = re.compile(r"[\d.][eE]\+?0*(\d{2,3})\s*[],}]", re.ASCII)


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
    most = settings.MAX_BODY_BYTES
    if _content_length(request) > most:
        raise _too_large()
    stream, parts, size = _stream(request), [], 0
    while part := _part(stream, min(_CHUNK, most + 1 - size)):
        parts.append(part)
        size += len(part)
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
    return TooLarge(f"expected a body of at most {settings.MAX_BODY_BYTES} bytes; split a bulk into several")


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
    _check_depth(text)
    _check_exponents(text)
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedRequest(f"the body is not JSON: {error.msg} at {where}") from error
    except ValueError as error:
        # Python does not parse numbers of more than 4,300 digits.
        raise MalformedRequest("the body has a number with too many digits") from error


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the JSON parser, which recurses, sees it; the payload's own limit comes later."""
    deepest = settings.MAX_JSON_DEPTH + _LEVELS_AROUND_PAYLOAD
    if text.count("[") + text.count("{") <= deepest:
        return
    depth, field = 0, ""
    for token in _STRING_OR_BRACKET.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > deepest:
                message = f"expected at most {settings.MAX_JSON_DEPTH} nested levels"
                raise MalformedRequest(
                    f"the body is nested too deeply: {message}", errors=[FieldError(field, "too_deep", message)]
                )
        elif first in "]}":
            depth -= 1
        elif depth == 1:
            # The last string on the first level, before the nesting starts, is the name of the field.
            field = quoted(token[0][1:-1])[1:-1]


def _check_exponents(text: str) -> None:
    """Bound the digits of numbers with exponents: stored, each of the 5 bytes of 1e308 becomes 60."""
    digits = sum(int(exponent) for exponent in _EXPONENT.findall(text))
    if digits > settings.MAX_BODY_BYTES:
        message = f"expected numbers that have at most {settings.MAX_BODY_BYTES} digits once written out, got {digits}"
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
