"""What ``RequestMiddleware`` does where the whole site is Callboard's: every path but the pages answers as the API."""

from django.conf import settings
from django.http import HttpRequest
from django.urls import get_script_prefix, reverse

from tasks.api.middleware import RequestMiddleware


class SiteRequestMiddleware(RequestMiddleware):
    """Traces, answers and logs every request."""

    def is_ours(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Take every path: a client that mistypes one of the API gets a problem, not a page."""
        return True

    def is_page(self, request: HttpRequest) -> bool:
        """Tell the admin's pages and static files from the rest."""
        return is_page(request)


def is_page(request: HttpRequest) -> bool:
    """Tell whether a path is one of the HTML pages, where errors stay HTML."""
    # As the caller knows them, with a proxy's prefix.
    return request.path.startswith((reverse("admin:index"), get_script_prefix().rstrip("/") + settings.STATIC_URL))
