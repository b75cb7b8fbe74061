"""The barrier of a group of Dramatiq: what its completion callbacks wait for."""

from __future__ import annotations

from django.db import models


class Barrier(models.Model):
    """How many tasks of a group have still to succeed; the row goes with the last of them."""

    key = models.CharField(max_length=255, primary_key=True)
    waiting_for = models.PositiveIntegerField()
    expires_at = models.DateTimeField(help_text="After this a group whose tasks did not all succeed is forgotten.")

    class Meta:
        db_table = "callboard_barrier"
        indexes = [models.Index("expires_at", name="barrier_expired_idx")]

    def __str__(self) -> str:
        return f"{self.key} waits for {self.waiting_for}"
