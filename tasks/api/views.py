"""The base of all views of the API: permissions and content negotiation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tasks.api.authentication import BearerTokenAuthentication
from tasks.api.browsable_page import Page
from tasks.api.parsers import SIZE_READ
from tasks.api.permissions import MayAct, caller_of
from tasks.api.problems import problem_response
from tasks.contract.access import Action
from tasks.contract.refusal_limit import REFUSED, refusal_key, refusals
from tasks.errors import TooManyRefused
from tasks.submission import OwnerId


class Unread(BaseParser):
    """Leaves the body to ``read_object``.

    REST framework's own parsers read without a limit, as early as the CSRF check of a session.
    """

    #: What the browsable page sends a body as.
    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        """Read nothing."""
        return {}


class JsonOrPage(BaseContentNegotiation):
    """Answers JSON whatever ``Accept`` says, and browsable pages to browsers of logged-in staff."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        """Choose the only parser."""
        return parsers[0]  # type: ignore[no-any-return]

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Choose the page for a browser with a session of staff; a client that sends a token is a program."""
        is_browser = request.META.get("HTTP_ACCEPT", "").startswith("text/html")
        if is_browser and "HTTP_AUTHORIZATION" not in request.META and request._request.user.is_staff:
            return renderers[-1], renderers[-1].media_type
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """The base of all views. It asks nothing of the project's ``REST_FRAMEWORK``, which is for the project's views."""

    authentication_classes: Sequence[Any] = (BearerTokenAuthentication, SessionAuthentication)
    throttle_classes = ()
    permission_classes: Sequence[Any] = (IsAuthenticated, MayAct)
    #: What each method does. A method that is missing here is a mistake, and its requests fail.
    actions: Mapping[str, Action] = {}
    #: The owner of the row that the request is about, once it is found.
    owner_id: OwnerId | None = None
    parser_classes = (Unread,)
    renderer_classes = (JSONRenderer, Page)
    content_negotiation_class = JsonOrPage

    def check_throttles(self, request: Request) -> None:
        """Refuse a change unread if too many requests of its caller were refused.

        Raises:
            TooManyRefused: see ``RefusalLimit``.
        """
        caller = caller_of(request)
        if request.method not in SAFE_METHODS and caller.is_limited:
            refusals.check(refusal_key(caller))

    def get_exception_handler(self) -> Callable[..., Any]:
        """Answer every error as a problem."""
        return problem_response

    def handle_exception(self, exc: Exception) -> Response:
        """Answer an error, and count it if it refuses the request."""
        response = super().handle_exception(exc)
        if response.status_code in REFUSED and not isinstance(exc, TooManyRefused):
            self._note_refusal(self.request)
        return response

    def _note_refusal(self, request: Request) -> None:
        caller = caller_of(request)
        is_change = request.method not in SAFE_METHODS
        has_wrong_token = caller.token is None and "HTTP_AUTHORIZATION" in request.META
        if caller.is_limited and (is_change or has_wrong_token):
            refusals.note(refusal_key(caller), size=request.META.get(SIZE_READ, 0))

    def suggested_body(self, method: str, answer: Any) -> Mapping[str, Any] | None:
        """Suggest a body for a method, for the form of the browsable page; None if the method needs no body."""
        return None

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbid caching: a task changes its status while its ETag, which counts edits, stays the same."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response.headers["Cache-Control"] = "no-store"
        return response
