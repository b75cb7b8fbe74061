"""The worker: one boot of a worker process."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, Now

from tasks.conf import LONGEST_BUILD
from tasks.models.ids import new_id
from tasks.states import WorkerStatus


class WorkerQuerySet(models.QuerySet["Worker"]):
    """Workers by their status and their lease."""

    def in_status(self, statuses: Collection[WorkerStatus]) -> Self:
        """With one of these statuses, whether or not the lease has ended."""
        return self.filter(status__in=statuses)

    def present(self) -> Self:
        """Not gone, and with a lease that has not ended."""
        return self.exclude(status=WorkerStatus.GONE).filter(lease_expires_at__gt=Now())

    def silent(self) -> Self:
        """Not yet declared gone, and with a lease that has ended."""
        return self.exclude(status=WorkerStatus.GONE).filter(lease_expires_at__lte=Now())

    def taking(self) -> Self:
        """Present and not draining."""
        return self.present().filter(status=WorkerStatus.ALIVE)

    def counted(self) -> WorkerCount:
        """Count these processes and their threads."""
        found = self.order_by().aggregate(processes=Count("*"), threads=Coalesce(Sum("threads"), 0))
        return WorkerCount(**found)


class WorkerCount(NamedTuple):
    """How many worker processes there are, and how many threads they have together."""

    processes: int
    threads: int


class Worker(models.Model):
    """One boot of a worker process: a fresh id each time, never reused."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    queues = ArrayField(models.CharField(max_length=100))
    actors = ArrayField(models.CharField(max_length=255), help_text="What it can run; others are not dispatched.")
    threads = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=8, choices=WorkerStatus.choices, db_default=WorkerStatus.ALIVE)
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    lease_expires_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)
    crash = models.JSONField(null=True, blank=True, help_text="What the supervisor saw when the process died.")
    build = models.CharField(
        max_length=LONGEST_BUILD, db_default="", default="", blank=True, help_text="Of your code; empty: unknown."
    )
    memory_bytes = models.BigIntegerField(null=True, blank=True, help_text="At the last heartbeat; empty: unknown.")
    unwritten = ArrayField(
        models.CharField(max_length=60), db_default=[], help_text="Runs that ended; their outcomes wait for a lock."
    )
    isolating_at = models.DateTimeField(null=True, blank=True, help_text="Since when it takes only quarantined tasks.")

    objects = WorkerQuerySet.as_manager()

    class Meta:
        db_table = "callboard_worker"
        permissions = [("drain_worker", "Can drain workers")]
        constraints = [
            models.CheckConstraint(name="worker_status_known", condition=Q(status__in=WorkerStatus.values)),
            models.CheckConstraint(
                name="worker_stopped_at_iff_gone",
                condition=Q(status=WorkerStatus.GONE, stopped_at__isnull=False)
                | (~Q(status=WorkerStatus.GONE) & Q(stopped_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index("lease_expires_at", name="worker_present_idx", condition=~Q(status=WorkerStatus.GONE)),
        ]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"
