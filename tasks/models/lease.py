"""The lease and its term: who leads, and a number for each time that the leader changed."""

from __future__ import annotations

from django.db import models


class Lease(models.Model):
    """Who may act under a name, and until when; renewed often, and never locked by readers."""

    name = models.CharField(primary_key=True, max_length=100)
    holder = models.UUIDField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "callboard_lease"

    def __str__(self) -> str:
        return self.name


class Term(models.Model):
    """A number that grows each time a lease is taken.

    It has a row of its own because leaders' writes lock it FOR SHARE: a renewal of ``Lease`` must not wait for them.
    """

    name = models.CharField(primary_key=True, max_length=100)
    term = models.PositiveBigIntegerField()

    class Meta:
        db_table = "callboard_term"

    def __str__(self) -> str:
        return f"{self.name} {self.term}"
