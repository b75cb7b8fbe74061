"""Pages of lists, with cursors in the place of REST's addresses."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model

from tasks.contract.pages import Page
from tasks.contract.values import timestamp

_Row = TypeVar("_Row", bound=Model)


def page_as_dict(name: str, page: Page[_Row], write: Callable[[_Row], Any]) -> dict[str, Any]:
    """Write a page of rows.

    Parameters:
        name: of the field that the rows are in.
    """
    written: dict[str, Any] = {
        name: [write(row) for row in page.rows],
        "next_cursor": page.next.encode() if page.next else None,
        "previous_cursor": page.previous.encode() if page.previous else None,
    }
    if page.searched:
        written["searched"] = {"is_complete": page.searched.is_complete, "until": timestamp(page.searched.until)}
    return written
