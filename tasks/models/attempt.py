"""The attempt: one execution of a task."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q

from tasks.models.task import Task
from tasks.states import AttemptOutcome


class Attempt(models.Model):
    """One execution of a task; its row is written when it ends."""

    pk = models.CompositePrimaryKey("task_id", "number")
    task = models.ForeignKey(
        Task, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="attempts"
    )
    number = models.PositiveIntegerField()
    outcome = models.CharField(max_length=11, choices=AttemptOutcome.choices)
    worker_id = models.UUIDField()
    started_at = models.DateTimeField(null=True, help_text="When the actor's function began; empty if unknown.")
    finished_at = models.DateTimeField()
    error_type = models.CharField(max_length=255, db_default="", blank=True)
    error_message = models.TextField(db_default="", blank=True)
    traceback = models.TextField(db_default="", blank=True)
    note = models.TextField(db_default="", blank=True, help_text="What else happened: what was dropped, and why.")
    log = models.JSONField(null=True, blank=True, help_text="The lines that its actor logged.")

    class Meta:
        db_table = "callboard_attempt"
        ordering = ["number"]
        # Attempts are written in the order of their ends: a summary of each 128 pages is an index without insertions.
        indexes = [BrinIndex("finished_at", name="attempt_finished_idx", autosummarize=True)]
        constraints = [
            models.CheckConstraint(name="attempt_outcome_known", condition=Q(outcome__in=AttemptOutcome.values))
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.task_id}"
