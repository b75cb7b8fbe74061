"""The idempotency key of a submission, a field of its body or a header; ``lifecycle.submit_once`` keeps it."""

from typing import Any

from tasks.contract import fields
from tasks.errors import FieldError, InvalidTask

FIELD, HEADER = "idempotency_key", "Idempotency-Key"
LONGEST = 255

_read = fields.text(LONGEST)


def take_key(body: dict[str, Any], *, in_header: str | None = None) -> str | None:
    """Take the key out of a body, or use that of the header; None if the caller gave none.

    Raises:
        InvalidTask: the key is not text, or the two differ.
    """
    in_body, in_header = _checked(FIELD, body.pop(FIELD, None)), _checked(HEADER, in_header)
    if in_body is not None and in_header is not None and in_body != in_header:
        message = f"expected one key, got another in the header {HEADER}"
        raise InvalidTask(message, errors=[FieldError(FIELD, "exclusive", message)])
    return in_header if in_body is None else in_body


def _checked(name: str, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return str(_read(value))
    except fields.InvalidValue as error:
        raise InvalidTask(errors=[fields.field_error(name, error)]) from error
