"""The viewer's time zone: a script tells it in a cookie, and the admin's pages show their times in it."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from tasks.timetable import LONGEST_ZONE, zone

#: Set by static/callboard/zone.js.
COOKIE = "callboard_zone"


class ViewersZoneMiddleware:
    """Show times of the admin in the zone of the cookie; without one, or with an unknown zone, in the site's."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request; its zone must not outlast it in this thread."""
        with timezone.override(None):
            return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any, **__: Any) -> None:
        """Choose the zone; the API's times are always UTC."""
        found = request.COOKIES.get(COOKIE, "")
        if not found or request.resolver_match is None or "admin" not in request.resolver_match.app_names:
            return
        try:
            timezone.activate(zone(found[:LONGEST_ZONE]))
        except ValueError:
            return
