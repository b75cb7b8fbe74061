"""The task stat: how many tasks of an actor in a queue came in, or ended so, in a period, and how long they took."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from tasks.states import TaskOutcome


class TaskStat(models.Model):
    """A count of one period; the leader moves old rows into those of longer periods.

    The histograms have the buckets of ``tasks.histogram``, without the empty ones at the end.
    """

    pk = models.CompositePrimaryKey("span_seconds", "start", "actor", "queue", "outcome")
    span_seconds = models.PositiveIntegerField(help_text="The length of the period.")
    start = models.DateTimeField()
    actor = models.CharField(max_length=255)
    queue = models.CharField(max_length=100)
    outcome = models.CharField(max_length=9, choices=TaskOutcome.choices)
    count = models.BigIntegerField()
    run_seconds = models.FloatField(help_text="The sum over all attempts that ended so.")
    waits = ArrayField(models.BigIntegerField(), help_text="From being due to the start.")
    runs = ArrayField(models.BigIntegerField(), help_text="Of the actor's function.")

    class Meta:
        db_table = "callboard_taskstat"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(name="taskstat_outcome_known", condition=models.Q(outcome__in=TaskOutcome.values))
        ]

    def __str__(self) -> str:
        return f"{self.count} {self.outcome} of {self.actor} in {self.queue} from {self.start}"
