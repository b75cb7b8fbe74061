"""REST framework's permissions, decided by ``tasks.contract.access``."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.contract.access import Caller
from tasks.states import Scope


def caller_of(request: Request) -> Caller:
    """Tell who makes a request."""
    meta = request.META
    token: Any = request.auth
    return Caller(request.user, token, meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))


class HasScope(BasePermission):
    """Lets in a token that has the scope of the request; a session of the browsable API has all scopes."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Look the scope up: the view's own for the method, else ``read`` or ``operate``.

        Raises:
            NotAllowed: the token lacks the scope.
        """
        usual = Scope.READ if request.method in SAFE_METHODS else Scope.OPERATE
        caller_of(request).require(getattr(view, "scopes", {}).get(request.method, usual))
        return True


class IsStaff(IsAdminUser):
    """Lets staff in; the refusal gives the reason."""

    message = "only staff may see this: it is about the whole installation, not only your tasks"
