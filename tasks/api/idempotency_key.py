"""The header ``Idempotency-Key``."""

from rest_framework.request import Request

from tasks.contract import fields
from tasks.contract.idempotency_key import FIELD, HEADER, LONGEST
from tasks.errors import FieldError, InvalidTask

#: The value of the header: printable ASCII, quoted as in the IETF draft or bare.
PATTERN = rf'^(?:"[ -~]{{1,{LONGEST}}}"|(?!".*"$)[!-~](?:[ -~]{{0,{LONGEST - 2}}}[!-~])?)$'


def key_in_header(request: Request) -> str | None:
    """Read the header; None if there is none.

    Raises:
        InvalidTask: it is not printable ASCII.
    """
    header: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if header is None:
        return None
    if not (header.isascii() and header.isprintable()):
        # Its bytes are in some unknown encoding, and the same text in a body would be another key.
        message = (
            f"expected printable ASCII, got {fields.quoted(header)}; other text can be sent as {FIELD} in the body"
        )
        raise InvalidTask(errors=[FieldError(HEADER, "bad_text", message)])
    # The IETF draft quotes the key; most clients do not.
    is_quoted = len(header) > 1 and header[0] == header[-1] == '"'
    return header[1:-1] if is_quoted else header
