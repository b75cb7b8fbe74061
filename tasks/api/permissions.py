"""REST framework's permissions, decided by ``tasks.contract.access``."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.contract.access import Caller


def caller_of(request: Request) -> Caller:
    """Tell who makes a request."""
    meta = request.META
    token: Any = request.auth
    return Caller(request.user, token, meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))


class MayAct(BasePermission):
    """Lets in who may do the view's action of the method; of owners' actions ``find_owned`` decides about the row."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask for the action in ``view.actions``; methods without one, such as OPTIONS, tell nothing of anyone.

        Raises:
            NotAllowed: the token lacks the scope, or the user lacks a permission.
        """
        method = "GET" if request.method == "HEAD" else request.method
        action = getattr(view, "actions", {}).get(method)
        if action is not None:
            caller = caller_of(request)
            caller.require_scope(action)
            if not action.is_for_owners:
                caller.require(action)
        return True
