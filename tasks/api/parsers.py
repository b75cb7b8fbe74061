"""Request bodies: bounded, and JSON; hostile ones are refused here."""

import re
from typing import IO, Any, cast

from django.http import HttpRequest
from rest_framework.request import Request

from tasks.conf import conf
from tasks.contract.fields import quoted
from tasks.contract.strict_json import decoded
from tasks.errors import MalformedRequest, TooLarge, UnsupportedMediaType

_CHUNK = 64 * 1024

#: The entry of ``META`` that says how many bytes of the body were read.
SIZE_READ = "callboard.size_read"

_MEDIA_TYPE = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE | re.ASCII)
# An empty body, or a form without fields, which some clients send for "no data".
_NOTHING = re.compile(rb"\s*(?:--[^\r\n]+--)?\s*")


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
    value = decoded(raw)
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
