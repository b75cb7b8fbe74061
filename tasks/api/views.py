"""The base of all views of the API: who may call, what is answered, and in which form."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.conf import settings
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.api.browsable_page import Page
from tasks.api.parsers import read_object
from tasks.api.permissions import HasScope, IsStaff
from tasks.contract import fields
from tasks.db import call_timeout
from tasks.errors import InvalidTask
from tasks.states import Scope


class Unread(BaseParser):
    """Leaves the body to ``read_object``.

    REST framework's own parsers read without a limit, and as early as in the CSRF check of a session.
    """

    #: What the page of an answer suggests for a body.
    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        """Read nothing."""
        return {}


class JsonUnlessBrowsed(BaseContentNegotiation):
    """Answers JSON whatever ``Accept`` says, as browsers and probes send anything; pages to staff who is logged in."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        """Choose the one there is."""
        return parsers[0]  # type: ignore[no-any-return]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Choose the page for a browser with a session of staff, whose token would be no browser's."""
        is_browser = request.META.get("HTTP_ACCEPT", "").startswith("text/html")
        if is_browser and "HTTP_AUTHORIZATION" not in request.META and request._request.user.is_staff:
            return renderers[-1], renderers[-1].media_type
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """What all views of the API share."""

    permission_classes: Sequence[Any] = (IsAuthenticated, HasScope)
    #: What a method needs, where it is not "read" or "operate".
    scopes: ClassVar[Mapping[str, Scope]] = {}
    parser_classes = (Unread,)
    renderer_classes = (JSONRenderer, Page)
    content_negotiation_class = JsonUnlessBrowsed

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer; with a 503 if the database is silent for too long, which psycopg2 would wait for without limit."""
        with call_timeout.bounded(settings.REQUEST_DATABASE_SECONDS):
            return super().dispatch(request, *args, **kwargs)

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any] | None:
        """Suggest what the page of an answer has in its form for a method; None if that needs no body."""
        return None

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep answers out of caches: a task moves on without its ETag, which only edits change."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        return response


class StaffView(ApiView):
    """What is about the whole installation: hosts, workers, everybody's load."""

    permission_classes = (IsStaff, HasScope)


def read_nothing(request: Request) -> None:
    """Read the body of a verb that takes no fields; it may be left out.

    Raises:
        InvalidTask: it has fields.
    """
    _, errors = fields.read_fields(read_object(request, optional=True), {}, refused={})
    if errors:
        raise InvalidTask("this call takes no fields", errors=errors)
