"""Bodies that nobody reads: too large ones are refused unread on every path, and no upload is stored anywhere."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from tasks.api import problems
from tasks.conf import conf
from tasks.errors import TooLarge

#: Its own parser refuses a large body too, but asks first who the caller is.
_API = "/api/"


class BodyLimitMiddleware:
    """Refuse a body that is declared larger than the limit, before a view or another middleware reads it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        if not request.path_info.startswith(_API) and _declared_length(request) > conf.MAX_BODY_BYTES:
            return _too_large()
        return self._get_response(request)


class NoUploads(FileUploadHandler):
    """The only entry of ``FILE_UPLOAD_HANDLERS``: no form of this site takes a file, so none is kept."""

    def handle_raw_input(
        self, _input_data: Any, _meta: Any, content_length: int, _boundary: Any, _encoding: Any = None
    ) -> None:
        """Refuse a large form before its first byte is read."""
        if content_length > conf.MAX_BODY_BYTES:
            raise RequestDataTooBig(f"expected a form of at most {conf.MAX_BODY_BYTES} bytes")

    def new_file(self, *_args: Any, **_kwargs: Any) -> None:
        """Pass over a file."""
        raise SkipFile

    def receive_data_chunk(self, _raw_data: bytes, _start: int) -> None:
        """Keep nothing of a file."""

    def file_complete(self, _file_size: int) -> None:
        """Make nothing of a file."""


def _too_large() -> HttpResponse:
    return problems.problem(TooLarge(f"expected a body of at most {conf.MAX_BODY_BYTES} bytes"))


def _declared_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
