"""Every error answer has one format, ``application/problem+json`` (RFC 9457), wherever the error was raised."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error as DatabaseProblem
from django.http import Http404, HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from rest_framework import exceptions as drf
from rest_framework.response import Response

from tasks import errors
from tasks.contract import database_errors
from tasks.contract.fields import MOST_ERRORS
from tasks.errors import CallboardError
from tasks.telemetry import trace

CONTENT_TYPE = "application/problem+json"

#: Errors of Django and REST framework, and the errors they become. The first match counts, so subclasses come first.
_TRANSLATIONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[CallboardError]], ...] = (
    ((drf.NotAuthenticated, drf.AuthenticationFailed), errors.NotAuthenticated),
    ((drf.PermissionDenied, PermissionDenied), errors.NotAllowed),
    ((drf.NotFound, Http404), errors.NotFound),
    (drf.MethodNotAllowed, errors.MethodNotAllowed),
    (drf.UnsupportedMediaType, errors.UnsupportedMediaType),
    (RequestDataTooBig, errors.TooLarge),
    ((drf.ParseError, SuspiciousOperation, UnreadablePostError), errors.MalformedRequest),
)

#: The errors that statuses of Django's own pages become.
_OF_STATUS: dict[int, type[CallboardError]] = {
    errors.STATUS_OF_CODE[error.code][0]: error
    for error in (
        errors.MalformedRequest,
        errors.NotAuthenticated,
        errors.NotAllowed,
        errors.NotFound,
        errors.MethodNotAllowed,
        errors.TooLarge,
        errors.UnsupportedMediaType,
        errors.DatabaseUnavailable,
    )
}


def problem_response(exc: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer an exception of a view; REST framework's ``EXCEPTION_HANDLER``.

    An unexpected exception is raised again, so that Django reports it with its traceback; ``normalise`` then gives the
    answer its format.
    """
    error = translated(exc)
    if error is None:
        return None
    response = _page(error) if _is_browsed(context) else problem(error)
    # REST framework puts the first authenticator's challenge on the exception.
    if challenge := getattr(exc, "auth_header", None):
        response["WWW-Authenticate"] = challenge
    return response


def problem(error: CallboardError, **more: Any) -> HttpResponse:
    """Answer an error; ``more`` are extension members of the problem."""
    status = errors.http_status(error)
    body = encoded(error, status, **more)
    return HttpResponse(body, status=status, content_type=CONTENT_TYPE, headers=_headers(error, status))


def encoded(error: CallboardError, status: int, **more: Any) -> bytes:
    """Write an error as JSON."""
    # ASCII only: a message may quote text that UTF-8 cannot carry, such as a lone surrogate.
    return json.dumps(_content(error, status) | more, separators=(",", ":")).encode("ascii")


def _is_browsed(context: Mapping[str, Any]) -> bool:
    renderer = getattr(context.get("request"), "accepted_renderer", None)
    return renderer is not None and renderer.media_type == "text/html"


def _page(error: CallboardError) -> Response:
    # The script of the browsable page shows HTML only and drops any other answer.
    status = errors.http_status(error)
    return Response(_content(error, status), status=status, headers=_headers(error, status))


def _headers(error: CallboardError, status: int) -> dict[str, str]:
    is_short = status == HTTPStatus.SERVICE_UNAVAILABLE
    return dict(error.headers) | ({"Retry-After": str(database_errors.RETRY_AFTER_SECONDS)} if is_short else {})


def normalise(response: HttpResponseBase) -> None:
    """Turn an error answer that is not a problem (Django's own pages) into one; keep its status and headers."""
    is_problem = response.headers.get("Content-Type") == CONTENT_TYPE
    if is_problem or isinstance(response, Response) or not isinstance(response, HttpResponse):
        # An error in a Response of REST framework is a browsable page.
        return
    fallback = CallboardError if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else errors.MalformedRequest
    error = _OF_STATUS.get(response.status_code, fallback)()
    response.content = encoded(error, response.status_code)
    response.headers["Content-Type"] = CONTENT_TYPE
    response.headers["Content-Length"] = str(len(response.content))


def translated(exc: BaseException) -> CallboardError | None:
    """Translate an exception into an error for the caller; None for a defect."""
    if isinstance(exc, CallboardError):
        return exc
    if isinstance(exc, DatabaseProblem):
        return database_errors.of_database(exc)
    for kinds, error in _TRANSLATIONS:
        if isinstance(exc, kinds):
            return error(_detail(exc))
    return None


def _detail(exc: BaseException) -> str | None:
    """Give the messages that are written for the caller and say more than the default ones."""
    return str(exc.detail) if isinstance(exc, drf.AuthenticationFailed | drf.PermissionDenied) else None


def _content(error: CallboardError, status: int) -> dict[str, Any]:
    return {
        "type": f"urn:callboard:error:{error.code}",
        "title": (type(error).__doc__ or "").strip().splitlines()[0].rstrip("."),
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "trace_id": trace.current(),
        "errors": [errors.as_dict(one) for one in error.errors[:MOST_ERRORS]],
    }
