"""The API token: a caller's credentials."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from tasks.states import Scope


def all_scopes() -> list[str]:
    """List all scopes."""
    return list(Scope.values)


class ApiToken(models.Model):
    """A caller's credentials; only a hash of the secret is kept."""

    #: Lets scanners and people recognise a leaked secret.
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
        """Make a token and return it with its secret, which is not kept and cannot be read again."""
        secret = cls.PREFIX + secrets.token_urlsafe(32)
        return cls.objects.create(**fields, digest=cls.hash(secret)), secret

    @staticmethod
    def hash(secret: str) -> str:
        """Hash a secret; it has 256 random bits, so a fast hash without salt is enough."""
        return hashlib.sha256(secret.encode()).hexdigest()

    @property
    def is_valid(self) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
