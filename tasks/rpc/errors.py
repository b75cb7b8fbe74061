"""Errors as gRPC sends them: a status of ``tasks.errors.STATUS_OF_CODE``, with the details of ``google.rpc``."""

import re
from collections.abc import Sequence
from typing import Any

import grpc
from django.db import Error as DatabaseProblem
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from tasks import errors
from tasks.contract import database_errors
from tasks.errors import CallboardError, FieldError
from tasks.telemetry import trace

DOMAIN = "callboard"

#: In characters and in bytes. A status travels in the metadata of an answer, of which clients take 8 kB.
_LONGEST_MESSAGE, _MOST_BYTES_OF_FIELDS = 1_000, 3_000

_MAY_TRY_AGAIN = frozenset({"UNAVAILABLE"})


def translated(exc: Exception) -> CallboardError | None:
    """Translate an exception into an error for the caller; None for a defect."""
    if isinstance(exc, CallboardError):
        return exc
    return database_errors.of_database(exc) if isinstance(exc, DatabaseProblem) else None


def status_code(error: CallboardError) -> grpc.StatusCode:
    """Look up the status of an error."""
    found: grpc.StatusCode = getattr(grpc.StatusCode, errors.STATUS_OF_CODE[error.code][1])
    return found


def status_of(error: CallboardError) -> status_pb2.Status:
    """Write an error."""
    code = status_code(error)
    status = status_pb2.Status(code=code.value[0], message=_text(error.detail)[:_LONGEST_MESSAGE])
    info = error_details_pb2.ErrorInfo(reason=error.code.upper(), domain=DOMAIN, metadata={"trace_id": trace.current()})
    _add(status, info)
    if error.errors:
        _add(status, error_details_pb2.BadRequest(field_violations=_violations(error.errors)))
    seconds = error.headers.get("Retry-After") or (
        database_errors.RETRY_AFTER_SECONDS if code.name in _MAY_TRY_AGAIN else 0
    )
    if seconds:
        _add(status, error_details_pb2.RetryInfo(retry_delay=Duration(seconds=int(seconds))))
    return status


def _violations(found: Sequence[FieldError]) -> list[Any]:
    """Write the first errors of fields, as many as a client takes."""
    written: list[Any] = []
    left = _MOST_BYTES_OF_FIELDS
    for one in found:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_text(one.field)[:_LONGEST_MESSAGE],
            description=_text(one.message)[:_LONGEST_MESSAGE],
            reason=one.code.upper(),
        )
        left -= violation.ByteSize()
        if written and left < 0:
            break
        written.append(violation)
    return written


def _add(status: status_pb2.Status, detail: Any) -> None:
    status.details.add().Pack(detail)


def _text(text: str) -> str:
    """Escape what UTF-8 cannot carry, and control characters, which a status message in a log must not have."""
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", lambda found: f"\\x{ord(found[0]):02x}", text)
