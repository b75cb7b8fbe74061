"""The database budget of a request: how long its database calls may take together, and the answer after that."""

import sys
from collections.abc import Callable

from django.db import Error, connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.views import defaults

from scheduler_site.site_requests import is_page
from tasks.api import problems
from tasks.conf import conf
from tasks.db import call_timeout, server


class RequestBudgetMiddleware:
    """Bound the database calls of a request; outside of all middleware that may make some, such as sessions."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        with call_timeout.bounded(conf.REQUEST_DATABASE_SECONDS, breaker=server.breaker):
            response = self._get_response(request)
            _close_failed_sessions()
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer when a view, or a template that it left to be rendered, could not reach the database."""
        return _answer(request, error)


def server_error(request: HttpRequest) -> HttpResponse:
    """``handler500``: answer 503 if the database is away, whichever middleware found that, and 500 for a defect."""
    return _answer(request, sys.exc_info()[1]) or defaults.server_error(request)


def _answer(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    problem = problems.translated(error) if isinstance(error, Error) else None
    if problem is None:
        return None
    response = problems.problem(problem)
    if is_page(request):
        # Without the request: the context processors would ask the database who is logged in.
        response.content = render_to_string("503.html", {"detail": problem.detail}).encode()
        response.headers["Content-Type"] = "text/html; charset=utf-8"
    return response


def _close_failed_sessions() -> None:
    """Close sessions on which a statement failed: Django would ask the server about them after the response."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred and not connection.in_atomic_block:
            connection.close()
