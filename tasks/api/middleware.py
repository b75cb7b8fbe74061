"""The outermost middleware: a request's trace id, its access log line, and one format for errors."""

import logging
import time
from collections.abc import Callable

import structlog
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, reverse
from django.utils.encoding import escape_uri_path

from tasks.api import forwarded, problems
from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest
from tasks.telemetry import trace

#: Pages run scripts from this site's files only, so text that slipped through escaping does not run as a script.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)

_LONGEST_PATH = 300
_PROBES = frozenset({"/healthz", "/readyz", "/health", "/metrics"})

_log = structlog.get_logger(__name__)


class RequestMiddleware:
    """Traces, answers and logs a request; first in ``MIDDLEWARE``, so that it also sees requests that others refuse."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        trace_id = trace.from_headers(request.META)
        with trace.bound(trace_id):
            started = time.perf_counter()
            forwarded.apply(request)
            response = _refuse_foreign_host(request) or self._get_response(request)
            _finish(request, response)
            response.headers["X-Trace-Id"] = trace_id
            _record(request, response, seconds=time.perf_counter() - started)
        return response


def _refuse_foreign_host(request: HttpRequest) -> HttpResponse | None:
    """Refuse with a reason: Django itself answers a bare 400, and logs a traceback for each passing scanner.

    Probes answer to every host: orchestrators name an address of the moment, and no answer has the host in it.
    """
    if _is_probe(request):
        return None
    try:
        request.get_host()
    except DisallowedHost:
        host = request.META.get("HTTP_HOST", "")
        message = f"this site does not answer to the host {quoted(host)}; its operator can add it to ALLOWED_HOSTS"
        return problems.problem(MalformedRequest(message, errors=[FieldError("Host", "unknown_host", message)]))
    return None


def _finish(request: HttpRequest, response: HttpResponseBase) -> None:
    if response.headers.get("Content-Type", "").startswith("text/html"):
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    if response.status_code >= 400 and not is_page(request):
        problems.normalise(response)
    # Django's CommonMiddleware would do it; it is left out, because it checks the host of probes too.
    if isinstance(response, HttpResponse) and response.status_code not in (204, 304):
        response.headers.setdefault("Content-Length", str(len(response.content)))
        if request.method == "HEAD":
            # Views answer as to GET; gunicorn would drop the body with a warning.
            response.content = b""


def _record(request: HttpRequest, response: HttpResponseBase, *, seconds: float) -> None:
    # Successful probes come every few seconds.
    is_quiet = response.status_code < 300 and _is_probe(request)
    # The escaped path without its query: the log gets no control characters and no secrets.
    _log.log(
        logging.DEBUG if is_quiet else logging.INFO,
        "request",
        method=request.method,
        path=escape_uri_path(request.path)[:_LONGEST_PATH],
        status=response.status_code,
        ms=round(seconds * 1000, 2),
    )


def _is_probe(request: HttpRequest) -> bool:
    return request.path_info.removesuffix("/") in _PROBES


def is_page(request: HttpRequest) -> bool:
    """Tell whether a path is one of the HTML pages, where errors stay HTML."""
    # As the caller knows them, with a proxy's prefix.
    return request.path.startswith((reverse("admin:index"), get_script_prefix().rstrip("/") + settings.STATIC_URL))
