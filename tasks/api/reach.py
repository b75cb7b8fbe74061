"""What a token reaches: its scopes, actors and queues narrow what its user may do."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.errors import FieldError, NotAllowed
from tasks.states import Scope

if TYPE_CHECKING:
    from dlq.models import DeadLetterQuerySet
    from tasks.models import TaskQuerySet

Rows = TypeVar("Rows", "TaskQuerySet", "DeadLetterQuerySet")


class InScope(BasePermission):
    """Lets a token in that has the scope for what is asked; a session of the browsable API has all scopes."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Look the scope up: the view's own for the method, else ``read`` or ``operate``.

        Raises:
            NotAllowed: the token has not got it.
        """
        usual = Scope.READ if request.method in SAFE_METHODS else Scope.OPERATE
        needed = getattr(view, "scopes", {}).get(request.method, usual)
        token: Any = request.auth
        if token is not None and needed not in token.scopes:
            has = ", ".join(token.scopes)
            raise NotAllowed(f'this needs a token with the scope "{needed}"; the scopes of this one: {has}')
        return True


@dataclass(frozen=True)
class Reach:
    """The actors and queues that a caller is limited to; empty means all."""

    actors: Collection[str] = ()
    queues: Collection[str] = ()

    def narrow(self, rows: Rows) -> Rows:
        """Leave out the tasks or dead letters of others."""
        if self.actors:
            rows = rows.filter(actor__in=self.actors)
        if self.queues:
            rows = rows.filter(queue__in=self.queues)
        return rows

    def check(self, *, actor: str | None = None, queue: str | None = None) -> None:
        """Refuse what is beyond.

        Raises:
            NotAllowed: with the field.
        """
        for field, name, names in (("actor", actor, self.actors), ("queue", queue, self.queues)):
            if name is not None and names and name not in names:
                message = f"expected one that this token is for ({', '.join(sorted(names))}), got {name}"
                raise NotAllowed(errors=[FieldError(field, "not_allowed", message)])


def reach_of(request: Request) -> Reach:
    """Tell what a request's token is limited to; without one, nothing."""
    token: Any = request.auth
    return Reach() if token is None else Reach(token.actors, token.queues)
