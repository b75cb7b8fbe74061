"""The API token: a caller's credentials."""

from __future__ import annotations

import hashlib
import secrets
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from tasks.states import Scope

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


def all_scopes() -> list[str]:
    """Give every scope there is."""
    return list(Scope.values)


class ApiToken(models.Model):
    """A caller's credentials; only a hash of the secret is kept."""

    #: So that a leaked secret is recognised by scanners and by people.
    PREFIX = "cb_"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    scopes = ArrayField(models.CharField(max_length=7, choices=Scope.choices), default=all_scopes)
    actors = ArrayField(models.CharField(max_length=255), default=list, blank=True, help_text="Empty: all.")
    queues = ArrayField(models.CharField(max_length=100), default=list, blank=True, help_text="Empty: all.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        db_table = "callboard_apitoken"
        verbose_name = "API token"
        permissions = [("revoke_apitoken", "Can revoke API tokens")]
        constraints = [
            models.CheckConstraint(
                name="apitoken_scopes_known", condition=Q(scopes__contained_by=Scope.values, scopes__len__gt=0)
            )
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(cls, **fields: Any) -> tuple[ApiToken, str]:
        """Make a token and return it with its secret, which cannot be read again."""
        secret = cls.PREFIX + secrets.token_urlsafe(32)
        return cls.objects.create(**fields, digest=cls.hash(secret)), secret

    @staticmethod
    def hash(secret: str) -> str:
        """Hash a secret; it has 256 random bits, so a fast hash without salt is enough."""
        return hashlib.sha256(secret.encode()).hexdigest()

    @property
    def is_valid(self) -> bool:
        """Whether it can still be used."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
