"""The queue: a name under which tasks wait."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Queue(models.Model):
    """A queue that some actor declares; each has three bands in the broker."""

    name = models.CharField(primary_key=True, max_length=100)
    paused_at = models.DateTimeField(null=True, blank=True, help_text="While set, its tasks are not dispatched.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "callboard_queue"
        permissions = [("pause_queue", "Can pause and resume queues")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
