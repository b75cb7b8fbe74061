"""Questions about tasks, workers and tokens, as adjectives that chain."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Now

from tasks.states import DUE, FINAL, WAITING, Status, WorkerStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from tasks.models import ApiToken, Task, Worker  # noqa: F401
    from tasks.priority import Band


#: Ids carry a caller's clock, in a transaction that may be long; ``created_at`` is when that began, by the database.
_CLOCKS_AGREE = timedelta(days=1)


def _id_at(moment: datetime) -> UUID:
    """Give the lowest UUIDv7 of a time (RFC 9562): its first 48 bits are milliseconds since 1970."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


class TaskQuerySet(models.QuerySet["Task"]):
    """Tasks by where they stand and who may see them."""

    def due(self) -> Self:
        """Waiting, and their time has come."""
        return self.filter(status__in=DUE, run_at__lte=Now())

    def waiting_to_run(self) -> Self:
        """Not in the broker and not running, whether due or not."""
        return self.filter(status__in=DUE)

    def running(self) -> Self:
        """Claimed by a worker."""
        return self.filter(status=Status.RUNNING)

    def held_by(self, worker_id: UUID) -> Self:
        """Running in this worker."""
        return self.running().filter(worker_id=worker_id)

    def cancellable(self) -> Self:
        """Not ended, and not asked to end."""
        return self.filter(Q(status__in=WAITING) | Q(status=Status.RUNNING, cancel_requested_at=None))

    def retryable(self) -> Self:
        """Can be run again: dead, waiting for a retry, or cancelled."""
        return self.filter(status__in=[Status.DEAD, Status.RETRYING, Status.CANCELLED])

    def final(self) -> Self:
        """Ended."""
        return self.filter(status__in=FINAL)

    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> Self:
        """What a user may see: staff everything, others their own."""
        if getattr(user, "is_staff", False):
            return self
        return self.filter(owner_id=user.pk) if user.pk is not None else self.none()

    def newest_first(self) -> Self:
        """By id, which is by time of submission."""
        return self.order_by("-id")

    def in_status(self, statuses: Collection[Status]) -> Self:
        """In one of these states."""
        return self.filter(status__in=statuses)

    def for_actor(self, name: str) -> Self:
        """Run by this actor."""
        return self.filter(actor=name)

    def in_queue(self, name: str) -> Self:
        """In this queue, whichever band."""
        return self.filter(queue=name)

    def in_band(self, band: Band) -> Self:
        """In this third of their queue."""
        return self.filter(priority__range=(band.lowest, band.highest))

    def with_priority(self, priority: int) -> Self:
        """Of this priority."""
        return self.filter(priority=priority)

    def tagged(self, tag: str) -> Self:
        """With this tag among theirs."""
        return self.filter(tags__contains=[tag])

    def created_after(self, moment: datetime) -> Self:
        """Submitted later than this."""
        return self.filter(created_at__gt=moment, id__gte=_id_at(moment - _CLOCKS_AGREE))

    def created_before(self, moment: datetime) -> Self:
        """Submitted earlier than this."""
        return self.filter(created_at__lt=moment, id__lte=_id_at(moment + _CLOCKS_AGREE))

    def running_after(self, moment: datetime) -> Self:
        """Not to start before some time later than this."""
        return self.filter(run_at__gt=moment)

    def running_before(self, moment: datetime) -> Self:
        """May start before this."""
        return self.filter(run_at__lt=moment)

    def searched(self, text: str) -> Self:
        """By id or its first digits, the actor's first letters, or a tag."""
        digits = text.replace("-", "").lower()
        found = Q(actor__startswith=text) | Q(tags__contains=[text])
        if re.fullmatch(r"[0-9a-f]{4,32}", digits):
            found |= Q(id__range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
        return self.filter(found)

    def counted_by_status(self) -> dict[str, int]:
        """Count tasks by status; a full scan, so not for a request."""
        rows = self.order_by().values_list("status").annotate(n=models.Count("*"))
        return dict(rows)


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Workers by whether they can be counted on."""

    def in_status(self, statuses: Collection[WorkerStatus]) -> Self:
        """In one of these states, by their last word."""
        return self.filter(status__in=statuses)

    def present(self) -> Self:
        """Neither gone nor silent past their lease."""
        return self.exclude(status=WorkerStatus.GONE).filter(lease_expires_at__gt=Now())

    def silent(self) -> Self:
        """Past their lease and not yet declared gone."""
        return self.exclude(status=WorkerStatus.GONE).filter(lease_expires_at__lte=Now())

    def taking(self) -> Self:
        """Present and not draining."""
        return self.present().filter(status=WorkerStatus.ALIVE)


# By the unique digest, with the user. The ORM would build this statement anew for each request of the API, which takes
# it more than a quarter of a whole submission.
_FOR_DIGEST = """
SELECT token.id, token.user_id, token.scopes, token.actors, token.queues, token.last_used_at, {columns}
FROM callboard_apitoken AS token JOIN {users} AS person ON person.{key} = token.user_id
WHERE token.digest = %s AND token.revoked_at IS NULL
  AND (token.expires_at IS NULL OR token.expires_at > statement_timestamp())
"""


#: In the order of the model, which is how ``from_db`` takes them.
_TOKEN_FIELDS = ["id", "user_id", "scopes", "actors", "queues", "last_used_at"]


@cache
def _for_digest(users: Any) -> tuple[str, list[str]]:
    """Fill in the user model's columns, and name its attributes in the same order."""
    meta, quote = users._meta, connection.ops.quote_name
    columns = ", ".join(f"person.{quote(field.column)}" for field in meta.concrete_fields)
    statement = _FOR_DIGEST.format(columns=columns, users=quote(meta.db_table), key=quote(meta.pk.column))
    return statement, [field.attname for field in meta.concrete_fields]


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Tokens by their secrets."""

    def for_secret(self, secret: str) -> ApiToken | None:
        """Find the token with this secret, with its user; None if there is none, or it is revoked or expired."""
        users: Any = self.model._meta.get_field("user").related_model
        statement, attributes = _for_digest(users)
        with connection.cursor() as cursor:
            cursor.execute(statement, [self.model.hash(secret)])
            row = cursor.fetchone()
        if row is None:
            return None
        token = self.model.from_db(self.db, _TOKEN_FIELDS, row[:6])
        token.user = users.from_db(self.db, attributes, row[6:])
        return token
