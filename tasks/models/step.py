"""The step: what a task keeps of something that happens once in its life, whatever its attempts."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from tasks.models.task import Task
from tasks.states import StepKind


class Step(models.Model):
    """A finished step, the end of a sleep, the begin of a wait, or a signal; never changed once it is written."""

    pk = models.CompositePrimaryKey("task_id", "kind", "name")
    task = models.ForeignKey(Task, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="steps")
    kind = models.CharField(max_length=6, choices=StepKind.choices)
    name = models.CharField(max_length=100)
    result = models.JSONField(null=True, blank=True, help_text="Of a step; of a signal its payload.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="When a sleep or a wait ends.")
    is_timeout = models.BooleanField(db_default=False, help_text="The signal did not come in time.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "callboard_step"
        ordering = ["created_at"]
        constraints = [models.CheckConstraint(name="step_kind_known", condition=Q(kind__in=StepKind.values))]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of {self.task_id}"
