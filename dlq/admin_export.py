"""The export of a list of dead letters, as the filters and the search of the list have narrowed it."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpRequest, StreamingHttpResponse

from tasks.admin.base import ReadOnlyAdmin
from tasks.contract.access import Caller
from tasks.contract.dead_letter_export import Format, find, sees_payloads_of, written
from tasks.contract.sight import sight_of
from tasks.contract.streams import streamed


def export_view(model_admin: ReadOnlyAdmin, request: HttpRequest, form: str) -> StreamingHttpResponse:
    """Send the rows that the list with the same parameters has."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    if form.upper() not in Format.__members__:
        raise Http404
    rows: Any = model_admin.listed(request)
    caller, kind = Caller(request.user), Format[form.upper()]
    pieces = written(find(rows), kind, sees=sight_of(caller), sees_payloads=sees_payloads_of(caller))
    body = streamed(pieces, is_async=isinstance(request, ASGIRequest))
    headers = {
        "Content-Disposition": f'attachment; filename="dead-letters.{kind.name.lower()}"',
        "Cache-Control": "no-store",
    }
    return StreamingHttpResponse(body, content_type=kind.value, headers=headers)
