"""Access: who may see and do what. A token narrows what its user may do, and never widens it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from tasks.contract import fields
from tasks.contract.client_address import client_address
from tasks.errors import FieldError, InvalidQuery, NotAllowed, NotFound
from tasks.states import Scope

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from dlq.models import DeadLetterQuerySet
    from tasks.models import ApiToken, TaskQuerySet

Rows = TypeVar("Rows", "TaskQuerySet", "DeadLetterQuerySet")
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Caller:
    """Who makes a request: a user, the token they sent if any, and the connection it came from.

    Parameters:
        peer: the address at the other end of the connection.
        forwarded_for: what proxies wrote of the addresses before it.
    """

    user: "AbstractBaseUser | AnonymousUser"
    token: "ApiToken | None" = None
    peer: str = ""
    forwarded_for: str = ""

    @property
    def name(self) -> str:
        """The user's name, as audit events record it."""
        return self.user.get_username()

    @property
    def address(self) -> str:
        """The address that the caller's limits go by."""
        return client_address(self.peer, self.forwarded_for)

    @property
    def owner_id(self) -> int | None:
        """The owner of what this caller submits."""
        return self.user.pk

    @property
    def is_staff(self) -> bool:
        """Whether the user is a member of staff."""
        return bool(getattr(self.user, "is_staff", False))

    @property
    def is_limited(self) -> bool:
        """Whether the limits of submissions, retries and refused requests apply."""
        return not self.is_staff

    @property
    def actors(self) -> Collection[str]:
        """The actors that the token is limited to; empty means all."""
        return () if self.token is None else self.token.actors

    @property
    def queues(self) -> Collection[str]:
        """The queues that the token is limited to; empty means all."""
        return () if self.token is None else self.token.queues

    def require(self, scope: Scope) -> None:
        """Refuse a token without a scope; a caller without a token has every scope.

        Raises:
            NotAllowed: the token lacks the scope.
        """
        if self.token is not None and scope not in self.token.scopes:
            has = ", ".join(self.token.scopes)
            raise NotAllowed(f'this needs a token with the scope "{scope}"; the scopes of this one: {has}')

    def check(self, *, actor: str | None = None, queue: str | None = None) -> None:
        """Refuse an actor or queue that the token is not for.

        Raises:
            NotAllowed: names the field.
        """
        if self.token is None:
            return
        for field, name, names in (("actor", actor, self.token.actors), ("queue", queue, self.token.queues)):
            if name is not None and names and name not in names:
                message = f"expected one that this token is for ({', '.join(sorted(names))}), got {name}"
                raise NotAllowed(errors=[FieldError(field, "not_allowed", message)])


def visible(rows: Rows, caller: Caller) -> Rows:
    """Narrow tasks or dead letters to those that the caller may see."""
    rows = rows.visible_to(caller.user)
    if caller.actors:
        rows = rows.filter(actor__in=caller.actors)
    if caller.queues:
        rows = rows.filter(queue__in=caller.queues)
    return rows


def find(rows: QuerySet[Row], text: str, *, kind: str) -> Row:
    """Find a row by its id among those that the caller may see.

    Parameters:
        kind: what a row is called in the message.

    Raises:
        InvalidQuery: the id is not a UUID.
        NotFound: there is no such row, or it belongs to somebody else: the two look the same.
    """
    row_id = _read_id(text)
    row = rows.filter(pk=row_id).first()
    if row is None:
        raise NotFound(f"there is no {kind} {row_id}")
    return row


def _read_id(text: str) -> UUID:
    try:
        return fields.identifier(text)
    except fields.InvalidValue as error:
        raise InvalidQuery(errors=[fields.field_error("id", error)]) from error
