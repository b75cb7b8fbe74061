"""The idempotency key of a submission: a field of the body or a header, one name for one request."""

from typing import Any

from rest_framework.request import Request

from tasks.api import fields
from tasks.errors import FieldError, InvalidTask

FIELD, HEADER = "idempotency_key", "Idempotency-Key"
LONGEST = 255

_read = fields.text(LONGEST)


def take_key(request: Request, body: dict[str, Any]) -> str | None:
    """Take the key out of a body or find it in the header; None if the caller gave none.

    Raises:
        InvalidTask: it is no text, or body and header differ.
    """
    in_body = _checked(FIELD, body.pop(FIELD, None))
    in_header = _checked(HEADER, _in_header(request))
    if in_body is not None and in_header is not None and in_body != in_header:
        message = f"expected one key, got another in the header {HEADER}"
        raise InvalidTask(message, errors=[FieldError(FIELD, "exclusive", message)])
    return in_header if in_body is None else in_body


def _checked(name: str, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return str(_read(value))
    except fields.Unfit as error:
        raise InvalidTask(errors=[fields.field_error(name, error)]) from error


def _in_header(request: Request) -> str | None:
    header: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if header is None:
        return None
    if not header.isascii():
        # It came as bytes of some encoding, and would be another key than the same text in a body.
        message = f"expected ASCII, got {fields.shown(header)}; other text can be sent as {FIELD} in the body"
        raise InvalidTask(errors=[FieldError(HEADER, "bad_text", message)])
    # The IETF's draft has a quoted string, most clients send it bare.
    is_quoted = len(header) > 1 and header[0] == header[-1] == '"'
    return header[1:-1] if is_quoted else header
