"""URLs: those in answers, as the caller reaches this site, and the query of a request."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from rest_framework.request import Request

from tasks.contract.pages import Cursor, Page
from tasks.contract.values import timestamp

_Row = TypeVar("_Row", bound=Model)


def parameters(request: Request) -> Mapping[str, Sequence[str]]:
    """List all values of each query parameter."""
    return dict(request._request.GET.lists())


def urls_of(request: Request, name: str) -> Callable[[str], str]:
    """Make the function that gives a row its address.

    Parameters:
        name: of the URL of the list that the row is in.
    """
    base = request.build_absolute_uri(reverse(name))
    return lambda id: f"{base}/{id}"


def page_as_dict(request: Request, page: Page[_Row], write: Callable[[_Row], Any]) -> dict[str, Any]:
    """Write a page of rows with the addresses of its neighbours."""
    written: dict[str, Any] = {
        "results": [write(row) for row in page.rows],
        "next": _address(request._request, page.next),
        "previous": _address(request._request, page.previous),
    }
    if page.searched:
        written["searched"] = {"is_complete": page.searched.is_complete, "until": timestamp(page.searched.until)}
    return written


def _address(request: HttpRequest, cursor: Cursor | None) -> str | None:
    if cursor is None:
        return None
    query = request.GET.copy()
    query["cursor"] = cursor.encode()
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")
