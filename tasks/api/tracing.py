"""The span of a request: the parent of what the request submits."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from opentelemetry.trace import StatusCode

from tasks.telemetry import trace, tracing


class TracingMiddleware:
    """Traces requests with ``TRACING``; it stands right behind the one that draws the trace id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request; the answer says which span it was."""
        method = str(request.method)
        given = request.META.get("HTTP_TRACEPARENT", "")
        with trace.active.request(method, trace_id=trace.current(), traceparent=given) as span:
            response = self._get_response(request)
            # The pattern, not the path, which may hold what its sender calls secret.
            route = getattr(request.resolver_match, "route", "")
            span.update_name(f"{method} /{route}")
            span.set_attributes({"http.request.method": method, "http.route": f"/{route}"})
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 500:
                span.set_status(StatusCode.ERROR)
            for name, value in tracing.outgoing().items():
                response.headers[name] = value
        return response
