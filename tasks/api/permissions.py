"""REST framework's permissions, decided by ``tasks.contract.access``."""

from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.contract.access import Action, Caller, Owned, find_owned

if TYPE_CHECKING:
    from django.db.models import QuerySet


def caller_of(request: Request) -> Caller:
    """Tell who makes a request."""
    meta = request.META
    token: Any = request.auth
    return Caller(request.user, token, meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))


def action_of(request: Request) -> Action | None:
    """Tell the action of a request; None for OPTIONS, and for a method that the view lacks and answers by a 405.

    Raises:
        KeyError: the view does not declare what this method does.
    """
    view = _view_of(request)
    method = "GET" if request.method == "HEAD" else str(request.method)
    if method == "OPTIONS" or method not in view.allowed_methods:
        return None
    action: Action = view.actions[method]
    return action


def find_row(request: Request, rows: "QuerySet[Owned]", text: str, action: Action, *, view: Action, kind: str) -> Owned:
    """Find the row of an address by ``find_owned``, and tell the view whose it is."""
    row = find_owned(rows, text, caller_of(request), action, view=view, kind=kind)
    _view_of(request).owner_id = row.owner_id
    return row


class MayAct(BasePermission):
    """Lets callers in by the action of the request; of owners' actions ``find_owned`` decides once it has the row."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the contract.

        Raises:
            NotAllowed: the token lacks the scope, or the user lacks a permission.
        """
        action = action_of(request)
        if action is not None:
            caller_of(request).require_for_some(action)
        return True


def _view_of(request: Request) -> Any:
    return (request.parser_context or {})["view"]
