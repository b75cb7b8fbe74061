"""The idempotency key: it names a submission, so that sending it again makes no second one."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class IdempotencyKey(models.Model):
    """A key and what its owner submitted under it; it outlives the tasks, so that a repeat creates none."""

    pk = models.CompositePrimaryKey("owner_id", "key")
    # Not a foreign key: 0 stands for nobody (code, CLI), a digest for a user whose id is no number, and a key
    # expires within a day.
    owner_id = models.BigIntegerField(help_text="The user's id; 0 for nobody.")
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64, help_text="SHA-256 of what was submitted.")
    task_ids = ArrayField(models.UUIDField(), help_text="In the order of the submission.")
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "callboard_idempotencykey"
        indexes = [
            # The pruner: expired keys.
            models.Index("expires_at", name="idempotencykey_expires_idx"),
        ]

    def __str__(self) -> str:
        return self.key
