"""The outermost middleware: a request's trace id, and for the API its access log line and one format for errors."""

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils.encoding import escape_uri_path

from tasks.api import forwarded, problems
from tasks.contract.fields import quoted
from tasks.errors import FieldError, MalformedRequest
from tasks.log import get_logger
from tasks.telemetry import metrics, trace

#: Pages run scripts from the site's files only, so text that slipped through escaping does not run as a script.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)

_LONGEST_PATH = 300
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = ("healthz", "readyz", "health", "metrics")

_log = get_logger(__name__)


class RequestMiddleware:
    """Traces every request; answers and logs those to Callboard.

    First in ``MIDDLEWARE``, so that it also sees requests that others refuse.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        trace_id = trace.from_headers(request.META)
        with trace.bound(trace_id):
            if not self.is_ours(request):
                return self._get_response(request)
            started = time.perf_counter()
            forwarded.apply(request)
            response = _refuse_foreign_host(request) or self._get_response(request)
            self._finish(request, response)
            response.headers["X-Trace-Id"] = trace_id
            _record(request, response, seconds=time.perf_counter() - started)
        return response

    def is_ours(self, request: HttpRequest) -> bool:
        """Tell whether a path is Callboard's; the others are the project's and stay as they are."""
        found = _paths(get_script_prefix(), get_urlconf())
        return request.path.startswith(found.api) or request.path.removesuffix("/") in found.others

    def is_page(self, request: HttpRequest) -> bool:
        """Tell whether a path is one of the HTML pages, where errors stay HTML."""
        return False

    def _finish(self, request: HttpRequest, response: HttpResponseBase) -> None:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        if response.status_code >= 400 and not self.is_page(request):
            problems.normalise(response)
        # Django's CommonMiddleware would do it; it is left out, because it checks the host of probes too.
        if isinstance(response, HttpResponse) and response.status_code not in (204, 304):
            response.headers.setdefault("Content-Length", str(len(response.content)))
            if request.method == "HEAD":
                # Views answer as to GET; gunicorn would drop the body with a warning.
                response.content = b""


class _Paths(NamedTuple):
    api: str
    probes: frozenset[str]
    others: frozenset[str]


@cache
def _paths(_prefix: str, _urlconf: str | None) -> _Paths:
    """Find where the project has put the API."""
    probes = frozenset(map(reverse, _PROBES))
    others = probes | {reverse("api-docs"), reverse("api-schema")}
    return _Paths(reverse("api-tasks").removesuffix("tasks"), probes, others)


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
    metrics.http_requests.labels(
        request.method if request.method in _METHODS else "other",
        # Not the path: it has ids in it, and anybody can make one up.
        getattr(request.resolver_match, "view_name", "none"),
        str(response.status_code),
    ).observe(seconds)


def _is_probe(request: HttpRequest) -> bool:
    return request.path.removesuffix("/") in _paths(get_script_prefix(), get_urlconf()).probes
