"""The task event: an action of a person or a repair on a task."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from tasks.models.task import Task


class TaskEvent(models.Model):
    """An action of a person or a repair on a task; the ordinary life of a task is in its attempts."""

    task = models.ForeignKey(Task, on_delete=models.DO_NOTHING, db_constraint=False, related_name="events")
    verb = models.CharField(max_length=20)
    by = models.CharField(max_length=150, db_default="", blank=True, help_text="User name; empty for a repair.")
    detail = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "callboard_taskevent"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.verb} {self.task_id}"
