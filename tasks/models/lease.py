"""The lease and its term: who leads, and since when."""

from __future__ import annotations

from django.db import models


class Lease(models.Model):
    """Who may act under a name, and until when; renewed often, never locked by readers."""

    name = models.CharField(primary_key=True, max_length=100)
    holder = models.UUIDField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "callboard_lease"

    def __str__(self) -> str:
        return self.name


class Term(models.Model):
    """A number that grows with every take-over of a lease.

    It lives in its own row because writers lock it FOR SHARE: a renewal of ``Lease`` must not queue behind them.
    """

    name = models.CharField(primary_key=True, max_length=100)
    term = models.PositiveBigIntegerField()

    class Meta:
        db_table = "callboard_term"

    def __str__(self) -> str:
        return f"{self.name} {self.term}"
