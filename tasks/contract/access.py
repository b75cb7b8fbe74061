"""Access: the one decision of who may see and do what, for every door.

An action belongs to a Django permission. Owners may do some actions to their own tasks without it, and plain users, who
are not staff, may submit without it; members of staff have the roles that a superuser gave them. A token narrows what
its user may do, and never widens it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from tasks.contract import fields
from tasks.contract.client_address import client_address
from tasks.errors import FieldError, NotAllowed, NotFound
from tasks.states import Scope
from tasks.submission import OwnerId

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from dlq.models import DeadLetter, DeadLetterQuerySet
    from tasks.models import ApiToken, Batch, JournalQuerySet, Task, TaskQuerySet

Rows = TypeVar("Rows", "TaskQuerySet", "DeadLetterQuerySet")
Reachable = TypeVar("Reachable", "TaskQuerySet", "DeadLetterQuerySet", "JournalQuerySet")
Owned = TypeVar("Owned", "Task", "DeadLetter", "Batch")
Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True)
class Action:
    """Something that a caller may see or do.

    Parameters:
        words: as in "you may not {cancel this task}".
        permissions: of Django; a user needs all of them.
        scope: that a token needs; None if no token may do it.
        is_for_owners: whether owners may do it to their own rows without the permissions.
        is_for_plain_users: whether users who are not staff may do it without the permissions.
    """

    words: str
    permissions: tuple[str, ...]
    scope: Scope | None = Scope.OPERATE
    is_for_owners: bool = False
    is_for_plain_users: bool = False

    @property
    def permission(self) -> str:
        """The permission of an action that has one."""
        (permission,) = self.permissions
        return permission


VIEW_TASK = Action("see this task", ("callboard.view_task",), Scope.READ, is_for_owners=True)
VIEW_PAYLOAD = Action("see payloads, results and errors", ("callboard.view_payload",), Scope.READ, is_for_owners=True)
SUBMIT_TASK = Action("submit tasks", ("callboard.add_task",), Scope.SUBMIT, is_for_plain_users=True)
EDIT_TASK = Action("edit this task", ("callboard.change_task",), is_for_owners=True)
#: Beyond EDIT_TASK: another payload makes other work run, as a submission does.
EDIT_PAYLOAD = Action("change the payload of this task", ("callboard.add_task",), Scope.SUBMIT, is_for_owners=True)
DELETE_TASK = Action("delete this task", ("callboard.delete_task",), is_for_owners=True)
CANCEL_TASK = Action("cancel this task", ("callboard.cancel_task",), is_for_owners=True)
RETRY_TASK = Action("run this task again", ("callboard.retry_task",), is_for_owners=True)
SIGNAL_TASK = Action("signal this task", ("callboard.change_task",), is_for_owners=True)
VIEW_BATCH = Action("see this batch", ("callboard.view_batch",), Scope.READ, is_for_owners=True)
#: Into a batch that is there; whoever may submit may make one.
ADD_TO_BATCH = Action("add tasks to this batch", ("callboard.change_batch",), Scope.SUBMIT, is_for_owners=True)
CLOSE_BATCH = Action("close this batch", ("callboard.change_batch",), Scope.SUBMIT, is_for_owners=True)
CANCEL_BATCH = Action("cancel this batch", ("callboard.cancel_batch",), is_for_owners=True)
VIEW_DEAD_LETTER = Action("see this dead letter", ("dlq.view_deadletter",), Scope.READ, is_for_owners=True)
REDRIVE_DEAD_LETTER = Action("re-drive this dead letter", ("dlq.redrive_deadletter",), is_for_owners=True)
DISCARD_DEAD_LETTER = Action("discard this dead letter", ("dlq.discard_deadletter",), is_for_owners=True)
#: Whoever may discard may undo it.
RESTORE_DEAD_LETTER = Action("restore this dead letter", ("dlq.discard_deadletter",), is_for_owners=True)
VIEW_FAILURE = Action("see failures", ("dlq.view_failure",), Scope.READ)
CHANGE_FAILURE = Action("assign, snooze and note failures", ("dlq.change_failure",))
VIEW_OPERATION = Action("see operations", ("callboard.view_operation",), Scope.READ)
#: Needed beside the permission for what the operation does to each row.
BEGIN_OPERATION = Action("act on many tasks or dead letters", ("callboard.add_operation",))
CHANGE_OPERATION = Action("pause, resume and cancel operations", ("callboard.change_operation",))
VIEW_QUEUE = Action("see queues", ("callboard.view_queue",), Scope.READ)
PAUSE_QUEUE = Action("pause and resume queues", ("callboard.pause_queue",))
VIEW_SCHEDULE = Action("see schedules", ("callboard.view_schedule",), Scope.READ)
ADD_SCHEDULE = Action("add schedules, or change what they run", ("callboard.add_schedule",), Scope.SUBMIT)
CHANGE_SCHEDULE = Action("change schedules", ("callboard.change_schedule",))
DELETE_SCHEDULE = Action("remove schedules", ("callboard.delete_schedule",))
PAUSE_SCHEDULE = Action("pause and resume schedules", ("callboard.pause_schedule",))
RUN_SCHEDULE = Action("run schedules now and for past times", ("callboard.run_schedule",))
VIEW_WORKER = Action("see workers", ("callboard.view_worker",), Scope.READ)
DRAIN_WORKER = Action("drain workers", ("callboard.drain_worker",))
VIEW_STATS = Action(
    "see statistics", ("callboard.view_task", "callboard.view_queue", "callboard.view_worker"), Scope.READ
)
VIEW_METRICS = Action("see metrics", ("callboard.view_worker",), Scope.READ)
VIEW_JOURNAL = Action("see the journal", ("callboard.view_journal",), Scope.READ)
#: The admin's pages of tokens; there is no scope for them, because no token may make or change tokens.
VIEW_TOKEN = Action("see API tokens", ("callboard.view_apitoken",), None)
ADD_TOKEN = Action("create API tokens", ("callboard.add_apitoken",), None)
CHANGE_TOKEN = Action("change API tokens", ("callboard.change_apitoken",), None)
REVOKE_TOKEN = Action("revoke API tokens", ("callboard.revoke_apitoken",), None)
#: What the list has depends on SUBMIT_TASK.
VIEW_ACTORS = Action("see actors", (), Scope.READ)


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
    def owner_id(self) -> OwnerId | None:
        """The owner of what this caller submits; None for nobody, and for a user who is blocked."""
        return self.user.pk if self.user.is_active else None

    @property
    def is_limited(self) -> bool:
        """Whether the limits of submissions, retries and refusals apply: to all callers but staff who may submit."""
        return not (self._is_staff and self._has(SUBMIT_TASK))

    @property
    def actors(self) -> Collection[str]:
        """The actors that the token is limited to; empty means all."""
        return () if self.token is None else self.token.actors

    @property
    def queues(self) -> Collection[str]:
        """The queues that the token is limited to; empty means all."""
        return () if self.token is None else self.token.queues

    def may(self, action: Action, *, owner_id: OwnerId | None = None) -> bool:
        """Decide whether the caller may do an action.

        Parameters:
            owner_id: of the row that it is done to; None if the row belongs to nobody or the action is not about a row.
        """
        return self._has_scope(action) and self.is_permitted(action, owner_id=owner_id)

    def is_permitted(self, action: Action, *, owner_id: OwnerId | None = None) -> bool:
        """Decide whether the user may do an action, whatever the scopes of the token."""
        # In the order of cost: Django asks the database for a user's permissions, once per request.
        return self.user.is_active and (
            (action.is_for_owners and owner_id is not None and owner_id == self.owner_id)
            or (action.is_for_plain_users and not self._is_staff)
            or self._has(action)
        )

    def require(self, action: Action, *, owner_id: OwnerId | None = None) -> None:
        """Refuse an action that the caller may not do.

        Raises:
            NotAllowed: the token lacks the scope, or the user lacks a permission.
        """
        self.require_scope(action)
        if not self.is_permitted(action, owner_id=owner_id):
            raise NotAllowed(
                f"you may not {action.words}: this needs the permission {' and '.join(action.permissions)}"
            )

    def require_for_some(self, action: Action) -> None:
        """Refuse an action that the caller may do to no row; for one of owners, ``find_owned`` decides by the row.

        Raises:
            NotAllowed: the token lacks the scope, or the user lacks a permission.
        """
        self.require_scope(action)
        if not action.is_for_owners:
            self.require(action)

    def require_scope(self, action: Action) -> None:
        """Refuse a token without the scope of an action; a caller without a token has every scope.

        Raises:
            NotAllowed: the token lacks the scope.
        """
        if self.token is not None and not self._has_scope(action):
            has = ", ".join(self.token.scopes)
            raise NotAllowed(f'this needs a token with the scope "{action.scope}"; the scopes of this one: {has}')

    def require_reach(self, *, actor: str | None = None, queue: str | None = None) -> None:
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

    @property
    def _is_staff(self) -> bool:
        return bool(getattr(self.user, "is_staff", False))

    def _has_scope(self, action: Action) -> bool:
        return self.token is None or action.scope in self.token.scopes

    def _has(self, action: Action) -> bool:
        user: Any = self.user
        return bool(user.is_active and user.has_perms(action.permissions))


def visible(rows: Rows, caller: Caller, action: Action) -> Rows:
    """Narrow tasks or dead letters to those that the caller may see.

    Parameters:
        action: to see such a row.
    """
    if not caller.is_permitted(action):
        rows = rows.owned_by(caller.owner_id)
    return in_reach(rows, caller)


def in_reach(rows: Reachable, caller: Caller) -> Reachable:
    """Narrow rows to the actors and queues that the caller's token is for."""
    if caller.actors:
        rows = rows.filter(actor__in=caller.actors)
    if caller.queues:
        rows = rows.filter(queue__in=caller.queues)
    return rows


def find_owned(rows: "QuerySet[Owned]", text: str, caller: Caller, action: Action, *, view: Action, kind: str) -> Owned:
    """Find a task, dead letter or batch that the caller wants to do something to.

    Parameters:
        view: the action of seeing such a row.
        kind: what a row is called in the message.

    Raises:
        NotFound: the id is not a UUID, there is no such row, or the caller may not see it; these look the same.
        NotAllowed: the caller may see the row, but not do this to it.
    """
    row_id = _read_id(text, kind)
    row = rows.filter(pk=row_id).first()
    # Also without a row, or a quicker answer would tell that there is none.
    is_seen = caller.is_permitted(view, owner_id=None if row is None else row.owner_id)
    if row is None or not is_seen or not _is_in_reach(row, caller):
        raise _not_found(row_id, kind)
    caller.require(action, owner_id=row.owner_id)
    return row


def find(rows: QuerySet[Row], text: str, *, kind: str) -> Row:
    """Find a row by its id.

    Parameters:
        kind: what a row is called in the message.

    Raises:
        NotFound: the id is not a UUID, or there is no such row.
    """
    row_id = _read_id(text, kind)
    row = rows.filter(pk=row_id).first()
    if row is None:
        raise _not_found(row_id, kind)
    return row


def _is_in_reach(row: "Task | DeadLetter | Batch", caller: Caller) -> bool:
    # A batch has neither; `tasks.contract.batches` looks at its tasks.
    actor, queue = getattr(row, "actor", None), getattr(row, "queue", None)
    return (actor is None or not caller.actors or actor in caller.actors) and (
        queue is None or not caller.queues or queue in caller.queues
    )


def _not_found(row_id: UUID, kind: str) -> NotFound:
    return NotFound(f"there is no {kind} {row_id}")


def _read_id(text: str, kind: str) -> UUID:
    try:
        return fields.identifier(text)
    except fields.InvalidValue as error:
        raise NotFound(f"there is no such {kind}: {error}") from error
